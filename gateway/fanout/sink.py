"""⑧ Where a subscriber writes: bytes that wait for the connection, joined into one write, never more than a bound.

- Written by the hub, taken by whoever sends. The other sink is the connection itself, once it was handed over.
- Full is not an error: the subscriber stops, keeps its cursor, and reads the log again once this has been drained.
"""

import asyncio
from typing import Protocol

HIGH_WATER_BYTES = 131_072
"""Several times what the tail hands out before connections may send."""


class Sink(Protocol):
    """One connection's end, as the subscriber sees it."""

    @property
    def full(self) -> bool:
        """Nothing more may be written but what is already under way."""

    @property
    def chunked(self) -> bool:
        """Whether what is written must be chunks of HTTP/1.1 already."""

    def begin(self) -> None:
        """Lets the client see that it is connected, though there is nothing to write yet."""

    def write(self, data: bytes) -> None: ...
    def close(self) -> None:
        """Ends the connection after what was written, or at once if it does not take it."""

    async def drained(self) -> None:
        """Returns when the connection has taken what was written."""


class BufferSink:
    """Bytes for a response that is sent by its own task."""

    __slots__ = ("_closed", "_drained", "_pending", "_ready", "_size")
    chunked = False

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._size = 0
        self._closed = False
        self._ready = asyncio.Event()
        self._drained = asyncio.Event()
        self._drained.set()

    @property
    def full(self) -> bool:
        return self._size >= HIGH_WATER_BYTES

    def begin(self) -> None:
        """The response's head is sent before this is read."""

    def write(self, data: bytes) -> None:
        if not self._closed:
            self._pending.append(data)
            self._size += len(data)
            self._ready.set()
            self._drained.clear()

    def close(self) -> None:
        self._closed = True
        self._ready.set()

    async def drained(self) -> None:
        await self._drained.wait()

    async def take(self) -> bytes | None:
        """Returns all that is pending, as soon as there is something; None at the end.

        What was returned before counts as sent when this is called again.
        """
        if not self._pending:
            self._size = 0
            self._drained.set()
        while not self._pending:
            if self._closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        data = b"".join(self._pending)
        self._pending.clear()
        self._size = len(data)
        return data
