"""The places of snapshots: a few at a time, one of each user, for a bounded time; who takes what comes is not slow."""

import asyncio
import time
from typing import Any

import pytest

from auth.key import shared_secret
from auth.principal import Principal
from auth.token import Verifier
from gateway.fanout import rows as sending
from gateway.fanout import snapshot
from gateway.fanout.look import Looks
from gateway.fanout.sink import BufferSink
from gateway.fanout.snapshot import Snapshots
from gateway.http.edge import Edge
from streams.catalog import load
from tests.gateway.fanout.manual import manual
from tests.gateway.http.test_snapshot import open_snapshot, read_snapshot
from tests.support.gateway import SECRET, token, until, web
from tests.support.servers import Servers
from tests.support.sinks import replace_drained

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]

_OPEN = "select count(*) from pg_stat_activity where application_name = 'rowcast snapshot'"


async def test_a_snapshot_that_takes_too_long(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes too long for their rows is ended as slow, and their place is free for others."""
    monkeypatch.setattr(sending, "_SECONDS", 0.0)
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        stream = await open_snapshot(gateway, "bookings?snapshot=1")
        assert [(await stream.next()).name for _ in range(2)] == ["ready", "reconnect"]
        await stream.close()
        monkeypatch.undo()
        again = await open_snapshot(gateway, "bookings?snapshot=1")
        assert (await again.next()).name == "ready"
        await read_snapshot(again)
        await again.close()


async def test_a_storm_waits(servers: Servers) -> None:
    """However many ask at once, Postgres serves a few at a time, and all get theirs."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        most = 0
        streams = [await open_snapshot(gateway, "bookings?snapshot=1", 1 + number % 8) for number in range(32)]
        for stream in streams:
            assert (await stream.next()).name == "ready"
            most = max(most, await bridge.connection.fetchval(_OPEN))
            rows, _ = await read_snapshot(stream)
            assert rows["bookings"]
            await stream.close()
        assert most <= 4


async def test_one_of_each_user(servers: Servers) -> None:
    """Who asks for several waits for their own; others do not wait for them."""
    snapshots = Snapshots(servers.database_url, "authenticated")
    looks = [Looks().of(load("streams")["bookings"], "raw", False)]
    mine, others = (Verifier(shared_secret(SECRET)).verify(token(sub), keep_claims=True) for sub in (1, 2))
    open_now: list[str] = []

    async def read(principal: Principal, leave: asyncio.Event) -> None:
        async with snapshots.open(looks, principal):
            open_now.append(principal.user_id)
            await leave.wait()
            open_now.remove(principal.user_id)

    leave, end = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(read(mine, leave if number == 0 else end))
        await until(lambda: open_now == ["1"])
        group.create_task(read(others, end))
        await until(lambda: open_now == ["1", "2"])
        leave.set()
        await until(lambda: open_now == ["2", "1"])
        end.set()
    assert not snapshots._turns


@pytest.mark.parametrize(("seconds", "last"), [(20, "snapshot"), (40, "reconnect")])
async def test_a_steady_reader_is_not_slow(servers: Servers, monkeypatch: pytest.MonkeyPatch, seconds: float, last: str) -> None:
    """Whoever takes each page within the patience is not ended, though all pages take longer; whoever takes longer for one is."""
    monkeypatch.setattr(snapshot, "PAGE_ROWS", 1)
    now = 0.0

    async def drained(_: Any) -> None:
        """As a connection that stays full for so many seconds after each page."""
        nonlocal now
        for subscriber in gateway.hub.roster.subscribers:
            # The first time it is `ready` that has been written, and no page.
            now = now or time.monotonic() - seconds - 1
            if subscriber.snapshot_due and now > time.monotonic() - seconds:
                for later in (0.0, seconds):
                    gateway.hub._ticker.attend(subscriber, now + later, time.time())
            now += seconds + 1

    replace_drained(monkeypatch, drained)
    for sink in (BufferSink, Edge):
        monkeypatch.setattr(sink, "full", property(lambda _: True, lambda _, value: None))
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.connection.execute("update bookings set customer_id = 1 where id <= 6")
        await bridge.change()
        stream = await open_snapshot(gateway, "bookings?snapshot=1")
        names = [(await stream.next()).name for _ in range(2)]
        while names[-1] == "snapshot" and len(names) < 7:
            names.append((await stream.next()).name)
        assert names[-1] == last
        assert len(names) == (7 if last == "snapshot" else 3)
        await stream.close()
