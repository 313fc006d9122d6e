"""`rowcast run` on a fresh directory, as somebody tries it who has just cloned the repository."""

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.blocking import query, until
from tests.support.process import command, environment, free_port, rowcast, started

CURL = re.compile(r"(?m)^curl -N .*$")


def family(root: int) -> dict[int, str]:
    """Returns the processes that descend from one, and itself, with their command lines; those that have ended are none."""
    lines = subprocess.run(
        ["ps", "-ww", "-eo", "pid=,ppid=,stat=,command="], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    rows = [line.split(maxsplit=3) for line in lines]
    found: dict[int, str] = {}
    parents = {root}
    while parents:
        found |= {int(row[0]): row[3] for row in rows if int(row[0]) in parents and not row[2].startswith("Z")}
        parents = {int(row[0]) for row in rows if int(row[1]) in parents} - found.keys()
    return found


def alive(processes: dict[int, str]) -> dict[int, str]:
    """Returns those of the processes that still run as the same command."""
    lines = subprocess.run(["ps", "-ww", "-eo", "pid=,stat=,command="], capture_output=True, text=True, check=True).stdout.splitlines()
    now = {int(row[0]): row[2] for row in (line.split(maxsplit=2) for line in lines) if not row[1].startswith("Z")}
    return {pid: name for pid, name in processes.items() if now.get(pid) == name}


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with a data directory and a free port, and neither addresses nor a key."""
    given = environment(None, ROWCAST_DATA_DIR=str(tmp_path_factory.mktemp("run") / "data"), PORT=str(free_port()))
    del given["ROWCAST_JWT_SECRET"]
    return given


@contextmanager
def running(env: dict[str, str], directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path, str]]:
    """Starts `rowcast run` and waits for the line to paste; yields process, log and line."""
    log = directory / f"run-{time.monotonic_ns()}.log"
    with started(command("run"), env, log, cwd=directory) as process:
        until(lambda: CURL.search(log.read_text()) or process.poll() is not None, log)
        line = CURL.search(log.read_text())
        assert line is not None, log.read_text()
        yield process, log, line[0]


def addresses(env: dict[str, str], directory: Path) -> dict[str, str]:
    """Returns what `rowcast env` tells a shell to export."""
    outcome = rowcast("env", env=env, cwd=directory)
    assert outcome.returncode == 0, outcome.stderr
    words = [shlex.split(line) for line in outcome.stdout.splitlines()]
    assert [word[0] for word in words] == ["export", "export"]
    return dict(word[1].split("=", 1) for word in words)


def interrupt(process: subprocess.Popen[bytes], log: Path) -> None:
    """Presses Ctrl-C: the whole foreground group gets SIGINT. Sees that nothing of it is left."""
    processes = family(process.pid)
    for what in ("postgres", "valkey", "bridge", "web"):
        assert any(what in name for name in processes.values()), processes
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(30) in (0, 130, -signal.SIGINT), log.read_text()
    until(lambda: not alive(processes), log, within=30)
    assert "Traceback" not in log.read_text()


def test_run(env: dict[str, str], tmp_path: Path) -> None:
    """The pasted line shows `ready` and events; a change made by hand arrives; a second run is refused; Ctrl-C ends it all."""
    with running(env, tmp_path) as (process, log, line):
        stream = tmp_path / "curl.log"
        curl = [*shlex.split(line), "--silent", "--max-time", "60"]
        with started(curl, env, stream):
            until(lambda: stream.exists() and "event: ready" in stream.read_text(), log)
            until(lambda: re.search(r"event: (bookings|services)\ndata: ", stream.read_text()), log)
            urls = addresses(env, tmp_path)
            assert urls.keys() == {"DATABASE_URL", "REDIS_URL"}
            query(urls["DATABASE_URL"], "update bookings set notes = 'by hand' where id = 1")
            until(lambda: '"notes":"by hand"' in stream.read_text(), log)
        second = rowcast("run", env=env | {"PORT": str(free_port())}, cwd=tmp_path)
        assert second.returncode == 1
        (error,) = second.stderr.splitlines()
        assert f"is in use by process {process.pid}" in error
        doctor = rowcast("doctor", env=env, cwd=tmp_path)
        assert doctor.returncode == 0, doctor.stdout + doctor.stderr
        interrupt(process, log)
    assert rowcast("env", env=env, cwd=tmp_path).returncode == 1


def test_run_again(env: dict[str, str], tmp_path: Path) -> None:
    """A second run on the same directory has the data and the secret of the first; without the demo nothing moves by itself."""
    with running(env | {"ROWCAST_DEMO": "0"}, tmp_path) as (process, log, line):
        assert "example tables" not in log.read_text()
        urls = addresses(env, tmp_path)
        assert query(urls["DATABASE_URL"], "select notes from bookings where id = 1") == "by hand"
        kept = query(urls["DATABASE_URL"], "select count(*) from rowcast.log")
        assert kept > 0
        assert not [name for name in family(process.pid).values() if "demo" in name]
        stream = tmp_path / "curl.log"
        curl = [*shlex.split(line), "--silent", "--max-time", "60", "-H", "Last-Event-ID: earliest"]
        with started(curl, env, stream):
            until(lambda: stream.exists() and '"notes":"by hand"' in stream.read_text(), log)
        assert query(urls["DATABASE_URL"], "select count(*) from rowcast.log") == kept
        process.send_signal(signal.SIGTERM)
        processes = family(process.pid)
        assert process.wait(30) in (0, 143, -signal.SIGTERM), log.read_text()
        until(lambda: not alive(processes), log, within=30)


def test_run_ends_with_a_part(env: dict[str, str], tmp_path: Path) -> None:
    """When one of its processes dies `rowcast run` ends all the others, and its exit code says so."""
    with running(env | {"ROWCAST_DEMO": "0"}, tmp_path) as (process, log, _):
        processes = family(process.pid)
        (bridge,) = [pid for pid, name in processes.items() if name.endswith("gateway bridge")]
        os.kill(bridge, signal.SIGKILL)
        assert process.wait(30) != 0
        until(lambda: not alive(processes), log, within=30)
