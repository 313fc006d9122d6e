"""What is no request, only half of one or two in one gets one answer at most, and no line of it into a stream."""

import asyncio
import contextlib
from collections.abc import Mapping

import pytest

from tests.acceptance.hostile.client import ask, bearer, exchange, opened, told
from tests.acceptance.hostile.maker import ADMIN, hs
from tests.acceptance.hostile.wire import WIRE
from tests.support.gateway import Web, until, web
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]

UNPARSED = (400, 501, 505)


@pytest.mark.parametrize("name", WIRE)
async def test_hostile_bytes(gate: Web, name: str) -> None:
    """What is no request, or too much of one, gets one answer and no stream; the next client is served as before."""
    make, statuses = WIRE[name]
    data = make(gate.port)
    answer = await exchange(gate.port, data)
    assert answer.status in statuses, (answer.raw, answer.body)
    assert b"\r\nX-Canary" not in answer.raw
    assert "etc/passwd" not in answer.headers.get("location", "")
    if answer.status not in UNPARSED and answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert not [word for word in told(answer) if word.lower() != "canary"]
    assert (await ask(gate, "/streams", bearer(hs()))).status == 200
    assert not gate.hub.roster.subscribers


async def test_smuggled_request(gate: Web) -> None:
    """A request inside another's body is nobody's: a body that can be read in two ways ends the connection."""
    inner = f"GET /streams HTTP/1.1\r\nHost: x\r\n{bearer(hs())}\r\n\r\n"
    for lines in (
        (f"Content-Length: {len(inner) + 5}", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", f"Content-Length: {len(inner) + 5}"),
        ("Transfer-Encoding: identity, chunked", f"Content-Length: {len(inner) + 5}"),
        ("Content-Length: 5", f"Content-Length: {len(inner) + 5}"),
        ("Transfer-Encoding:\tchunked", f"Content-Length: {len(inner) + 5}"),
        ("Transfer-Encoding: \x0bchunked", f"Content-Length: {len(inner) + 5}"),
    ):
        outer = "\r\n".join(("POST /auth/session HTTP/1.1", f"Host: 127.0.0.1:{gate.port}", bearer(hs()), *lines))
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(f"{outer}\r\n\r\n0\r\n\r\n{inner}".encode())
        writer.write_eof()
        async with asyncio.timeout(60):
            everything = await reader.read()
        writer.close()
        assert b'"streams"' not in everything, (lines, everything)
        assert everything.count(b"HTTP/1.1 ") <= 1, (lines, everything)


HALVES: Mapping[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "half a line": (b"GET /stre", b""),
    "a head without end": (b"GET /streams HTTP/1.1\r\nHost: x\r\n", b""),
    "a letter at a time": (b"GET /streams HTTP/1.1\r\nHost: x\r\nX: ", b"x"),
    "a header at a time": (b"GET /streams HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n"),
    "line ends at a time": (b"", b"\r\n"),
    "half a body": (b"POST /admin/revocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 500\r\n\r\n{", b""),
    "a body at a time": (b"POST /admin/revocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 500\r\n\r\n{", b" "),
}
"""What comes at first, and then twice a second."""


async def test_half_sent_requests_are_gone(gate: Web) -> None:
    """Whoever does not finish a request is cut off, also who goes on sending a little, and keeps no connection."""

    async def waited(first: bytes, then: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(first.replace(b"%s", hs(None, **ADMIN).encode()))
        closing = asyncio.create_task(reader.read())
        try:
            with contextlib.suppress(ConnectionError):
                while not (await asyncio.wait({closing}, timeout=0.5))[0]:
                    writer.write(then)
                await closing
        finally:
            closing.cancel()
            writer.close()

    attempts = {name: asyncio.create_task(waited(*half)) for name, half in HALVES.items()}
    await asyncio.wait(attempts.values(), timeout=60)
    left = [name for name, attempt in attempts.items() if not attempt.done()]
    for attempt in attempts.values():
        attempt.cancel()
    assert not left


@pytest.mark.parametrize(
    "since", ["abcd-7%0a%0aevent:%20bookings%0adata:%20canary", "x%0d%0aid:%20y", "a%00b", "%ff", "y" * 3000, "7" * 400]
)
async def test_hostile_id(gate: Web, site: Servers, since: str) -> None:
    """An id that is none of ours starts the stream anew, and writes no line into it, also where the only answer is `reconnect`."""
    browser = {"Accept": "text/event-stream", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    admission = gate.app.state.gate._admission
    for name in ("lastEventId", "last_event_id"):
        async with opened(gate, f"/streams/bookings?{name}={since}") as stream:
            assert (await stream.next()).data["status"] == "reset"
            assert (await stream.next()).name == "reset"
        # Both count the same user, in the same Redis.
        await until(lambda: not admission._local and admission._counting is None)
        async with web(site, connections_per_user=1, query_tokens=True) as each, opened(each):
            stream = await each.request(f"/streams/bookings?{name}={since}&access_token={hs()}", browser)
            assert stream.status == 200, stream.body
            first = stream.body or await stream._reader.read()
            assert b"canary" not in first
            assert b"event: reconnect" in first
            assert first.count(b"\n\n") == 1
            assert first.count(b"id: ") == 1
