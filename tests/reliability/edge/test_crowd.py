"""Many clients go and come back at once: what they ask of Postgres is bounded, and each has everything."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.fanout import backlog as backlogs
from gateway.fanout import pool as pools
from gateway.fanout.archive import Archive
from gateway.fanout.recent import Recent
from tests.gateway.fanout.manual import manual
from tests.support.gateway import Address, until, web
from tests.support.ledger import Reader, agreed, reading
from tests.support.proxy import proxied
from tests.support.servers import Servers

_CONNECTIONS = 4
"""Of one process, for replays, as the docs have it."""
_SESSIONS = "select count(*) from pg_stat_activity where application_name = 'rowcast archive' and datname = current_database()"


@dataclass
class _Storm:
    """What was wrong with what came, and the most sessions of Postgres that were open at once."""

    faults: list[str]
    sessions: int
    statuses: list[str] = field(default_factory=list)


async def _storm(servers: Servers, monkeypatch: pytest.MonkeyPatch, clients: int) -> _Storm:
    """Cuts all clients at once, while there are changes; each comes back at once, and is told from Postgres what it has missed."""

    async def nothing(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(Recent, "read", nothing)
    connection = await servers.connect()
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, int(await connection.fetchval(_SESSIONS)))
            await asyncio.sleep(0.01)

    async with manual(servers) as by_hand, web(servers) as gateway, proxied(f"http://127.0.0.1:{gateway.port}") as proxy:
        await by_hand.change(50)
        epoch = by_hand.place.epoch
        door = Address("127.0.0.1", proxy.port)
        # Each from somewhere else, so that nobody shares an answer.
        readers = [Reader(door, "bookings,services", 1 + n % 8, since=f"{epoch}-{n % 50}") for n in range(clients)]
        watching = asyncio.create_task(watch())
        async with reading(readers):
            await until(lambda: len(gateway.hub.roster.subscribers) == clients)
            proxy.refuse = True
            proxy.cut()
            await until(lambda: not gateway.hub.roster.subscribers and not gateway.hub._catch_up.busy)
            for booking in range(1, 9):
                await by_hand.change(20, booking)
            proxy.refuse = False
            await until(lambda: all(len(reader.statuses) == 2 for reader in readers), within=60)
            _, faults = await agreed(servers, readers, within=60)
        watching.cancel()
    connection.terminate()
    return _Storm(faults, most, [status for reader in readers for status in reader.statuses])


@pytest.mark.parametrize("clients", [50, pytest.param(200, marks=[pytest.mark.long, pytest.mark.timeout(400)])])
async def test_all_come_back_at_once(servers: Servers, monkeypatch: pytest.MonkeyPatch, clients: int) -> None:
    """Whatever the number of those who come back, Postgres sees four sessions of a process; all are served, and miss nothing."""
    storm = await _storm(servers, monkeypatch, clients)
    assert storm.faults == []
    assert set(storm.statuses) == {"resumed"}
    assert 0 < storm.sessions <= _CONNECTIONS


async def test_control_as_many_as_they_are(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were each replay asked for at once, Postgres would see many more."""
    monkeypatch.setattr(backlogs, "_REPLAYS", 50)
    monkeypatch.setattr(pools, "_CONNECTIONS", 50)
    storm = await _storm(servers, monkeypatch, 40)
    assert storm.sessions > _CONNECTIONS


async def _pages(servers: Servers, monkeypatch: pytest.MonkeyPatch, at: int) -> tuple[list[int], Reader]:
    """Replays the log in pages of two, and drops all of it but the end before one of them; returns the positions that came before."""
    read = backlogs.Backlog.read
    count = 0
    async with manual(servers) as by_hand, web(servers) as gateway:

        async def two_at_a_time(self: backlogs.Backlog, *args: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count == at:
                await by_hand.connection.execute("select rowcast.drop_segments('0 seconds')")
                await by_hand.redis.flushall()
            return await read(self, *args, **options | {"limit": 2})

        for _ in range(6):
            await by_hand.change(5)
            await by_hand.connection.execute("select rowcast.open_segment()")
        await by_hand.change(5)
        monkeypatch.setattr(backlogs.Backlog, "read", two_at_a_time)
        await by_hand.redis.flushall()
        async with reading([reader := Reader(gateway, "bookings", 1, since=f"{by_hand.place.epoch}-0")]):
            await until(lambda: reader.last_id is not None and int(reader.last_id.split("-")[1]) >= 35)
            by_hand.publisher._place = None
            await by_hand.change()
            await until(lambda: reader.lines and reader.lines[-1].position == 36)
    return [line.position for life in reader.lives for line in life.lines], reader


@pytest.mark.parametrize("at", [1, 2, 4, 7])
async def test_segments_are_dropped_within_a_replay(servers: Servers, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """What was sent is complete up to where the client is told that the rest is gone; then it goes on from the end of the log."""
    positions, reader = await _pages(servers, monkeypatch, at)
    sent = 2 * (at - 1)
    assert positions == [*range(1, sent + 1), 36]
    assert reader.resets == ["retention"]


async def test_control_nobody_looks_what_is_kept(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were it not seen that the oldest entries have gone, the client would have a hole, and no word of it."""
    fetch = Archive.read

    async def careless(self: Any, *args: Any) -> Any:
        page = await fetch(self, *args)
        bounds = type(page.bounds)(0, page.bounds.head, page.bounds.epoch, page.bounds.after_position)
        return type(page)(bounds, page.entries, page.through)

    monkeypatch.setattr(Archive, "read", careless)
    positions, reader = await _pages(servers, monkeypatch, 4)
    assert reader.resets == []
    assert positions != list(range(1, 37))
