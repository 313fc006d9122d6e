"""Serves the application with uvicorn: uvloop, httptools, and an ending that lets every stream say goodbye."""

import copy
import logging
import re
import signal
import socket
from functools import partial
from urllib.parse import parse_qsl, urlencode

import uvicorn
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from gateway import garbage, log
from gateway.fanout.ticker import SLOW_SECONDS
from gateway.http.app import create
from gateway.http.protocol import Protocol
from gateway.settings import Settings, SettingsError

_SEND_BUFFER_BYTES = 262_144
"""Linux takes twice as much, its own bookkeeping included. With 65,536 a reader of everything, 13 MB/s in bursts, passed for slow
and was sent to the log: 7,700 changes/s were sustained instead of 16,000."""
_WAITING_CONNECTIONS = 4096
"""What the kernel keeps for us, as Linux allows. uvloop accepts one in each turn of the loop, so in a storm the rest wait there, and
those who are live have their turn."""
_UNHEARD_SECONDS = SLOW_SECONDS + 15
"""How long the kernel waits for a client to take what was sent: longer than the hub, which counts the slow ones."""
_WORKER_SECONDS = 30
"""How long a worker may take to start, and to answer: uvicorn's five seconds ended each of them for ever where a machine was busy."""
_SECRET = re.compile("auth|cookie|jwt|key|pass|secret|session|ticket|token", re.IGNORECASE)
_LONG = 40
"""A ticket has 43 characters."""


class RedactQuery(logging.Filter):
    """Keeps secrets in query strings out of the access log: whatever is called like one, or is longer than what is asked for."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple) and len(record.args) == 5:
            client, method, path, version, status = record.args
            plain, mark, query = str(path).partition("?")
            if mark:
                pairs = [_redacted(key, value) for key, value in parse_qsl(query, keep_blank_values=True)]
                record.args = (client, method, f"{plain}?{urlencode(pairs, safe='…')}", version, status)
        return True


def _redacted(key: str, value: str) -> tuple[str, str]:
    if len(key) > _LONG:
        return "…", "…"
    return key, "…" if len(value) > _LONG or _SECRET.search(key) else value


def application(settings: Settings) -> Starlette:
    """Builds the application in the process that serves it, a worker or the only one."""
    # Streams end by our own drain, not by sse-starlette's.
    AppStatus.enable_automatic_graceful_drain = False
    log.configure(settings.log_level, once=True)
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
        # Else whoever connects from this machine could say that they are somebody else.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_worker_healthcheck=_WORKER_SECONDS,
        timeout_keep_alive=round(settings.keep_alive.total_seconds()),
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
        _Workers(config, sockets=[listening]).run()
    else:
        uvicorn.Server(config).run(sockets=[listening])


class _Workers(Multiprocess):
    """uvicorn's, whose parent keeps the port open until its last worker has drained: who comes meanwhile would wait for nothing."""

    def terminate_all(self) -> None:
        # A proxy that is refused asks the next gateway.
        for listening in self.sockets:
            listening.close()
        super().terminate_all()


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
