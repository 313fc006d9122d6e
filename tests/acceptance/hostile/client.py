"""A client that sends what it is told to, byte for byte, and what an answer to it must be."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
from redis.asyncio import Redis
from starlette.applications import Starlette

from tests.acceptance.hostile.maker import hs
from tests.support import sse
from tests.support.gateway import SECRET, Web, until
from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers

APP, OTHER = "https://app.example", "https://other.example"
COOKIE = "__Secure-rowcast"
INVALID = 'Bearer error="invalid_token"'


@dataclass(frozen=True)
class Answer:
    """An answer, with its head as it came; status 0 where the connection was closed without one."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    body: bytes

    @property
    def problem(self) -> Any:
        return orjson.loads(self.body)


async def exchange(port: int, data: bytes, within: float = 60) -> Answer:
    """Sends bytes and reads one answer: of a stream its head, of anything else all of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        async with asyncio.timeout(within):
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return Answer(0, {}, b"", b"")
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
            body = b"" if data.startswith(b"HEAD ") else await reader.readexactly(int(headers.get("content-length", 0)))
            return Answer(int(lines[0].split(" ")[1]), headers, head, body)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def request(port: int, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    """Writes a request; header lines go out as they are."""
    head = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *lines]
    if body or method == "POST":
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


async def ask(web: Web, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> Answer:
    """Makes one request, over a connection of its own."""
    return await exchange(web.port, request(web.port, path, *lines, method=method, body=body))


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def told(answer: Answer, *secrets: str) -> list[str]:
    """Returns which parts of what the client sent came back."""
    words = [word for secret in secrets for word in secret.split(".") if len(word) >= 8]
    everything = (answer.raw + answer.body).decode("utf-8", "replace")
    return [word for word in [*words, "canary", "Canary", SECRET, "Traceback"] if word in everything]


def refused(answer: Answer, *statuses: int, challenge: str = "", secrets: tuple[str, ...] = ()) -> None:
    """Holds an answer against RFC 9457 and RFC 6750, and sees that nothing of what was sent is in it."""
    assert answer.status in statuses, (answer.raw, answer.body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"title", "status", "detail"} <= set(answer.problem)
    assert answer.problem["status"] == answer.status
    if answer.status == 401:
        assert answer.headers["www-authenticate"].startswith(challenge or "Bearer")
    assert not told(answer, *secrets)
    assert "set-cookie" not in answer.headers


@asynccontextmanager
async def opened(
    web: Web, path: str = "/streams/bookings", headers: Mapping[str, str] | None = None, leave: bool = True
) -> AsyncIterator[sse.Stream]:
    """Opens a stream, of customer 1 unless the headers say more; afterwards the gateway has noticed that it is gone."""
    stream = await web.request(path, auth(hs()) if headers is None else headers)
    assert stream.status == 200, stream.body
    try:
        yield stream
    finally:
        await stream.close()
        if leave:
            await until(lambda: not web.hub.roster.subscribers)


def auth(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def process(site: Servers, directory: Path, **settings: str) -> AsyncIterator[tuple[Web, Path]]:
    """Starts `rowcast web` itself, at its most talkative, and yields it with its log."""
    log, port = directory / f"web-{time.monotonic_ns()}.log", free_port()
    given = {"PORT": str(port), "LOG_LEVEL": "debug", "ROWCAST_DATA_DIR": str(directory), "ROWCAST_CORS_ORIGINS": APP} | settings
    with started(command("web"), environment(site, **given), log):
        await asyncio.to_thread(wait_ready, f"http://127.0.0.1:{port}")
        yield Web("127.0.0.1", port, Starlette()), log


@contextlib.contextmanager
def blaming(wrong: dict[str, str], name: str) -> Iterator[None]:
    """Notes a failure under a name, so that one does not hide the others of a table."""
    try:
        yield
    except AssertionError as error:
        wrong[name] = str(error)[:300]


async def keys(site: Servers) -> set[bytes]:
    """Returns the names of all keys in Redis but those of web processes: they end a while after theirs."""
    async with Redis.from_url(site.redis_url) as redis:
        return {bytes(key) async for key in redis.scan_iter() if b":web:" not in bytes(key)}


async def connections(site: Servers) -> int:
    """Returns how many connections to Redis there are."""
    async with Redis.from_url(site.redis_url) as redis:
        return len(await redis.client_list())


async def issue(web: Web, origin: str | None = APP, **changes: Any) -> str:
    """Asks for a ticket."""
    lines = [bearer(hs(None, **changes))] + ([f"Origin: {origin}"] if origin else [])
    answer = await ask(web, "/auth/ticket", *lines, method="POST")
    assert answer.status == 200, answer.body
    assert set(answer.problem) == {"ticket", "expires_in"}
    assert "no-store" in answer.headers.get("cache-control", "")
    return str(answer.problem["ticket"])


def escaped(token: str) -> str:
    return quote(token.encode("utf-8", "surrogateescape"), safe="")
