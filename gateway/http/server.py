"""Serves the application with uvicorn: uvloop, httptools, and an ending that lets every stream say goodbye."""

import copy
import logging
import signal
import socket
from functools import partial
from urllib.parse import parse_qsl, urlencode

import uvicorn
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from gateway import log
from gateway.http.app import create
from gateway.settings import Settings, SettingsError

_SECRETS = frozenset({"ticket", "access_token", "token"})


class Protocol(HttpToolsProtocol):
    """uvicorn tells each connection that the server shuts down; the first to hear it lets the application drain."""

    def shutdown(self) -> None:
        super().shutdown()
        self.app_state["drain"]()


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
    return create(settings)


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
        lifespan="on",
        workers=workers,
        log_level=settings.log_level,
        log_config=_log_config(),
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, round(settings.drain.total_seconds())),
    )
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=config.backlog)
    except OSError as error:
        raise SettingsError(f"cannot listen on HOST {settings.host}, PORT {settings.port}: {error.strerror}") from error
    listening.set_inheritable(True)
    if workers > 1:
        Multiprocess(config, sockets=[listening]).run()
    else:
        uvicorn.Server(config).run(sockets=[listening])


def _log_config() -> dict[str, object]:
    config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    config["filters"] = {"redact": {"()": RedactQuery}}
    config["handlers"]["access"]["filters"] = ["redact"]
    return config
