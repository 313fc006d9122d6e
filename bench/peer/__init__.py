"""A server that is measured beside the others: how its clients ask, and how events are given to it.

- Clients are numbered. `ALL` is the channel that everybody hears; a client that asks for its own hears one of its number instead.
- An event carries the time at which it was published: `{"at":…,"padding":"…"}`.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from bench.stack import Stack

ALL = -1
PADDING = 120
"""Makes an event of about 200 bytes."""

Request = Callable[[int, bool], str]
"""Returns what a client sends: its number, and whether it wants its own channel."""
Publish = Callable[[Sequence[int]], Awaitable[None]]
"""Publishes one event to each of these channels, a client's number or ALL, all at once; returns when they are accepted."""


@dataclass(frozen=True)
class Server:
    """A running server. `pids` are its processes, those that they have started included where it is measured.

    A client sends its request; once `hello` has come it sends `reply`, and it listens once `ready` has come.
    """

    name: str
    pids: Sequence[int]
    port: int
    request: Request
    ready: str
    publish: Publish
    hello: str = ""
    reply: bytes = b""


Start = Callable[[Stack], AbstractAsyncContextManager[Server]]
"""Starts a server on a core of its own, and ends it."""


@dataclass(frozen=True)
class Peer:
    """What can be measured. `missing` says what is not installed here, or is None."""

    name: str
    start: Start
    missing: Callable[[], str | None]
    without: str = ""
    """What it does not do that Rowcast does."""
    burst: int = 100
    """Events at once in a burst: fewer where so many would take minutes."""


def event() -> bytes:
    """Returns an event of now, about 200 bytes with what each server puts around it."""
    return b'{"at":%.6f,"padding":"%b"}' % (time.monotonic(), b"x" * PADDING)


def get(path: str, **headers: str) -> str:
    """Returns a request for an event stream."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Accept: text/event-stream", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join(lines) + "\r\n\r\n"
