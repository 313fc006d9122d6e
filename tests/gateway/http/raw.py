"""Clients that speak HTTP byte by byte, and a web process that can be looked into while they do."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette

from gateway.fanout.subscriber import Subscriber
from gateway.http import server
from gateway.http.app import create
from gateway.http.protocol import Protocol
from tests.gateway.fanout.manual import Manual, manual
from tests.support import sse
from tests.support.gateway import Web, positions, settings, token, until
from tests.support.servers import Servers


@dataclass
class Served(Web):
    """A web process whose server can be looked into."""

    server: uvicorn.Server
    clients: "list[Client]"

    @property
    def connections(self) -> set[Any]:
        """What uvicorn takes for open connections."""
        return self.server.server_state.connections

    def sample(self, name: str, **labels: str) -> float:
        value = self.app.state.meter.registry.get_sample_value(name, labels)
        assert value is not None
        return float(value)

    @property
    def nobody(self) -> bool:
        """Whether the last trace of every connection is gone."""
        listening = any(channel.subscribers for channel in self.hub.roster.channels.values())
        return not (self.hub.roster.subscribers or self.hub._catch_up.busy or self.connections or listening)

    async def send(self, *parts: bytes, **options: Any) -> "Client":
        """Opens a connection and sends these bytes, one segment after the other."""
        client = Client(*await asyncio.open_connection(self.host, self.port, limit=2**24, **options))
        self.clients.append(client)
        for part in parts:
            client.writer.write(part)
            await asyncio.sleep(0)
        return client


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> sse.Stream:
        """Reads the next response's head, and its body where it has a length."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        stream = sse.Stream(int(head[0].split(" ")[1]), headers, _reader=self.reader, _writer=self.writer)
        if "content-length" in headers:
            stream.body = await self.reader.readexactly(int(headers["content-length"]))
        return stream

    async def stream(self) -> sse.Stream:
        """Reads the head of a stream and its `ready`."""
        stream = await self.answer()
        assert stream.status == 200
        assert (await stream.next()).name == "ready"
        return stream

    async def rest(self) -> bytes:
        """Returns all that comes until the server closes."""
        async with asyncio.timeout(20):
            return await self.reader.read()

    def reset(self) -> None:
        """Ends the connection with an RST."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def get(*lines: str, path: str = "/streams/bookings", version: str = "1.1", method: str = "GET") -> bytes:
    """Writes a request of customer 1."""
    return "\r\n".join([f"{method} {path} HTTP/{version}", "Host: rowcast", f"Authorization: Bearer {token(1)}", *lines, "", ""]).encode()


async def arrive(bridge: Manual, stream: sse.Stream, count: int = 1) -> None:
    """Makes changes, and sees each of them come once, in order."""
    start = bridge.place.position
    await bridge.change(count)
    assert positions(await stream.events(count)) == list(range(start + 1, start + count + 1))


async def burst(bridge: Manual, count: int) -> None:
    """Publishes so many events of 8 kB each, from one transaction."""
    statement = (
        f"do $$ begin for n in 1..{count} loop update bookings set notes = repeat('burst...', 1000) || n where id = 1; end loop; end $$"
    )
    await bridge.connection.execute(statement)
    await bridge.sequencer.step()
    await bridge.publish()


@asynccontextmanager
async def serving(
    servers: Servers, prepare: Callable[[Starlette], None] = lambda _: None, heartbeat: str = "8s", **config: Any
) -> AsyncIterator[tuple[Manual, Served]]:
    """Serves the application on a socket that is bounded as `rowcast web` bounds it, with a bridge that is moved by hand."""
    AppStatus.enable_automatic_graceful_drain = False
    app = create(settings(servers, heartbeat=heartbeat))
    prepare(app)
    given: dict[str, Any] = {"log_level": "error", "timeout_graceful_shutdown": 2, "lifespan": "on"}
    each = uvicorn.Server(uvicorn.Config(app, http=Protocol, ws="none", **(given | config)))
    # Signals belong to pytest.
    each.capture_signals = contextlib.nullcontext  # type: ignore[assignment, method-assign]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server._bound(listening)
        port = listening.getsockname()[1]
        task = asyncio.create_task(each.serve(sockets=[listening]))
        async with manual(servers) as bridge:
            # Whatever the test before has left there.
            await bridge.connection.execute("update bookings set notes = null where id = 1")
            await bridge.sequencer.step()
            await bridge.publish()
            web = Served("127.0.0.1", port, app, each, [])
            await until(lambda: task.done() or (each.started and web.hub.tail.connected and web.hub.roster.epoch))
            try:
                yield bridge, web
            finally:
                for client in web.clients:
                    client.writer.transport.abort()
                each.should_exit = True
                await task


@asynccontextmanager
async def reading_nothing(web: Served) -> AsyncIterator[Subscriber]:
    """Opens a stream and never reads it, with the smallest buffer of its own; yields its subscriber."""
    with socket.socket() as narrow:
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        narrow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(narrow, (web.host, web.port))
        await loop.sock_sendall(narrow, get())
        await until(lambda: len(web.hub.roster.subscribers) == 1)
        yield next(iter(web.hub.roster.subscribers))


HANDED_OVER = pytest.mark.parametrize("way_out", ["handed over"], indirect=True)
"""For what can only be told of a connection that was handed over."""
