"""⑨ The open response: it hands its connection to the hub, or, where the server cannot do that, sends what the hub has written.

- The heartbeat is the hub's, from the one writer: a ping of a second task overtakes unsent data.
- Frames are bytes already; nothing is encoded per connection.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Protocol

from sse_starlette import EventSourceResponse
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from gateway.fanout import frame
from gateway.fanout.admission import Place
from gateway.fanout.frame import Cursor
from gateway.fanout.hub import Hub
from gateway.fanout.sink import BufferSink, Sink
from gateway.fanout.subscriber import Subscriber
from gateway.fanout.ticker import SLOW_SECONDS

MEDIA_TYPE = "text/event-stream; charset=utf-8"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Type": MEDIA_TYPE}
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
HAND_OVER = "rowcast.hand_over"
"""The ASGI extension that a server of ours offers in a request's scope."""


class Edge(Sink, Protocol):
    """A connection that was handed over."""

    def serve(self, hub: Hub, subscriber: Subscriber, wanted: Cursor | None, fault: str | None) -> None: ...


HandOver = Callable[[Callable[[], Awaitable[None]]], Awaitable[Edge | None]]


class StreamResponse(Response):
    """Lets a subscriber enter the hub when its head is sent; it leaves when the connection ends.

    Where the server offers it, the connection itself becomes the subscriber's sink, and the ASGI call is over. Elsewhere
    sse-starlette sends what the hub has written. `make` returns the subscriber for a sink.
    """

    def __init__(
        self, hub: Hub, make: Callable[[Sink], Subscriber], cursor: Cursor | None, fault: str | None, place: Place | None = None
    ) -> None:
        self._hub, self._make, self._cursor, self._fault, self._place = hub, make, cursor, fault, place
        super().__init__()
        # As Starlette would write them, once.
        self.raw_headers = list(_RAW_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._respond(scope, receive, send)
        except BaseException:
            # Perhaps it has never entered; who has, has given it up already, or does so when the connection ends.
            if self._place is not None:
                self._place.give_up()
            raise

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        hand_over: HandOver | None = (scope.get("extensions") or {}).get(HAND_OVER)
        if hand_over is None:
            await self._send(scope, receive, send)
            return
        head = _Head(send)
        # Without `Connection: close`, though it is: with it Node's fetch takes a stream that was cut for one that has ended.
        edge = await hand_over(partial(head.send, {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}))
        if edge is None:
            await self._send(scope, receive, head.send)
            return
        edge.serve(self._hub, self._make(edge), self._cursor, self._fault)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        sink = BufferSink()
        subscriber = self._make(sink)

        async def patiently(message: Message) -> None:
            try:
                async with asyncio.timeout(SLOW_SECONDS):
                    await send(message)
            except TimeoutError:
                self._hub.end(subscriber, "slow")
                raise

        response = EventSourceResponse(self._frames(sink, subscriber), headers=self.headers, ping=0, sep="\n")
        try:
            await response(scope, receive, patiently)
        except* TimeoutError:
            # Nothing more can be said; that the response is not complete makes the server close the connection.
            pass
        finally:
            if self._place is not None:
                self._place.give_up()

    async def _frames(self, sink: BufferSink, subscriber: Subscriber) -> AsyncIterator[bytes]:
        self._hub.enter(subscriber, self._cursor, self._fault)
        try:
            while (data := await sink.take()) is not None:
                yield data
        finally:
            self._hub.leave(subscriber)


class _Head:
    """Sends a response's head once, who ever sends it again."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._sent = False

    async def send(self, message: Message) -> None:
        if message["type"] != "http.response.start" or not self._sent:
            self._sent = True
            await self._send(message)


def refusal(reason: str, cursor: Cursor | None, retry_ms: int = 0) -> Response:
    """Answers who cannot be served now in the one way after which every EventSource comes back, with the id that it came with."""
    retry_ms = retry_ms or random.randint(2000, 8000)
    return Response(frame.control("reconnect", cursor or frame.NOWHERE, {"reason": reason, "retry": retry_ms}, retry_ms), headers=HEADERS)


def headers_only() -> Response:
    """Returns what HEAD gets: a stream's headers, and no length, for the stream has none."""
    response = Response(headers=HEADERS)
    del response.headers["content-length"]
    return response
