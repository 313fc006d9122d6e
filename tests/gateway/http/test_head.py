"""Requests that do not come to an end, or are too large: they are gone after their time, and cost nothing after that."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.http import protocol
from gateway.http.protocol import Heads
from tests.gateway.fanout.manual import manual
from tests.support.gateway import Web, token, until, web
from tests.support.servers import Servers

pytestmark = pytest.mark.uvicorn

_START = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
def heads(monkeypatch: pytest.MonkeyPatch) -> list[Heads]:
    """The waiting connections of the servers of a test, which wait for a moment only."""
    found: list[Heads] = []
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    original = Heads.__init__

    def made(self: Heads) -> None:
        original(self)
        found.append(self)

    monkeypatch.setattr(Heads, "__init__", made)
    return found


@asynccontextmanager
async def connected(gateway: Web) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(gateway.host, gateway.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _all(reader: asyncio.StreamReader) -> bytes:
    """Reads to the end of the connection, however it comes."""
    data = b""
    try:
        async with asyncio.timeout(20):
            while chunk := await reader.read(65536):
                data += chunk
    except ConnectionError:
        pass
    return data


@pytest.mark.parametrize("sent", [b"", b"\r\n", b"GET", _START, _START + b"X: "], ids=["nothing", "a line", "a word", "a start", "half"])
async def test_half_a_head(servers: Servers, heads: list[Heads], sent: bytes) -> None:
    """A connection that says nothing, or not all of a head, is closed without a word."""
    async with web(servers) as gateway, connected(gateway) as (reader, writer):
        writer.write(sent)
        assert await _all(reader) == b""
        assert not heads[0]._waiting


async def test_a_head_that_trickles(servers: Servers, heads: list[Heads]) -> None:
    """A byte now and then is no more time."""
    async with web(servers) as gateway, connected(gateway) as (reader, writer):

        async def trickle() -> None:
            for byte in _START + b"X-Slow: " + b"x" * 5000:
                writer.write(bytes((byte,)))
                await asyncio.sleep(0.01)

        trickling = asyncio.create_task(trickle())
        assert await _all(reader) == b""
        trickling.cancel()


async def test_half_a_head_behind_a_request(servers: Servers, heads: list[Heads]) -> None:
    """On a connection that is kept the next request has as much time, and no more."""
    async with web(servers) as gateway, connected(gateway) as (reader, writer):
        writer.write(_START + b"\r\n")
        answer = await reader.readuntil(b"ok\n")
        assert answer.startswith(b"HTTP/1.1 200")
        writer.write(b"GET")
        assert await _all(reader) == b""
        assert not heads[0]._waiting


async def test_a_stream_is_not_ended(servers: Servers, heads: list[Heads]) -> None:
    """Whoever has sent all of their head is not waited for."""
    async with manual(servers) as bridge, web(servers) as gateway, gateway.stream() as stream:
        await stream.until("ready")
        async with connected(gateway) as (silent, _):
            assert await _all(silent) == b""
        await bridge.change()
        assert len(await stream.events(1)) == 1
        assert not heads[0]._waiting


async def test_the_first_that_comes_is_the_first_that_goes(servers: Servers, heads: list[Heads]) -> None:
    """Of many silent connections each has its time, and all are gone in the end."""
    async with web(servers) as gateway:
        pairs = [await asyncio.open_connection(gateway.host, gateway.port) for _ in range(50)]
        await until(lambda: heads and len(heads[0]._waiting) == 50)
        assert [await _all(reader) for reader, _ in pairs] == [b""] * 50
        assert not heads[0]._waiting
        for _, writer in pairs:
            writer.close()


LARGE = {
    "address": (b"GET /streams/bookings?a=" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", b"414"),
    "one header": (_START + b"X: " + b"x" * 40_000 + b"\r\n\r\n", b"431"),
    "one header without an end": (_START + b"X: " + b"x" * 700_000, b"431"),
    "many headers": (_START + b"X: 1\r\n" * 8_000 + b"\r\n", b"431"),
    "no request": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 100, b"400"),
}


@pytest.mark.parametrize("what", LARGE)
async def test_too_large(servers: Servers, what: str) -> None:
    """What is too large is answered so, as a problem, and the connection closed."""
    sent, status = LARGE[what]
    async with web(servers) as gateway, connected(gateway) as (reader, writer):
        writer.write(sent)
        answer = await _all(reader)
        # Whoever is still sending when the connection is closed may not get to see it.
        if answer or len(sent) < 100_000:
            assert answer.split(b" ", 2)[1] == status, answer
            assert b"content-type: application/problem+json" in answer
            assert b"xxx" not in answer


async def test_large_and_good(servers: Servers) -> None:
    """A long filter, a large cookie and a large token have room."""
    async with web(servers) as gateway:
        headers = {"Authorization": f"Bearer {token(note='x' * 4000)}", "Cookie": "a=" + "x" * 8000}
        stream = await gateway.request(f"/streams/bookings?status=in.({','.join(['confirmed'] * 90)})", headers)
        assert stream.status == 200, stream.body
        assert (await stream.next()).name == "ready"
        await stream.close()
