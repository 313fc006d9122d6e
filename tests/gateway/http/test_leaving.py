"""Clients that leave, at any moment: nothing of them stays."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from gateway.fanout.backlog import Backlog
from gateway.fanout.subscriber import State
from tests.gateway.http.raw import Client, get, serving
from tests.support.gateway import positions, until
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.uvicorn]


def _half_close(client: Client) -> None:
    client.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)


def _close(client: Client) -> None:
    client.writer.close()


@pytest.mark.parametrize("leave", [_half_close, _close, Client.reset])
async def test_leaving(module_servers: Servers, leave: Callable[[Client], None]) -> None:
    """Whoever ends a connection, in whatever way, is forgotten, and counted as gone once."""
    async with serving(module_servers) as (bridge, web):
        client = await web.send(get())
        await client.stream()
        assert len(web.connections) == 1
        leave(client)
        await until(lambda: web.nobody)
        await bridge.change()
        assert web.sample("rowcast_endings_total", reason="gone") == 1
        assert web.sample("rowcast_connections") == 0


@pytest.mark.parametrize(("leave", "since"), [(_half_close, ""), (Client.reset, "earliest"), (Client.reset, "an id")])
async def test_leaving_while_joining(
    module_servers: Servers, monkeypatch: pytest.MonkeyPatch, leave: Callable[[Client], None], since: str
) -> None:
    """A client that leaves before the log has answered leaves nothing behind, and whoever comes next is served."""
    asked, answered = asyncio.Event(), asyncio.Event()

    def held(name: str) -> None:
        question = getattr(Backlog, name)

        async def hold(self: Backlog, *args: Any, **options: Any) -> Any:
            asked.set()
            await answered.wait()
            return await question(self, *args, **options)

        monkeypatch.setattr(Backlog, name, hold)

    async with serving(module_servers) as (bridge, web):
        start = bridge.place.position
        await bridge.change()
        await until(lambda: web.hub.roster.position == start + 1)
        for name in ("head", "read"):
            held(name)
        last = f"{web.hub.roster.epoch}-{start}" if since == "an id" else since
        client = await web.send(get(*([f"Last-Event-ID: {last}"] if last else [])))
        assert (await client.answer()).status == 200
        await asked.wait()
        assert [each.state for each in web.hub.roster.subscribers] == [State.CATCHING_UP]
        leave(client)
        await until(lambda: web.nobody)
        answered.set()
        async with web.stream("bookings", since=f"{web.hub.roster.epoch}-{start}") as stream:
            await bridge.change()
            assert positions(await stream.events(2)) == [start + 1, start + 2]
        await until(lambda: web.nobody)
        assert web.sample("rowcast_endings_total", reason="gone") == 2
