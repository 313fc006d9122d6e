"""The helper that finds Node and installs packages."""

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import node


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package that depends on one in a directory beside it, so that nothing is fetched."""
    (tmp_path / "dependency").mkdir()
    (tmp_path / "dependency" / "package.json").write_text(json.dumps({"name": "dependency", "version": "1.0.0"}))
    package = tmp_path / "package"
    package.mkdir()
    (package / "package.json").write_text(
        json.dumps({"name": "package", "private": True, "dependencies": {"dependency": "file:../dependency"}})
    )
    try:
        subprocess.run([*node.npm(), "install", "--package-lock-only", "--offline"], cwd=package, env=node.environment(), check=True)
    except node.Missing as missing:
        pytest.skip(str(missing))
    return package


@pytest.fixture
def installations(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is installed from now on."""
    install, found = node._install, list[Path]()

    def count(directory: Path) -> None:
        found.append(directory)
        install(directory)

    monkeypatch.setattr(node, "_install", count)
    return found


def test_node_and_npm_run(package: Path) -> None:
    """Node is as new as is needed, and npm runs in it."""
    command = [*node.npm(), "exec", "--", "node", "--version"]
    version = subprocess.run(command, cwd=package, env=node.environment(), stdout=subprocess.PIPE, text=True, check=True).stdout
    assert tuple(map(int, version.removeprefix("v").split(".")))[:2] >= node.OLDEST


def test_installed_once(package: Path, installations: list[Path]) -> None:
    """Packages are installed by the first who asks, whoever asks at the same time, and not again until the lock file changes."""
    with ThreadPoolExecutor(4) as pool:
        modules = set(pool.map(node.installed, [package] * 4))
    assert modules == {package / "node_modules"}
    assert (package / "node_modules" / "dependency" / "package.json").exists()
    assert installations == [package]
    lock = package / "package-lock.json"
    lock.write_text(lock.read_text() + "\n")
    node.installed(package)
    assert installations == [package, package]


def test_lock_file_at_fault(package: Path) -> None:
    """A package.json that the lock file does not fit is an error and no reason to skip."""
    (package / "package.json").write_text(json.dumps({"name": "package", "dependencies": {"another": "1.0.0"}}))
    with pytest.raises(subprocess.CalledProcessError):
        node.installed(package)


@pytest.mark.parametrize("variable", ["CI", "REQUIRE_BROWSER"])
def test_needed(package: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Without Node a test is skipped, and fails where nothing may be missing."""

    def missing(_: Path) -> Path:
        raise node.Missing("there is no Node")

    monkeypatch.setattr(node, "installed", missing)
    for each in ("CI", "REQUIRE_BROWSER"):
        monkeypatch.delenv(each, raising=False)
    with pytest.raises(pytest.skip.Exception, match="there is no Node"):
        node.needed(package)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(pytest.fail.Exception, match="there is no Node"):
        node.needed(package)


def test_npm_without_a_registry(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where packages cannot be fetched, that is said as what is missing."""
    lock = json.loads((package / "package-lock.json").read_text())
    declared = {"name": "package", "dependencies": {"left-out": "1.0.0"}}
    lock["packages"] = {"": declared, "node_modules/left-out": {"version": "1.0.0", "integrity": "sha512-" + "A" * 86 + "=="}}
    (package / "package.json").write_text(json.dumps(declared))
    (package / "package-lock.json").write_text(json.dumps(lock))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setenv("npm_config_cache", str(package / "cache"))
    with pytest.raises(node.Missing, match="ECONNREFUSED"):
        node.installed(package)
