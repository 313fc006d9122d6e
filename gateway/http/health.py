"""`/livez`, `/readyz`, `/metrics`: for those who run it."""

import time

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gateway.fanout.hub import Hub
from gateway.fanout.meter import Meter

_BRIDGE_SILENT_SECONDS = 5.0


async def livez(request: Request) -> Response:
    """The process answers."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Each component, and 503 while new streams cannot be served; a silent bridge is reported and does not take us out."""
    hub: Hub = request.app.state.hub
    silence = _silence(hub)
    redis_up = hub.tail.connected
    components = {
        "web": "draining" if hub.draining else "up",
        "redis": "up" if redis_up else "down",
        "bridge": "up" if silence is not None and silence < _BRIDGE_SILENT_SECONDS else "silent",
        "postgres": "down" if "postgres" in hub.components.down else "up",
    }
    ready = redis_up and not hub.draining
    return JSONResponse({"status": "ready" if ready else "not ready", "components": components}, 200 if ready else 503)


async def metrics(request: Request) -> Response:
    """Prometheus text."""
    hub: Hub = request.app.state.hub
    meter: Meter = request.app.state.meter
    silence = _silence(hub)
    if hub.last_beat is not None and silence is not None:
        meter.lag_positions.set(hub.last_beat.head - hub.last_beat.position)
        meter.lag_seconds.set(max(hub.last_beat.lag_seconds, silence - 1.0, 0.0))
    return Response(meter.render(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _silence(hub: Hub) -> float | None:
    return time.monotonic() - hub.last_beat_at if hub.last_beat is not None else None
