"""The npm package: its own tests, its size, and that a project that has nothing of ours builds with what is published."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import node

PACKAGE = Path(__file__).parents[2] / "clients" / "js"
FRESH = Path(__file__).parent / "fresh"
PUBLISHED = re.compile(r"package\.json|README\.md|REACT\.md|LICENSE|dist/[\w/.-]+\.(js|d\.ts)(\.map)?")


def _npm(directory: Path, *arguments: str) -> str:
    """Runs npm and returns what it prints; what it complains about is the failure's text."""
    done = subprocess.run(
        [*node.npm(), *arguments],
        check=False,
        cwd=directory,
        env=node.environment(CI="true", NO_COLOR="1"),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def package() -> Path:
    """Returns where the package is, with what it is built with."""
    node.needed(PACKAGE)
    return PACKAGE


@pytest.mark.timeout(300)
@pytest.mark.parametrize("script", ["check", "coverage", "size"])
def test_script(package: Path, script: str) -> None:
    """The types fit, the tests pass with 95 % of the lines, and the core is no larger than 6 KB."""
    _npm(package, "run", script)


@pytest.mark.timeout(300)
def test_fresh_project(package: Path, tmp_path: Path) -> None:
    """A project made with Vite and React builds with the package as it would be published, its types included."""
    packed = _npm(package, "pack", "--silent", "--pack-destination", str(tmp_path)).split()[-1]
    listed = subprocess.run(["tar", "-tf", packed], cwd=tmp_path, capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in listed if not PUBLISHED.fullmatch(name.removeprefix("package/"))] == []
    project = tmp_path / "fresh"
    shutil.copytree(FRESH, project, ignore=shutil.ignore_patterns("node_modules", "dist"))
    _npm(project, "ci", "--no-audit", "--no-fund", "--loglevel=error")
    _npm(project, "install", "--no-save", "--no-audit", "--no-fund", "--loglevel=error", str(tmp_path / packed))
    _npm(project, "run", "build")
    assert any("/streams/" in script.read_text() for script in (project / "dist" / "assets").glob("*.js"))
    assert not list(project.glob("node_modules/rowcast/src"))
