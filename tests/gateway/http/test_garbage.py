"""What serving a stream leaves behind in memory."""

import gc

from gateway.fanout.subscriber import Subscriber
from gateway.http.edge import Edge
from gateway.http.protocol import Protocol
from tests.gateway.fanout.manual import manual
from tests.support.gateway import until, web
from tests.support.servers import Servers

_STREAMS = 20


async def test_no_garbage(servers: Servers) -> None:
    """A stream leaves nothing to the garbage collector, which comes rarely: neither of its request when it is open, nor when it is over."""
    async with manual(servers) as bridge, web(servers, heartbeat="400ms") as gateway:
        await bridge.change()
        async with gateway.stream("bookings"):
            await until(lambda: gateway.hub.last_beat)
            gc.collect()
            gc.disable()
            # Of other tests too, whose failures somebody keeps.
            before = {kind: _left(kind) for kind in (Protocol, Subscriber, Edge)}
            try:
                streams = [await gateway.open("bookings") for _ in range(_STREAMS)]
                assert _left(Subscriber) == before[Subscriber] + _STREAMS
                assert _left(Protocol) <= before[Protocol] + 1
                for stream in streams:
                    await stream.close()
                # Until then the ticker may know them.
                await until(lambda: _left(Subscriber) == before[Subscriber])
                assert _left(Edge) == before[Edge]
            finally:
                gc.enable()


def _left(kind: type) -> int:
    return sum(type(each) is kind for each in gc.get_objects())
