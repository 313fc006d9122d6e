"""A strict reader: what the wire may carry, and nothing else.

Reads an SSE stream over a plain socket, undoes HTTP's chunks, and fails on anything that one of the clients in the wild
stumbles over: CR, several data lines, an event without id, event or data, `retry` anywhere but in the first, an odd id.
"""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

ID = re.compile(r"[0-9a-z]{4,16}-[0-9]{1,18}(-[a-z-]+)?")
FORBIDDEN = {"error", "open", "close", "end", "message"}
CONTROL = {"ready", "reset", "snapshot", "checkpoint", "auth-expiring", "reconnect", "closed"}
_LIMIT = 2**27
"""What is read ahead of the test: more than any test sends."""


@dataclass(frozen=True)
class Event:
    """One event; `data` is decoded JSON, `raw` the text of it."""

    id: str
    name: str
    data: Any
    raw: str

    @property
    def position(self) -> int:
        return int(self.id.split("-")[1])

    @property
    def epoch(self) -> str:
        return self.id.split("-")[0]

    @property
    def control(self) -> bool:
        return self.name in CONTROL


@dataclass
class Stream:
    """An open response. Iterating yields events; heartbeats are counted."""

    status: int
    headers: Mapping[str, str]
    heartbeats: int = 0
    body: bytes = b""
    may_tear: bool = False
    """The other end may go away in the middle of an event."""
    _reader: asyncio.StreamReader = field(repr=False, default_factory=asyncio.StreamReader)
    _writer: Any = field(repr=False, default=None)
    _seen: int = 0
    _text: bytes = b""

    async def next(self, within: float = 20) -> Event:
        """Returns the next event. Raises TimeoutError, or EOFError at the end of the stream."""
        async with asyncio.timeout(within):
            while True:
                while b"\n" in self._text:
                    event = self._line_or_event()
                    if event is not None:
                        return event
                    if not self._complete():
                        break
                chunk = await self._chunk()
                if not chunk:
                    assert self.may_tear or not self._text, f"the stream ends inside an event: {self._text!r}"
                    raise EOFError
                self._text += chunk

    async def events(self, count: int, within: float = 20) -> list[Event]:
        """Returns the next so many events that are no control events."""
        found: list[Event] = []
        async with asyncio.timeout(within):
            while len(found) < count:
                event = await self.next(within)
                if not event.control:
                    found.append(event)
        return found

    async def until(self, name: str, within: float = 20) -> Event:
        """Returns the next event of a name, and drops those before."""
        async with asyncio.timeout(within):
            while (event := await self.next(within)).name != name:
                pass
        return event

    async def __aiter__(self) -> AsyncIterator[Event]:
        with contextlib.suppress(EOFError):
            while True:
                yield await self.next(3600)

    async def close(self) -> None:
        """Closes the connection as a client that walks away does."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    def abort(self) -> None:
        """Cuts the connection."""
        self._writer.transport.abort()

    def _complete(self) -> bool:
        return self._text.startswith(b":") or b"\n\n" in self._text

    def _line_or_event(self) -> Event | None:
        if self._text.startswith(b":"):
            line, _, self._text = self._text.partition(b"\n")
            assert line == b":", f"a heartbeat is one bare colon, not {line!r}"
            assert not self._text.startswith(b"\n"), "a blank line after a heartbeat makes clients deliver an empty event"
            self.heartbeats += 1
            return None
        if b"\n\n" not in self._text:
            return None
        block, _, self._text = self._text.partition(b"\n\n")
        self._seen += 1
        return parse(block, first=self._seen == 1)

    async def _chunk(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return await self._reader.read(65536)
        try:
            size = int((await self._reader.readuntil(b"\r\n")).strip(), 16)
            data = await self._reader.readexactly(size + 2)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        return data[:-2]


def parse(block: bytes, first: bool) -> Event:
    """Reads one event and holds it against the rules of the house."""
    assert b"\r" not in block, "line ends are LF"
    fields: dict[str, list[str]] = {}
    for line in block.decode().split("\n"):
        name, colon, value = line.partition(": ")
        assert colon, f"a field is `name: value`, not {line!r}"
        fields.setdefault(name, []).append(value)
    assert set(fields) <= {"id", "event", "data", "retry"}, f"unknown field in {fields}"
    assert {"id", "event", "data"} <= set(fields), f"an event has id, event and data: {fields}"
    assert all(len(values) == 1 for values in fields.values()), f"each field stands once: {fields}"
    assert ("retry" in fields) == first, "retry stands in the first event and nowhere else"
    identity, name, data = fields["id"][0], fields["event"][0], fields["data"][0]
    assert ID.fullmatch(identity), f"not an id of ours: {identity!r}"
    assert len(identity) <= 64
    assert name not in FORBIDDEN
    return Event(identity, name, orjson.loads(data), data)


async def request(
    host: str,
    port: int,
    path: str,
    headers: Mapping[str, str] | None = None,
    method: str = "GET",
    body: bytes = b"",
    receive_buffer: int = 0,
) -> Stream:
    """Sends a request and returns the response: its head read, its body yet to come (read already unless it is a stream).

    With a small `receive_buffer` (in bytes) little is taken that is not read.
    """
    reader, writer = await _connect(host, port, receive_buffer)
    try:
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host}:{port}", *(f"{k}: {v}" for k, v in (headers or {}).items())]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        found = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        stream = Stream(status, found, _reader=reader, _writer=writer)
        if method == "HEAD" or "content-length" in found:
            if method != "HEAD":
                stream.body = await reader.readexactly(int(found["content-length"]))
            await stream.close()
        return stream
    except BaseException:
        # Also where it is cancelled: whoever has asked has nothing that could be closed.
        writer.transport.abort()
        raise


async def _connect(host: str, port: int, receive_buffer: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if not receive_buffer:
        return await asyncio.open_connection(host, port, limit=_LIMIT)
    connection = socket.socket()
    connection.setblocking(False)
    # Before it connects: the window is offered with the first segment.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        await asyncio.get_running_loop().sock_connect(connection, (host, port))
    except BaseException:
        connection.close()
        raise
    return await asyncio.open_connection(sock=connection, limit=receive_buffer)
