"""⑨ uvicorn's protocol for a connection, with what it lacks: bounds on a request's head, and a way to hand the connection over."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import orjson
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from gateway.http.edge import Edge
from gateway.http.response import HAND_OVER

HEAD_SECONDS = 10.0
"""How long a request's head may take: silent and half-sent ones are gone after it."""
URL_BYTES = 16_384
HEAD_BYTES = 32_768
"""Room for a token in the header and one in a cookie besides."""
_FED_BYTES = 524_288
"""What may come before the head's end is seen; what is read in one go may have more behind it than a head."""
_WRONG = {400: "Bad request", 414: "URI too long", 431: "Request header fields too large"}


class HeadTooLarge(Exception):
    """Raised to the parser, which stops."""


class Heads:
    """Connections whose request is still to come: one timer for all, for all have the same time."""

    def __init__(self) -> None:
        self._waiting: dict[Protocol, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def wait_for(self, connection: "Protocol") -> None:
        """Ends a connection unless it is forgotten in time; the time is that since it was first waited for."""
        self._waiting.setdefault(connection, time.monotonic() + HEAD_SECONDS)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(HEAD_SECONDS, self._look)

    def forget(self, connection: "Protocol") -> None:
        self._waiting.pop(connection, None)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        for connection, deadline in list(self._waiting.items()):
            if deadline > now:
                self._timer = asyncio.get_running_loop().call_later(deadline - now, self._look)
                break
            del self._waiting[connection]
            connection.transport.abort()


class Protocol(HttpToolsProtocol):
    """uvicorn's, with bounds on a request's head, and an ASGI extension by which a response takes the connection over.

    Also: uvicorn tells each connection that the server shuts down; the first to hear it lets the application drain.
    """

    _heads: "Heads | None" = None
    _in_head = True
    _fed = 0
    """Bytes that have come since the head began."""
    _size = 0
    """Of the head, as far as it was parsed."""
    _wrong = 400
    """The status for a head that cannot be served."""
    _running: RequestResponseCycle | None = None
    """The request that is being answered; uvicorn's `cycle` is the one that was read last, which may wait behind it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._heads = self.app_state["heads"]
        self._heads.wait_for(self)

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._fed += len(data)
            if self._fed > _FED_BYTES:
                self._wrong = 431
                self.send_400_response("")
                return
            if self._heads is not None:
                # For the first byte of a request that comes on a connection that is kept.
                self._heads.wait_for(self)
        super().data_received(data)

    def send_400_response(self, msg: str) -> None:
        if self.transport.is_closing():
            return
        title = _WRONG[self._wrong]
        body = orjson.dumps({"type": "about:blank", "title": title, "status": self._wrong, "detail": msg or title})
        self.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%b" % (self._wrong, title.encode(), len(body), body)
        )
        self.transport.close()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._measure(len(url))
        if len(self.url) > URL_BYTES:
            self._refuse(414)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._measure(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self._heads is not None:
            self._heads.forget(self)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        # With another request waiting behind it the head has been read already.
        self._in_head, self._fed = not self.pipeline, 0
        super().on_response_complete()

    def _measure(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_BYTES:
            self._refuse(431)

    def _refuse(self, status: int) -> None:
        self._wrong = status
        # The parser stops, and uvicorn answers.
        raise HeadTooLarge

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._size = True, 0
        self.scope["extensions"] = {HAND_OVER: self.hand_over}  # type: ignore[dict-item]  # its values may be anything

    async def hand_over(self, start: Callable[[], Awaitable[None]]) -> Edge | None:
        """Lets `start` send the response's head, and returns the connection, which uvicorn then knows nothing more of.

        Returns None if that cannot be done and the response must be sent as usual: the head may be sent by then. A connection
        of HTTP/1.0 gets no chunks.
        """
        cycle = self._running
        if cycle is None or cycle.response_started:
            return None
        chunked = cycle.scope["http_version"] == "1.1"
        if not chunked:
            cycle.chunked_encoding = False
        # The head leaves together with the first event: a system call less, and a packet.
        cycle.transport = head = _Head()  # type: ignore[assignment]  # all that is called is `write`
        try:
            await start()
        finally:
            cycle.transport = self.transport
        if not cycle.response_started or cycle.disconnected:
            if head.data and not self.transport.is_closing():
                self.transport.write(head.data)
            return None
        # Nothing can come after a stream, so what a client asks for behind it is not answered.
        self.pipeline.clear()
        cycle.response_complete = True
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        self.connections.discard(self)
        self._forget_request()
        self._running = None
        if self._heads is not None:
            self._heads.forget(self)
        return Edge(self.transport, head.data, chunked, self.flow.write_paused, self.connections, self.app_state["drain"])

    def connection_lost(self, exc: Exception | None) -> None:
        if self._heads is not None:
            self._heads.forget(self)
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:
            # uvicorn tells only the request that was read last.
            self._running.disconnected = True
            self._running.message_event.set()
        self._forget_request()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _forget_request(self) -> None:
        """Lets go of what leads back here, so that nothing of a request waits for the garbage collector."""
        self.parser = None  # type: ignore[assignment]  # nothing is parsed any more
        for scope in (self.scope, self._running.scope if self._running else None):
            if scope is not None:
                scope.pop("extensions", None)

    def shutdown(self) -> None:
        super().shutdown()
        self.app_state["drain"]()


class _Head:
    """Stands for the transport while uvicorn writes a response's head."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data
