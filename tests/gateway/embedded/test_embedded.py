"""Servers of one's own while a block lasts: their addresses, their secrets, their data, their end."""

import pwd
from pathlib import Path

import asyncpg
import pytest
import redis

from gateway.embedded import running, start
from tests.gateway.embedded.inside import command_line, mode, pids
from tests.support.blocking import query, valkey


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


def test_running_reports_what_runs(data_dir: Path) -> None:
    """What runs is reported while it runs, and nothing before and after."""
    assert running(data_dir) is None
    with start(data_dir) as servers:
        assert running(data_dir) == servers
    assert running(data_dir) is None
