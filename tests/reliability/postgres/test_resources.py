"""Memory and disk run out: what cannot be done fails loudly, and nothing that was acknowledged is lost when there is room again."""

import asyncio
import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from gateway.datadir import EmbeddedError
from gateway.embedded import PostgresServer
from tests.gateway.fanout.traffic import audience, go_on, under_load, writing
from tests.reliability.postgres.network import beyond, no_recovery
from tests.sql.published import declare, publishing
from tests.support.gateway import until, web
from tests.support.ledger import agreed, reading
from tests.support.process import command, environment, started
from tests.support.servers import FAST, Servers, prepare
from tests.support.writers import connected

MEGABYTE = 2**20
WIDE = declare("public.wide", "id body", name="wide")
CREATE = "create table public.wide (id bigint generated always as identity primary key, body text)"
FILL = "insert into public.wide (body) select repeat('x', 200000) from generate_series(1, 200)"


def _let_have_no_more(pid: int) -> None:
    """Lets a process have the memory that it has, and a megabyte."""
    bound = int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + MEGABYTE
    resource.prlimit(pid, resource.RLIMIT_AS, (bound, bound))


@pytest.mark.long
async def test_bridge_without_memory(servers: Servers, tmp_path: Path) -> None:
    """A bridge that gets no more memory ends, and the next one does what it left; nothing is lost, and nothing comes twice."""
    async with publishing(servers, CREATE, WIDE), web(servers) as gateway, reading(readers := audience(gateway)):
        async with writing(servers, writers=2) as traffic:
            with started(command("bridge"), environment(servers), tmp_path / "poor.log") as poor:
                await go_on(readers)
                _let_have_no_more(poor.pid)
                async with connected(servers) as writer:
                    await writer.execute(FILL)
                await until(lambda: poor.poll() is not None, within=60)
            assert poor.returncode != 0
            assert "MemoryError" in (tmp_path / "poor.log").read_text()
            with started(command("bridge"), environment(servers), tmp_path / "bridge.log"):
                await beyond(servers, readers)
        with started(command("bridge"), environment(servers), tmp_path / "last.log"):
            ledger, faults = await agreed(servers, readers, within=60)
    assert faults == []
    assert [(reader.statuses, reader.resets) for reader in readers] == [(["fresh"], [])] * len(readers)
    assert traffic.faults(ledger) == []


@pytest.fixture
def little_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 MB; only root can make one."""
    place = tmp_path / "disk"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m,mode=755", "tmpfs", place], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be made here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@pytest.fixture
def postgres(little_disk: Path) -> Iterator[PostgresServer]:
    """A Postgres on that disk."""
    server = PostgresServer(little_disk, FAST | {"max_wal_size": "48MB", "min_wal_size": "32MB", "shared_buffers": "32MB"})
    server.start()
    yield server
    (little_disk / "ballast").unlink(missing_ok=True)
    server.stop(immediate=True)


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * 65536)


async def _full(servers: Servers, postgres: PostgresServer, ballast: Path) -> None:
    """Fills the disk, until Postgres says so to somebody who writes, or ends because of it; then makes room, and lets it work."""
    await asyncio.to_thread(_fill, ballast)
    refused = False
    while not refused:
        try:
            async with connected(servers) as writer:
                await writer.execute(FILL)
        except asyncpg.DiskFullError:
            refused = True
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
            # Without room for its write-ahead log it stops altogether.
            refused = True
    await asyncio.to_thread(ballast.unlink)
    with suppress(EmbeddedError):
        if postgres.pid:
            return
    await asyncio.to_thread(postgres.start)


async def _own(postgres: PostgresServer, run_servers: Servers) -> Servers:
    await prepare(postgres.url)
    async with Redis.from_url(run_servers.redis_url) as redis:
        await redis.flushall()
    own = Servers(postgres.url, run_servers.redis_url)
    async with connected(own) as connection:
        await connection.execute(CREATE)
    return own


async def test_disk_is_full(run_servers: Servers, postgres: PostgresServer, tmp_path: Path, little_disk: Path) -> None:
    """Postgres has no room, twice: writers are told so, what was acknowledged is delivered when there is room, what was not is not."""
    own = await _own(postgres, run_servers)
    async with under_load(own, own) as readers:
        for _ in range(2):
            await _full(own, postgres, little_disk / "ballast")
            await beyond(own, readers)


async def test_control_bridge_that_does_not_wait_for_room(
    run_servers: Servers, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, little_disk: Path
) -> None:
    """A bridge that does not begin again when Postgres has refused it is seen by the same check."""
    no_recovery(monkeypatch)
    own = await _own(postgres, run_servers)

    async def fill_again_and_again() -> None:
        async with under_load(own, own):
            while True:
                await _full(own, postgres, little_disk / "ballast")

    with pytest.raises(ExceptionGroup):
        await fill_again_and_again()
