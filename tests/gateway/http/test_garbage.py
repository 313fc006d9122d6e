"""What serving a stream leaves behind in memory."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from gateway import garbage
from gateway.fanout import snapshot
from gateway.fanout.subscriber import Subscriber
from gateway.http.edge import Edge
from gateway.http.protocol import Protocol
from gateway.task import ended
from gateway.wire import Entry
from tests.gateway.fanout.manual import manual
from tests.support.gateway import until, web
from tests.support.servers import Servers

_STREAMS = 20


@pytest.fixture
def nobody_collects(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leaves garbage where it is."""
    monkeypatch.setattr(garbage, "_EVERY_SECONDS", 86_400)
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("nobody_collects")
async def test_no_garbage(servers: Servers) -> None:
    """A stream leaves nothing to the garbage collector, which comes rarely: neither of its request when it is open, nor when it is over."""
    async with manual(servers) as bridge, web(servers, heartbeat="400ms") as gateway:
        await bridge.change()
        async with gateway.stream("bookings"):
            await until(lambda: gateway.hub.last_beat)
            # Of other tests too, whose failures somebody keeps.
            before = {kind: _left(kind) for kind in (Protocol, Subscriber, Edge)}
            streams = [await gateway.open("bookings") for _ in range(_STREAMS)]
            assert _left(Subscriber) == before[Subscriber] + _STREAMS
            assert _left(Protocol) <= before[Protocol] + 1
            for stream in streams:
                await stream.close()
            # Until then the ticker may know them.
            await until(lambda: _left(Subscriber) == before[Subscriber])
            assert _left(Edge) == before[Edge]


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.usefixtures("nobody_collects")
async def test_no_garbage_of_a_snapshot(servers: Servers, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    """A snapshot leaves nothing of its connection to Postgres, with its TLS context; nor if its client leaves on the first page."""
    monkeypatch.setattr(snapshot, "PAGE_ROWS", 1)
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        await until(lambda: gateway.hub.last_beat)
        for _ in range(_STREAMS):
            async with gateway.stream("bookings?snapshot=1") as stream:
                while not (await stream.until("snapshot")).data["done"] and whole:
                    pass
        await until(lambda: _snapshot_connections() == 0)


@pytest.mark.usefixtures("nobody_collects")
async def test_no_garbage_of_a_filter(servers: Servers) -> None:
    """What was seen through a filter is gone when it has been sent."""
    async with manual(servers) as bridge, web(servers) as gateway, gateway.stream("bookings?id=gt.0") as stream:
        await stream.until("ready")
        before = _left(Entry)
        await bridge.change(_STREAMS)
        await stream.events(_STREAMS)
        # The last one is still in the hands of who has sent it.
        await until(lambda: _left(Entry) <= before + 1)


class _Cycle:
    def __init__(self) -> None:
        self.itself = self


@pytest.mark.parametrize("older", [False, True])
@pytest.mark.usefixtures("nobody_collects")
async def test_now_and_then(monkeypatch: pytest.MonkeyPatch, older: bool) -> None:
    """What libraries leave goes soon, also where it was still needed at the first look."""
    each = _Cycle()
    known = weakref.ref(each)
    if older:
        gc.collect(0)
    del each
    assert known() is not None
    monkeypatch.setattr(garbage, "_EVERY_SECONDS", 0.01)
    looking = asyncio.create_task(garbage.collect_now_and_then())
    try:
        await until(lambda: known() is None)
    finally:
        await ended([looking])


def _left(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())


def _snapshot_connections() -> int:
    """Counts those to Postgres that snapshots have opened and that are still somebody's; other parts open theirs at any time."""
    connections: list[Any] = [each for each in gc.get_objects() if type(each) is asyncpg.Connection]
    return sum(each._params.server_settings.get("application_name") == "rowcast snapshot" for each in connections)
