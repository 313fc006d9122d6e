"""The HTTP edge of a stream against clients that are old, rude, impatient or gone, and against middleware that has its own ideas."""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import struct
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.fanout import sink, ticker
from gateway.fanout.backlog import Backlog
from gateway.fanout.page import PAGE_BYTES
from gateway.fanout.subscriber import State
from gateway.http import response, server
from gateway.http.app import create
from gateway.http.edge import Edge
from gateway.http.server import Protocol
from tests.gateway.fanout.manual import Manual, manual
from tests.support import sinks, sse
from tests.support.gateway import Web, positions, settings, token, until
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.uvicorn]


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
        return not (self.hub.roster.subscribers or self.hub._catch_up.tasks or self.connections or listening)

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
    each = uvicorn.Server(uvicorn.Config(app, http=Protocol, **(given | config)))
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


HANDED_OVER = pytest.mark.parametrize("way_out", ["handed over"], indirect=True)
"""For what can only be told of a connection that was handed over."""


# Requests


@HANDED_OVER
@pytest.mark.parametrize("behind", [b"", b"GET /livez HT"], ids=["alone", "with the start of another request behind it"])
@pytest.mark.parametrize("lines", [[], ["Connection: keep-alive"]], ids=["", "keep-alive"])
async def test_http_1_0(module_servers: Servers, lines: list[str], behind: bytes) -> None:
    """A client of HTTP/1.0 gets events and no chunks, and is told that the end of the connection is the end of the body."""
    async with serving(module_servers) as (bridge, web):
        client = await web.send(get(*lines, version="1.0") + behind)
        stream = await client.stream()
        assert "transfer-encoding" not in stream.headers
        assert stream.headers["connection"] == "close"
        await arrive(bridge, stream, 2)
        web.hub.end(next(iter(web.hub.roster.subscribers)), "max-age")
        sse.parse((await client.rest()).removesuffix(b"\n\n"), first=False)


async def test_in_single_bytes(module_servers: Servers) -> None:
    """A request that comes byte by byte is the same request."""
    async with serving(module_servers) as (bridge, web):
        client = await web.send(*(bytes([each]) for each in get()))
        stream = await client.stream()
        await arrive(bridge, stream)


async def test_pipelined_behind_the_stream(module_servers: Servers) -> None:
    """A request that comes together with the stream's is answered after the stream's end or not at all, and never within it."""
    async with serving(module_servers) as (bridge, web):
        client = await web.send(get() + get("Connection: close", path="/livez"))
        stream = await client.stream()
        await arrive(bridge, stream, 3)
        web.hub.end(next(iter(web.hub.roster.subscribers)), "max-age")
        assert (await stream.next()).name == "reconnect"
        with pytest.raises(EOFError):
            await stream.next()
        rest = await client.rest()
        assert rest == b"" or (rest.startswith(b"HTTP/1.1 200 OK\r\n") and rest.endswith(b"\r\n\r\nok\n"))


async def test_leaving_with_a_request_behind_the_stream(module_servers: Servers) -> None:
    """Who leaves a stream behind which another request waits is seen to leave."""
    async with serving(module_servers, heartbeat="400ms") as (_, web):
        client = await web.send(get() + get(path="/livez"))
        await client.stream()
        client.reset()
        await until(lambda: web.nobody, within=5)
        assert web.sample("rowcast_endings_total", reason="gone") == 1


async def test_pipelined_before_the_stream(module_servers: Servers) -> None:
    """A stream's request that comes together with others before it is answered after them."""
    async with serving(module_servers) as (bridge, web):
        client = await web.send(get(path="/livez") + get(path="/streams") + get())
        assert (await client.answer()).body == b"ok\n"
        assert (await client.answer()).status == 200
        stream = await client.stream()
        await arrive(bridge, stream)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_on_a_used_connection(module_servers: Servers, method: str) -> None:
    """A stream on a connection that has served another request outlives what the server grants an idle connection."""
    async with serving(module_servers, timeout_keep_alive=0.2) as (bridge, web):
        first = get(path="/livez") if method == "GET" else get(method="HEAD")
        idle, client = await web.send(first), await web.send(first)
        for each in (idle, client):
            assert (await each.answer()).status == 200
        client.writer.write(get())
        stream = await client.stream()
        assert await idle.rest() == b"", "the control: an idle connection is closed"
        await asyncio.sleep(0.3)
        await arrive(bridge, stream)


@HANDED_OVER
async def test_garbage_behind_the_request(module_servers: Servers) -> None:
    """What a client sends into its stream is dropped, is never kept, and changes nothing."""
    async with serving(module_servers) as (bridge, web):
        client = await web.send(get())
        stream = await client.stream()
        garbage = b"\x00\xff\r\n\r\n:" * 8192
        tracemalloc.start()
        try:
            for _ in range(64):
                client.writer.write(garbage)
                await client.writer.drain()
            client.writer.write(get(path="/livez") + get())
            await arrive(bridge, stream, 2)
            assert tracemalloc.get_traced_memory()[1] < 30 * len(garbage)
        finally:
            tracemalloc.stop()
        assert len(web.hub.roster.subscribers) == len(web.connections) == 1
        client.reset()
        await until(lambda: web.nobody)


