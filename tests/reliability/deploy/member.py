"""A client that is cheap: a protocol that keeps ids, a checksum of the data, and when it was told what.

- It comes back when `retry` says, with its last id.
- What it has received is held against the log: each event once, in order, with its data.
"""

import asyncio
import json
import random
import time
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.support.ledger import Line

_STUMBLE_SECONDS = (0.5, 1.5)
"""Until one comes back that was not told when: it found nobody, or was cut."""


@dataclass(frozen=True)
class Told:
    """A `reconnect`: when it came, and what it said."""

    at: float
    reason: str
    retry_ms: int


@dataclass(eq=False)
class Member:
    """One of a crowd; connections of it come and go."""

    token: str
    remembers: bool = True
    last_id: str = ""
    begun: list[str] = field(default_factory=list)
    """What each `ready` said."""
    began_at: int = 0
    """The position with which it began."""
    positions: "array[int]" = field(default_factory=lambda: array("q"))
    checksum: int = 0
    told: list[Told] = field(default_factory=list)
    came: list[float] = field(default_factory=list)
    """When it came each time."""
    cuts: int = 0
    """How often its connection ended without a word."""
    open: bool = False

    def take(self, block: bytes) -> None:
        """Takes one event."""
        fields = dict(line.partition(b": ")[::2] for line in block.split(b"\n"))
        name, data = fields[b"event"], fields[b"data"]
        self.last_id = fields[b"id"].decode()
        if name == b"ready":
            self._begin(json.loads(data))
        elif name == b"reconnect":
            said = json.loads(data)
            self.told.append(Told(time.monotonic(), said["reason"], said["retry"]))
        elif name == b"services":
            self.positions.append(int(self.last_id.split("-")[1]))
            self.checksum = zlib.crc32(data, self.checksum)
        else:
            raise AssertionError(f"nobody expects {block!r}")

    def _begin(self, said: Any) -> None:
        if not self.begun:
            self.began_at = int(said["from"].split("-")[1])
        self.begun.append(said["status"])
        self.open = True

    def faults(self, lines: Sequence[Line]) -> list[str]:
        """Says what is wrong with what it received, the log's lines being these; nothing is right."""
        expected = [line for line in lines if line.position > self.began_at]
        found = []
        if list(self.positions) != [line.position for line in expected]:
            missing = {line.position for line in expected} - set(self.positions)
            doubled = len(self.positions) - len(set(self.positions))
            odd = "" if list(self.positions) == sorted(self.positions) else ", out of order"
            found.append(f"{len(missing)} missing, {doubled} doubled{odd}")
        elif self.checksum != zlib.crc32(b"".join(line.data.encode() for line in expected)):
            found.append("other data than the log has")
        if self.begun != ["fresh"] + ["resumed"] * (len(self.begun) - 1):
            found.append(f"it began with {self.begun}")
        return found


class Connection(asyncio.Protocol):
    """One connection of a member: asks, reads chunks and events, and says when it is over."""

    def __init__(self, member: Member, request: bytes, over: Callable[[Member, float], None]) -> None:
        self._member, self._request, self._over = member, request, over
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._streaming = False
        self._raw = self._text = b""
        self._told_before = len(member.told)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._member.came.append(time.monotonic())
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._streaming:
            self._head += data
            head, blank, data = self._head.partition(b"\r\n\r\n")
            if not blank:
                return
            assert head.startswith(b"HTTP/1.1 200"), head
            self._streaming = True
            self._chunked = b"transfer-encoding: chunked" in head.lower()
        self._raw += data
        if self._chunked:
            self._unchunk()
        else:
            self._text, self._raw = self._text + self._raw, b""
        *blocks, self._text = self._text.split(b"\n\n")
        for block in blocks:
            # A heartbeat is a line without a blank one behind it.
            while block.startswith(b":\n"):
                block = block.removeprefix(b":\n")
            self._member.take(block)

    def _unchunk(self) -> None:
        while (end := self._raw.find(b"\r\n")) >= 0:
            size = int(self._raw[:end], 16)
            if not size and self._transport is not None:
                # The end of the response; the proxy keeps the connection for another request.
                self._transport.close()
            if len(self._raw) < end + 2 + size + 2:
                return
            self._text += self._raw[end + 2 : end + 2 + size]
            self._raw = self._raw[end + 2 + size + 2 :]

    def connection_lost(self, error: Exception | None) -> None:
        member, member.open = self._member, False
        if len(member.told) > self._told_before:
            self._over(member, member.told[-1].retry_ms / 1000)
        else:
            member.cuts += 1
            self._over(member, random.uniform(*_STUMBLE_SECONDS))

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
