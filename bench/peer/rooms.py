"""A Socket.IO server as one writes it with python-socketio: a room for each channel, and a route that emits."""

import sys
from typing import Any
from urllib.parse import parse_qs

import orjson
import socketio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.garbage import collect_rarely

_PING_SECONDS = 600
"""Longer than a run."""

server = socketio.AsyncServer(
    async_mode="asgi",
    transports=["websocket"],
    ping_interval=_PING_SECONDS,
    ping_timeout=_PING_SECONDS,
    logger=False,
    engineio_logger=False,
)


async def _connect(client: str, environ: dict[str, Any]) -> None:
    await server.enter_room(client, parse_qs(environ["QUERY_STRING"])["channel"][0])


async def _publish(request: Request) -> Response:
    await server.emit("bench", orjson.loads(await request.body()), room=request.path_params["channel"])
    return Response(status_code=204)


server.on("connect", _connect)
app = socketio.ASGIApp(server, Starlette(routes=[Route("/publish/{channel}", _publish, methods=["POST"])]))

if __name__ == "__main__":
    collect_rarely()
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        backlog=4096,
        timeout_graceful_shutdown=1,
        log_level="warning",
        access_log=False,
    )
