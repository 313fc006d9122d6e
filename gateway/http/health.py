"""`/livez`, `/readyz`, `/metrics`: for those who run it."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from gateway.fanout.hub import Hub
from gateway.fanout.meter import Meter
from gateway.fanout.vitals import components_of, lag_of


async def livez(request: Request) -> Response:
    """The process answers."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Each component, and 503 while new streams cannot be served; a silent bridge is reported and does not take us out."""
    hub: Hub = request.app.state.hub
    components = components_of(hub)
    ready = components["redis"] == "up" and not hub.draining
    return JSONResponse({"status": "ready" if ready else "not ready", "components": components}, 200 if ready else 503)


async def metrics(request: Request) -> Response:
    """Prometheus text."""
    hub: Hub = request.app.state.hub
    meter: Meter = request.app.state.meter
    if (lag := lag_of(hub)) is not None:
        positions, seconds = lag
        meter.lag_positions.set(positions)
        meter.lag_seconds.set(seconds)
    meter.tasks.set(len(asyncio.all_tasks()))
    return Response(meter.render(), media_type="text/plain; version=0.0.4; charset=utf-8")
