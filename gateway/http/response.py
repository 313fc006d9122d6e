"""⑨ The open response: sse-starlette sends what the hub has written.

- The heartbeat is the hub's, from the one writer: a ping of a second task overtakes unsent data.
- Frames are bytes already; nothing is encoded per connection.
"""

import random
from collections.abc import AsyncIterator

from sse_starlette import EventSourceResponse
from starlette.responses import Response

from gateway.fanout import frame
from gateway.fanout.frame import Cursor
from gateway.fanout.hub import Hub, Unavailable
from gateway.fanout.sink import BufferSink
from gateway.fanout.subscriber import Subscriber
from gateway.fanout.ticker import SLOW_SECONDS

MEDIA_TYPE = "text/event-stream; charset=utf-8"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Content-Type": MEDIA_TYPE}


class StreamResponse(EventSourceResponse):
    """Joins the hub when it is sent, leaves it when the connection ends."""

    def __init__(self, hub: Hub, subscriber: Subscriber, cursor: Cursor | None, fault: str | None) -> None:
        super().__init__(_frames(hub, subscriber, cursor, fault), headers=HEADERS, ping=0, sep="\n", send_timeout=SLOW_SECONDS)


async def _frames(hub: Hub, subscriber: Subscriber, cursor: Cursor | None, fault: str | None) -> AsyncIterator[bytes]:
    sink = subscriber.sink
    assert isinstance(sink, BufferSink)
    try:
        try:
            await hub.join(subscriber, cursor, fault)
        except Unavailable:
            hub.end(subscriber, "unavailable", retry_ms=random.randint(2000, 8000))
        while (data := await sink.take()) is not None:
            yield data
    finally:
        hub.leave(subscriber)


def refusal(reason: str, cursor: Cursor | None) -> Response:
    """Answers who cannot be served now in the one way after which every EventSource comes back, with the id that it came with."""
    retry_ms = random.randint(2000, 8000)
    return Response(frame.control("reconnect", cursor or NOWHERE, {"reason": reason, "retry": retry_ms}, retry_ms), headers=HEADERS)


def headers_only() -> Response:
    """Returns what HEAD gets: a stream's headers, and no length, for the stream has none."""
    response = Response(headers=HEADERS)
    del response.headers["content-length"]
    return response


NOWHERE = Cursor("none", 0)
"""An id that no epoch has: whoever comes back with it gets a `reset`."""
