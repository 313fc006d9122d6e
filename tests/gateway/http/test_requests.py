"""Requests that open a stream, from clients that are old, rude or in a hurry."""

import asyncio
import tracemalloc

import pytest

from tests.gateway.http.raw import HANDED_OVER, arrive, get, serving
from tests.support import sse
from tests.support.gateway import until
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.uvicorn]


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
        await until(lambda: web.nobody)
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
        await until(lambda: web.nobody)
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
