"""Transactions that are long, huge, or taken back."""

import asyncio
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from tests.gateway.fanout.traffic import go_on, under_load
from tests.reliability.postgres.network import beyond
from tests.sql.published import declare, publishing
from tests.support.gateway import until, web
from tests.support.ledger import Reader, reading
from tests.support.process import command, environment, started
from tests.support.servers import Servers
from tests.support.writers import connected

UNBOUNDED = [sys.executable, "-m", "tests.reliability.postgres.unbounded"]
MEGABYTE = 2**20
WIDE = declare("public.wide", "id body", name="wide")
CREATE = "create table public.wide (id bigint generated always as identity primary key, body text)"
FILL = "insert into public.wide (body) select repeat(chr(97 + (n % 26)::int), $2) from generate_series(1, $1::bigint) n"
PLACES = """
    select count(*), max(position) - min(position) + 1 as span from rowcast.log
    where txid = (select txid from rowcast.log group by txid order by count(*) desc limit 1)"""
BOUND = 48 * MEGABYTE
"""What a bridge may use beside what it has: some batches of 4 MB, as rows, as text and as bytes."""


async def test_transaction_that_stays_open(servers: Servers) -> None:
    """A writer and a reader stay in their transactions all the time: everybody else's changes flow, and the writer's come when it ends."""
    note = "it took its time"
    async with connected(servers) as slow, connected(servers) as old:
        await old.execute("begin isolation level repeatable read")
        await old.execute("select count(*) from bookings")
        async with under_load(servers, servers) as readers:
            await slow.execute("begin")
            await slow.execute("insert into services (name, description, category, price) values ('slow', $1, 'repairs', 1)", note)
            for _ in range(3):
                await beyond(servers, readers, 60)
                assert not any(note in line.data for line in readers[-1].lines)
            await slow.execute("update services set description = $1 where name = 'slow'", f"{note}, twice")
            await slow.execute("commit")
            await until(lambda: sum(note in line.data for line in readers[-1].lines) == 2)
            await go_on(readers)


def _memory(process: "subprocess.Popen[bytes]", field: str) -> int:
    """Returns VmRSS, what a process has, or VmHWM, the most that it ever had, in bytes."""
    (kilobytes,) = re.findall(rf"(?m)^{field}:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(kilobytes) * 1024


async def _change(servers: Servers, note: str) -> None:
    async with connected(servers) as connection:
        await connection.execute("update services set description = $1 where id = 1", note)


async def _used(servers: Servers, directory: Path, bridge: Sequence[str], rows: int, wide: int) -> int:
    """Lets one transaction write so many rows while others write; returns what the bridge used for it, when all is published."""
    async with publishing(servers, CREATE, WIDE), web(servers) as gateway, reading([reader := Reader(gateway, "services", 1)]):
        with started(list(bridge), environment(servers), directory / "bridge.log") as process:
            await _change(servers, "before")
            await until(lambda: reader.lines)
            before = _memory(process, "VmRSS")
            async with connected(servers) as writer:
                big = asyncio.create_task(writer.execute(FILL, rows, wide))
                for number in range(5):
                    await _change(servers, f"beside {number}")
                await big
                await _change(servers, "after")
                await until(lambda: '"after"' in reader.lines[-1].data, within=300)
                places = await writer.fetchrow(PLACES)
            used = _memory(process, "VmHWM") - before
        told = Counter(orjson.loads(line.data)["record"]["description"] for line in reader.lines)
        assert told == Counter(["before", *(f"beside {number}" for number in range(5)), "after"])
        assert places is not None
        assert places["count"] == places["span"] == rows
        sys.stdout.write(f"{rows} rows of {wide} bytes in one transaction: {used / MEGABYTE:.0f} MB\n")
        return used


@pytest.mark.parametrize(
    ("rows", "wide"),
    [
        (500, 100_000),
        pytest.param(200_000, 10, marks=[pytest.mark.long, pytest.mark.timeout(400)]),
        pytest.param(1_000, 200_000, marks=[pytest.mark.long, pytest.mark.timeout(400)]),
    ],
)
async def test_huge_transaction(servers: Servers, tmp_path: Path, rows: int, wide: int) -> None:
    """However much one transaction writes, its changes stand together, others' come too, and the bridge's memory does not grow with it."""
    assert await _used(servers, tmp_path, command("bridge"), rows, wide) < BOUND


async def test_control_bridge_that_reads_it_all(servers: Servers, tmp_path: Path) -> None:
    """A bridge that reads at once whatever there is uses more than it may, and the check sees it."""
    assert await _used(servers, tmp_path, UNBOUNDED, 500, 100_000) > BOUND