async def test_further_request_behind_the_stream(module_servers: Servers) -> None:
    """A request that is sent into an open stream is not answered in it, and whoever sent it is still seen to leave."""
    async with serving(module_servers, heartbeat="400ms") as (bridge, web):
        client = await web.send(get())
        stream = await client.stream()
        client.writer.write(get(path="/livez") + get())
        await arrive(bridge, stream, 2)
        client.reset()
        await until(lambda: web.nobody, within=5)
        assert web.sample("rowcast_endings_total", reason="gone") == 1


@pytest.mark.parametrize("body", [b"", b"hello"], ids=["body never comes", "body comes"])
async def test_expect_continue(module_servers: Servers, body: bytes) -> None:
    """Who asks whether to send a body is answered with the stream, whether the body comes or not."""
    async with serving(module_servers) as (bridge, web):
        client = await web.send(get("Expect: 100-continue", "Content-Length: 5"), body)
        stream = await client.stream()
        await arrive(bridge, stream)


async def test_upgrade(module_servers: Servers) -> None:
    """Who offers HTTP/2 in passing, as curl does, gets the stream."""
    async with serving(module_servers) as (bridge, web):
        client = await web.send(get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"))
        stream = await client.stream()
        await arrive(bridge, stream)


# Leaving


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


# Endings


@pytest.mark.parametrize(("reason", "event"), [("max-age", "reconnect"), ("expired", "closed")])
async def test_end(module_servers: Servers, reason: str, event: str) -> None:
    """A stream that the server ends says why, ends its body as HTTP/1.1 wants it, and then its connection."""
    async with serving(module_servers, timeout_keep_alive=0.1) as (bridge, web):
        client = await web.send(get())
        stream = await client.stream()
        await bridge.change()
        await stream.events(1)
        web.hub.end(next(iter(web.hub.roster.subscribers)), reason)
        size, _, rest = (await client.rest()).partition(b"\r\n")
        last, rest = rest[: int(size, 16)], rest[int(size, 16) :]
        assert rest == b"\r\n0\r\n\r\n"
        told = sse.parse(last.removesuffix(b"\n\n"), first=False)
        assert (told.name, told.data["reason"], told.position) == (event, reason, bridge.place.position)
        await until(lambda: web.nobody)
        assert web.sample("rowcast_endings_total", reason=reason) == 1
        assert web.sample("rowcast_endings_total", reason="gone") == 0


async def test_reader_that_stops(module_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that stops reading costs a bounded buffer, is ended as slow with its connection, and delays nobody."""
    for each in (ticker, response):
        monkeypatch.setattr(each, "SLOW_SECONDS", 0.5)
    monkeypatch.setattr(server, "_UNHEARD_SECONDS", 1.0)
    async with serving(module_servers, heartbeat="400ms") as (bridge, web):
        with socket.socket() as narrow:
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            narrow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(narrow, (web.host, web.port))
            await loop.sock_sendall(narrow, get())
            await until(lambda: len(web.hub.roster.subscribers) == 1)
            slow = next(iter(web.hub.roster.subscribers))
            largest = 0
            async with web.stream("bookings") as other:
                start = bridge.place.position
                events = asyncio.create_task(other.events(300))
                for _ in range(10):
                    await burst(bridge, 30)
                    await asyncio.sleep(0.01)
                    largest = max(largest, sinks.waiting(slow.sink))
                assert positions(await events) == list(range(start + 1, start + 301))
                await until(lambda: slow.state is State.ENDED)
                await until(lambda: slow not in web.hub.roster.subscribers and len(web.connections) == 1)
                assert web.sample("rowcast_endings_total", reason="slow") == 1
                assert web.sample("rowcast_endings_total", reason="gone") == 0
                await arrive(bridge, other)
            assert 0 < largest < sink.HIGH_WATER_BYTES + PAGE_BYTES
        await until(lambda: web.nobody)


async def test_shutdown(module_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that shuts down tells every client to come back, those too whose log has not answered, and ends their bodies."""
    async with AsyncExitStack() as stack:
        _, web = await stack.enter_async_context(serving(module_servers, timeout_keep_alive=0.1))
        clients = [await web.send(get()) for _ in range(10)]
        streams = [await client.stream() for client in clients]

        async def never(*_: object, **__: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(Backlog, "read", never)
        joining = await web.send(get(f"Last-Event-ID: {web.hub.roster.epoch}-0"))
        streams.append(await joining.answer())
        await until(lambda: len(web.hub.roster.subscribers) == 11)
        web.server.should_exit = True
        for stream in streams:
            told = await stream.next()
            assert (told.name, told.data["reason"]) == ("reconnect", "shutdown")
            with pytest.raises(EOFError):
                await stream.next()
        assert [await client.rest() for client in (*clients, joining)] == [b""] * 11
        await until(lambda: web.nobody)
        assert web.sample("rowcast_endings_total", reason="shutdown") == 11
        assert web.sample("rowcast_endings_total", reason="gone") == 0


async def test_joining_while_the_server_ends(module_servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client whose request was taken just before the server began to drain is told to come back, as all others are."""
    asked, answered = asyncio.Event(), asyncio.Event()
    earliest = Backlog.earliest

    async def hold(self: Backlog) -> Any:
        asked.set()
        await answered.wait()
        return await earliest(self)

    monkeypatch.setattr(Backlog, "earliest", hold)
    async with serving(module_servers, timeout_keep_alive=0.1) as (_, web):
        client = await web.send(get("Last-Event-ID: earliest"))
        await asked.wait()
        web.server.should_exit = True
        await until(lambda: web.hub.draining)
        answered.set()
        stream = await client.answer()
        told = await stream.until("reconnect", within=5)
        assert told.data["reason"] == "shutdown"
        with pytest.raises(EOFError):
            await stream.next()
        await until(lambda: web.nobody)


@HANDED_OVER
async def test_shutdown_with_a_reader_that_does_not_read(module_servers: Servers) -> None:
    """A client that takes nothing is cut when the server drains, and does not use up what the server grants the others."""
    async with serving(module_servers, timeout_graceful_shutdown=30) as (bridge, web):
        client = await web.send(get())
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await until(lambda: [each.state for each in web.hub.roster.subscribers] == [State.LIVE])
        subscriber = next(iter(web.hub.roster.subscribers))
        while not subscriber.sink.full:
            await burst(bridge, 90)
            await asyncio.sleep(0.05)
        web.server.should_exit = True
        await until(lambda: web.nobody)


# What stands between


class _Pure:
    """Adds a header to the head as it goes by."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Between"] = "yes"
            await send(message)

        await self._app(scope, receive, named)


class _Yielding(_Pure):
    """Lets the loop turn before and after the head goes by."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def late(message: Message) -> None:
            await asyncio.sleep(0.01)
            await send(message)
            await asyncio.sleep(0.01)

        await super().__call__(scope, receive, late)


class _Holding(BaseHTTPMiddleware):
    """Holds the head back, as Starlette's own base class does."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = await call_next(request)
        answer.headers["X-Between"] = "yes"
        return answer


class _HoldingLong(BaseHTTPMiddleware):
    """Holds the head back for a while."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = await call_next(request)
        await asyncio.sleep(0.05)
        answer.headers["X-Between"] = "yes"
        return answer


@pytest.mark.parametrize("middleware", [[_Pure], [_Yielding], [_Holding], [_HoldingLong], [_Holding, _Yielding, _Holding]])
async def test_middleware(module_servers: Servers, middleware: list[Any]) -> None:
    """What a middleware adds to the head is seen, events arrive one after the other, the body ends well, and nothing is left over."""

    def prepare(app: Starlette) -> None:
        for each in middleware:
            app.add_middleware(each)

    async with serving(module_servers, prepare, timeout_keep_alive=0.1) as (bridge, web):
        client = await web.send(get())
        stream = await client.stream()
        assert stream.headers["x-between"] == "yes"
        for _ in range(3):
            await arrive(bridge, stream)
        web.hub.end(next(iter(web.hub.roster.subscribers)), "max-age")
        assert (await client.rest()).endswith(b"\r\n0\r\n\r\n")
        gone = await web.send(get())
        await gone.stream()
        gone.reset()
        await until(lambda: web.nobody)


async def test_leaving_while_a_middleware_holds_the_head(module_servers: Servers) -> None:
    """A client that leaves before its head was sent leaves nothing behind."""
    async with serving(module_servers, lambda app: app.add_middleware(_HoldingLong)) as (_, web):
        client = await web.send(get())
        await until(lambda: web.server.server_state.tasks)
        client.reset()
        await until(lambda: web.nobody and not web.server.server_state.tasks)


async def test_tls(module_servers: Servers, tmp_path: Path, way_out: str) -> None:
    """Over TLS a connection is handed over as well: bursts arrive whole, the body ends well, and nothing is left over."""
    certificate, key = _self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=certificate)
    async with serving(module_servers, ssl_certfile=certificate, ssl_keyfile=key, timeout_keep_alive=0.1) as (bridge, web):
        client = await web.send(get(), ssl=trusting, server_hostname="127.0.0.1")
        stream = await client.stream()
        subscriber = next(iter(web.hub.roster.subscribers))
        assert isinstance(subscriber.sink, Edge) == (way_out == "handed over")
        start = bridge.place.position
        await burst(bridge, 150)
        assert positions(await stream.events(150)) == list(range(start + 1, start + 151))
        web.hub.end(subscriber, "max-age")
        assert (await client.rest()).endswith(b"\r\n0\r\n\r\n")
        gone = await web.send(get(), ssl=trusting, server_hostname="127.0.0.1")
        await gone.stream()
        gone.writer.transport.abort()
        await until(lambda: web.nobody)
        assert web.sample("rowcast_endings_total", reason="gone") == 1


def _self_signed(directory: Path) -> tuple[Path, Path]:
    """Writes a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rowcast")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return files
