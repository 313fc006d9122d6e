"""An admin of two web processes: sees the streams of both, ends one in the other, learns why somebody got an event, or not."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from starlette.applications import Starlette

from tests.gateway.fanout.manual import Manual, manual
from tests.gateway.http.ask import ask, told
from tests.support.gateway import Web, bridge, until, web
from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers


@dataclass(frozen=True)
class Process:
    """A web process of its own, and what it is asked."""

    web: Web
    pid: int

    async def told(self, path: str) -> Any:
        return await told(self.web, path)


@asynccontextmanager
async def process(servers: Servers, directory: Path) -> AsyncIterator[Process]:
    """Starts `rowcast web`."""
    port = free_port()
    env = environment(servers, PORT=str(port), ROWCAST_DATA_DIR=str(directory))
    with started(command("web"), env, directory / f"{port}.log") as running:
        await asyncio.to_thread(wait_ready, f"http://127.0.0.1:{port}")
        yield Process(Web("127.0.0.1", port, Starlette()), running.pid)


@pytest_asyncio.fixture
async def two(servers: Servers, tmp_path: Path) -> AsyncIterator[tuple[Process, Process]]:
    """Two web processes."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(process(servers, tmp_path))
        yield one, await stack.enter_async_context(process(servers, tmp_path))


async def test_connections_of_both(servers: Servers, two: tuple[Process, Process]) -> None:
    """Whoever is asked lists the streams of both, counts both, and ends one that is the other's; its client comes back at once."""
    one, other = two
    async with bridge(servers), one.web.stream("bookings", 1) as first, other.web.stream("bookings,services", 2) as second:
        connections = [(await stream.until("ready")).data["connection"] for stream in (first, second)]
        for each in two:
            answer = await each.told("/admin/connections")
            assert (answer["processes"], answer["complete"], answer["truncated"]) == (2, True, False)
            assert {one["connection"]: one["subject"] for one in answer["connections"]} == dict(zip(connections, "12", strict=True))
            assert [one["connection"] for one in (await each.told("/admin/connections?sub=2"))["connections"]] == connections[1:]
            state = await each.told("/admin/state")
            assert (state["streams"], state["connections"], state["processes"]) == ({"bookings": 2, "services": 1}, 2, 2)
        assert (await ask(one.web, f"/admin/connections/{connections[1]}", method="DELETE")).status == 204
        end = await second.until("reconnect")
        assert end.data["reason"] == "admin"
        with pytest.raises(EOFError):
            await second.next()
        assert [one["connection"] for one in (await other.told("/admin/connections"))["connections"]] == connections[:1]
        assert (await ask(one.web, f"/admin/connections/{connections[1]}", method="DELETE")).status == 404
        async with other.web.stream("bookings", 2, since=end.id) as again:
            assert (await again.until("ready")).data["status"] == "resumed"


async def test_one_is_stopped(servers: Servers, two: tuple[Process, Process]) -> None:
    """A process that does not answer is waited for a moment, and missed; once it goes on it is there again."""
    one, other = two
    async with bridge(servers), one.web.stream("bookings", 1) as first, other.web.stream("bookings", 2) as second:
        connections = [(await stream.until("ready")).data["connection"] for stream in (first, second)]
        os.kill(other.pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(60):
                answer = await one.told("/admin/connections")
                assert [each["connection"] for each in answer["connections"]] == connections[:1]
                assert (answer["processes"], answer["complete"]) == (1, False)
                state = await one.told("/admin/state")
                assert (state["processes"], state["complete"], state["connections"]) == (1, False, 1)
                assert (await ask(one.web, f"/admin/connections/{connections[1]}", method="DELETE")).status == 404
        finally:
            os.kill(other.pid, signal.SIGCONT)
        # What it was asked while it stood still it does then.
        assert (await second.until("reconnect")).data["reason"] == "admin"
        await until(lambda: _complete(one))


async def _complete(each: Process) -> bool:
    return bool((await each.told("/admin/connections"))["complete"])


async def test_one_has_died(servers: Servers, two: tuple[Process, Process]) -> None:
    """A process that has died is nobody who could answer, and is not missed."""
    one, other = two
    async with bridge(servers), one.web.stream("bookings", 1) as stream:
        await stream.until("ready")
        os.kill(other.pid, signal.SIGKILL)
        await until(lambda: _alone(one))


async def _alone(each: Process) -> bool:
    answer = await each.told("/admin/connections")
    return (answer["processes"], answer["complete"], answer["total"]) == (1, True, 1)


@asynccontextmanager
async def listening(servers: Servers) -> AsyncIterator[tuple[Manual, Web, Any]]:
    """Customer 1 listens to bookings."""
    async with manual(servers) as by_hand, web(servers) as gateway, gateway.stream() as stream:
        await stream.until("ready")
        await by_hand.change()
        yield by_hand, gateway, stream


async def _change(by_hand: Manual, statement: str) -> str:
    await by_hand.connection.execute(statement)
    await by_hand.sequencer.step()
    await by_hand.publish()
    return f"{by_hand.place.epoch}-{by_hand.place.position}"


async def _why(gateway: Web, sub: int, id: str, more: str = "") -> str:
    return str((await told(gateway, f"/admin/explain?sub={sub}&stream=bookings&id={id}{more}"))["verdict"])


async def test_explained(servers: Servers) -> None:
    """Delivered, not for them, left, filtered, unknown, too old: as it was on the stream of the one who is asked about."""
    async with listening(servers) as (by_hand, gateway, stream):
        changed = await _change(by_hand, "update bookings set notes = 'mine' where id = 1")
        await _change(by_hand, "update bookings set customer_id = 2 where id = 1")
        anothers = await _change(by_hand, "update bookings set notes = 'theirs' where id = 1")
        _, delivered, left = await stream.events(3)
        assert (delivered.id, left.data["left"]) == (changed, True)
        assert await _why(gateway, 1, delivered.id) == "delivered"
        assert await _why(gateway, 1, left.id) == "left"
        assert await _why(gateway, 2, left.id) == "delivered"
        assert await _why(gateway, 1, anothers) == "not-for-them"
        assert await _why(gateway, 1, delivered.id, "&filter=status=eq.cancelled") == "filtered"
        assert await _why(gateway, 1, "what-is-this") == "not-found"
        assert await _why(gateway, 1, "ffffffff-1") == "not-found"
        await by_hand.connection.execute("select rowcast.open_segment()")
        await by_hand.connection.execute("select rowcast.drop_segments('0 seconds')")
        assert await _why(gateway, 1, delivered.id) == "too-old"
