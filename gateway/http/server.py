"""Serves the application with uvicorn: uvloop, httptools, and an ending that lets every stream say goodbye."""

import copy
import logging
import socket
from urllib.parse import parse_qsl, urlencode

import uvicorn
from sse_starlette.sse import AppStatus
from starlette.applications import Starlette
from uvicorn.supervisors import Multiprocess

from gateway.http.app import create
from gateway.settings import Settings, read

_SECRETS = frozenset({"ticket", "access_token", "token"})


class Server(uvicorn.Server):
    """Drains the hub before uvicorn waits for its connections."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for each in sockets or []:
            each.close()
        app = self.config.loaded_app
        while not isinstance(app, Starlette):
            app = app.app
        await app.state.hub.drain(app.state.settings.drain.total_seconds() * 0.8)
        await super().shutdown(sockets)


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


def application() -> Starlette:
    """Builds the application from the environment: what a worker process calls."""
    return create(read())


def serve(settings: Settings, workers: int = 1) -> None:
    """Serves until SIGTERM or SIGINT, then drains and returns. Raises OSError if the port is taken."""
    AppStatus.disable_automatic_graceful_drain()
    config = uvicorn.Config(
        application if workers > 1 else create(settings),
        factory=workers > 1,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        workers=workers,
        log_level=settings.log_level,
        log_config=_log_config(),
        access_log=True,
        date_header=True,
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=max(1, int(settings.drain.total_seconds())),
    )
    listening = config.bind_socket()
    if workers > 1:
        Multiprocess(config, target=Server(config).run, sockets=[listening]).run()
    else:
        Server(config).run(sockets=[listening])


def _log_config() -> dict[str, object]:
    config = copy.deepcopy(uvicorn.config.LOGGING_CONFIG)
    config["filters"] = {"redact": {"()": RedactQuery}}
    config["handlers"]["access"]["filters"] = ["redact"]
    return config
