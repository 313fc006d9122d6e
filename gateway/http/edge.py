"""⑧ A connection after its hand-over: no task, no request, no parser, just a transport that the hub writes to.

- The response hands over once its head is sent, as uvicorn does itself for WebSockets; what a middleware has to say, it has said.
- The transport is the buffer: past its high-water mark the subscriber stops and reads the log again later.
- What a client sends after its request is dropped unread.
"""

import asyncio
from collections.abc import Callable

from gateway.fanout import frame
from gateway.fanout.frame import Cursor
from gateway.fanout.hub import Hub
from gateway.fanout.subscriber import Subscriber

HIGH_WATER_BYTES = 131_072
"""As the other sink: several times what the tail hands out before connections may send."""
_GOODBYE_SECONDS = 5.0
"""How long a connection that was closed may take to read its last bytes."""


class Edge(asyncio.Protocol):
    """An open stream: uvicorn's protocol for the connection, and the subscriber's sink.

    `head` is what is to be written before anything else; `connections` is uvicorn's set of open ones; `on_shutdown` is called
    when the server ends.
    """

    __slots__ = ("_connections", "_drained", "_head", "_hub", "_on_shutdown", "_subscriber", "_transport", "chunked", "full")

    def __init__(
        self,
        transport: asyncio.Transport,
        head: bytes,
        chunked: bool,
        full: bool,
        connections: set[object],
        on_shutdown: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._head = head
        self.chunked = chunked
        self.full = full
        self._connections = connections
        self._on_shutdown = on_shutdown
        self._drained: asyncio.Future[None] | None = None
        self._hub: Hub | None = None
        self._subscriber: Subscriber | None = None
        connections.add(self)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        transport.set_protocol(self)

    def serve(self, hub: Hub, subscriber: Subscriber, wanted: Cursor | None, fault: str | None) -> None:
        """Lets a subscriber of this connection enter the hub, and leave it when the connection ends."""
        self._hub, self._subscriber = hub, subscriber
        hub.enter(subscriber, wanted, fault)

    # As a sink

    def begin(self) -> None:
        if self._head:
            # A comment, for nginx keeps a head back from HTTP/2 until there is something behind it.
            self.write(frame.wrap(frame.HEARTBEAT, self.chunked))

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            if self._head:
                data, self._head = self._head + data, b""
            self._transport.write(data)

    def close(self) -> None:
        if self.full:
            # Whatever is said now would only wait behind what the reader does not take.
            self._transport.abort()
        elif not self._transport.is_closing():
            if self.chunked:
                self.write(b"0\r\n\r\n")
            self._transport.close()
            if self._transport.get_write_buffer_size():
                asyncio.get_running_loop().call_later(_GOODBYE_SECONDS, self._transport.abort)

    async def drained(self) -> None:
        while self.full:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    # As a protocol

    def pause_writing(self) -> None:
        self.full = True

    def resume_writing(self) -> None:
        self.full = False
        if self._drained is not None:
            if not self._drained.done():
                self._drained.set_result(None)
            self._drained = None

    def data_received(self, data: bytes) -> None:
        pass

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._hub is not None and self._subscriber is not None:
            self._hub.leave(self._subscriber)
        # It leads back here, and the garbage collector comes rarely.
        self._hub = self._subscriber = None

    def shutdown(self) -> None:
        """uvicorn tells each connection that the server ends."""
        self._on_shutdown()
