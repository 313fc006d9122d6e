"""Serves the application with uvicorn: uvloop, httptools, and an ending that lets every stream say goodbye."""

import copy
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import parse_qsl, urlencode

import uvicorn
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors import Multiprocess

from gateway import garbage, log
from gateway.fanout.ticker import SLOW_SECONDS
from gateway.http.app import create
from gateway.http.edge import Edge
from gateway.http.response import HAND_OVER
from gateway.settings import Settings, SettingsError

_SEND_BUFFER_BYTES = 262_144
"""Linux takes twice as much, its own bookkeeping included. With 65,536 a reader of everything, 13 MB/s in bursts, passed for slow
and was sent to the log: 7,700 changes/s were sustained instead of 16,000."""
_WAITING_CONNECTIONS = 4096
"""What the kernel keeps for us, as Linux allows. uvloop accepts one in each turn of the loop, so in a storm the rest wait there, and
those who are live have their turn."""
_UNHEARD_SECONDS = SLOW_SECONDS + 15
"""How long the kernel waits for a client to take what was sent: longer than the hub, which counts the slow ones."""
_SECRETS = frozenset({"ticket", "access_token", "token"})


class Protocol(HttpToolsProtocol):
    """uvicorn's, with an ASGI extension by which a response takes the connection over.

    Also: uvicorn tells each connection that the server shuts down; the first to hear it lets the application drain.
    """

    _running: RequestResponseCycle | None = None
    """The request that is being answered; uvicorn's `cycle` is the one that was read last, which may wait behind it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
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
        return Edge(self.transport, head.data, chunked, self.flow.write_paused, self.connections, self.app_state["drain"])

    def connection_lost(self, exc: Exception | None) -> None:
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


class RedactQuery(logging.Filter):
    """Keeps secrets in query strings out of the access log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, version, status = record.args
            plain, mark, query = str(path).partition("?")
            if mark:
                pairs = [(key, "…" if key.lower() in _SECRETS else value) for key, value in parse_qsl(query, keep_blank_values=True)]
                record.args = (client, method, f"{plain}?{urlencode(pairs, safe='…')}", version, status)
        return True


def application(settings: Settings) -> Starlette:
    """Builds the application in the process that serves it, a worker or the only one."""
    # Streams end by our own drain, not by sse-starlette's.
    AppStatus.enable_automatic_graceful_drain = False
    log.configure(settings.log_level)
    app = create(settings)
    garbage.collect_rarely()
    return app


def serve(settings: Settings, workers: int = 1) -> None:
    """Serves until SIGTERM or SIGINT, then drains and returns. Raises SettingsError if it cannot listen."""
    # uvicorn raises SIGTERM again when it has shut down; without this the exit code would be the signal's.
    signal.signal(signal.SIGTERM, lambda *_: None)
    config = uvicorn.Config(
        partial(application, settings) if workers > 1 else application(settings),
        factory=workers > 1,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=Protocol,
        ws="none",
        backlog=_WAITING_CONNECTIONS,
        lifespan="on",
        workers=workers,
        log_level=settings.log_level,
        log_config=_log_config(),
        access_log=settings.log_level in ("debug", "info"),
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, round(settings.drain.total_seconds())),
    )
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=config.backlog)
    except OSError as error:
        raise SettingsError(f"cannot listen on HOST {settings.host}, PORT {settings.port}: {error.strerror}") from error
    _bound(listening)
    listening.set_inheritable(True)
    if workers > 1:
        Multiprocess(config, sockets=[listening]).run()
    else:
        uvicorn.Server(config).run(sockets=[listening])


def _bound(listening: socket.socket) -> None:
    """Bounds what the kernel keeps for a reader that does not read, and how long; connections inherit it from the socket that accepts."""
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(_UNHEARD_SECONDS * 1000))


def _log_config() -> dict[str, object]:
    config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    config["filters"] = {"redact": {"()": RedactQuery}}
    config["handlers"]["access"]["filters"] = ["redact"]
    return config
