"""One owner at a time: how he ends, what a killed one leaves over, and whom nobody may kill."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.embedded import EmbeddedError, running, start
from tests.gateway.embedded.inside import command_line, pids
from tests.gateway.embedded.owner import Owner
from tests.support.blocking import query, valkey


@pytest.fixture
def owner(data_dir: Path) -> Iterator[Owner]:
    """Another process that owns the data directory."""
    owner = Owner(data_dir)
    yield owner
    if owner.process.poll() is None:
        owner.end(signal.SIGKILL)


@pytest.fixture
def stranger() -> Iterator[int]:
    """The process id of somebody else."""
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        assert process.poll() is None, "a stranger was killed"
        process.kill()


def test_interrupt_stops_the_servers(owner: Owner, data_dir: Path) -> None:
    """Ctrl-C in the owner's terminal stops both servers in good order, then the owner."""
    started = pids(data_dir)
    assert all(os.getsid(pid) == pid for pid in started.values()), "the terminal would reach a server"
    assert owner.end(signal.SIGINT) == -signal.SIGINT
    assert not any(command_line(pid) for pid in started.values())
    assert "database system is shut down" in (data_dir / "postgres.log").read_text()
    assert "ready to exit" in (data_dir / "valkey.log").read_text()


def test_a_second_start_is_refused(owner: Owner, data_dir: Path) -> None:
    """While one process owns the directory, another is told which, and the servers go on."""
    with pytest.raises(EmbeddedError, match=f"in use by process {owner.process.pid}"), start(data_dir):
        pass
    assert query(owner.servers.database_url, "SELECT 1") == 1


def test_left_overs_are_stopped(owner: Owner, data_dir: Path) -> None:
    """The servers of a killed owner are stopped by the next start, and their data are intact."""
    query(owner.servers.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
    valkey(owner.servers.redis_url, "SET", "kept", "42")
    left = pids(data_dir)
    owner.end(signal.SIGKILL)
    assert all(command_line(pid) for pid in left.values())
    assert running(data_dir) == owner.servers
    with start(data_dir) as servers:
        assert not any(command_line(pid) for pid in left.values())
        assert servers != owner.servers
        assert query(servers.database_url, "SELECT answer FROM kept") == 42
        assert valkey(servers.redis_url, "GET", "kept") == "42"


def test_a_stranger_with_a_recycled_pid_is_left_alone(data_dir: Path, stranger: int) -> None:
    """A pid that now belongs to somebody else is neither killed, nor reported, nor in the way of Postgres."""
    with start(data_dir, redis=False):
        postmaster = (data_dir / "postgres" / "postmaster.pid").read_text()
        servers = json.loads((data_dir / "servers.json").read_text())
    (data_dir / "postgres" / "postmaster.pid").write_text(f"{stranger}\n{postmaster.split(chr(10), 1)[1]}")
    servers["postgres"]["pid"] = stranger
    servers["valkey"] = servers["postgres"]
    (data_dir / "servers.json").write_text(json.dumps(servers))
    assert running(data_dir) is None
    with start(data_dir, redis=False) as again:
        assert query(again.database_url, "SELECT 1") == 1
