"""What Postgres alone can do: take settings, be killed, and have been another Postgres."""

import os
import signal
from pathlib import Path

import pytest

from gateway.embedded import EmbeddedError, PostgresServer, start
from tests.support.blocking import query, until


def runs(server: PostgresServer) -> bool:
    """Whether the server's process has not ended."""
    try:
        return server.pid > 0
    except EmbeddedError:
        return False


def test_start_passes_settings_and_no_environment(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings reach Postgres, and the PG variables of the environment, which mean another server, do not."""
    monkeypatch.setenv("PGDATA", "/nowhere")
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=1MB")
    with start(data_dir, redis=False, settings={"wal_level": "logical", "work_mem": "5MB"}) as servers:
        assert query(servers.database_url, "SELECT current_setting('wal_level')") == "logical"
        monkeypatch.undo()
        assert query(servers.database_url, "SELECT current_setting('work_mem')") == "5MB"


def test_a_killed_postgres_comes_back(data_dir: Path) -> None:
    """After SIGKILL, Postgres starts again although its lock file and its backends are still there."""
    postgres = PostgresServer(data_dir)
    try:
        postgres.start()
        address = postgres.url
        os.kill(postgres.pid, signal.SIGKILL)
        until(lambda: not runs(postgres), within=30)
        postgres.start()
        assert (postgres.url, query(postgres.url, "SELECT 1")) == (address, 1)
        with pytest.raises(EmbeddedError, match=f"runs already, as process {postgres.pid}"):
            postgres.start()
    finally:
        postgres.stop()


def test_data_of_another_major_version_are_refused(data_dir: Path) -> None:
    """A directory that another Postgres made is left as it is, and the error says what to do."""
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedError, match="made by Postgres 17, and this is 18: move it away"), start(data_dir):
        pass
