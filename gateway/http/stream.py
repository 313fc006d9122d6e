"""⑨ `/streams/{names}`: who wants what since when.

- Refusals come first and cost nothing behind them: no Redis, no Postgres.
- An unknown id is never an error and never silence: it is a `reset`.
"""

import random

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auth.principal import Principal
from auth.token import TokenError, TokenMissing, Verifier
from gateway.fanout.frame import Cursor
from gateway.fanout.hub import Hub, Unavailable
from gateway.fanout.look import Looks
from gateway.fanout.sink import Sink
from gateway.fanout.subscriber import Subscriber
from gateway.http import error
from gateway.http.query import Query
from gateway.http.response import StreamResponse, headers_only, refusal
from streams.catalog import Catalog


async def open_stream(request: Request) -> Response:
    """GET /streams/{names}: one connection with one stream or several."""
    principal = authenticate(request)
    query = Query.read(request, principal)
    if request.method == "HEAD":
        return headers_only()
    if query.asks_postgres:
        # Only these keep their claims: verifying twice costs them less than keeping them would cost all others.
        principal = authenticate(request, keep_claims=True)
    hub: Hub = request.app.state.hub
    looks: Looks = request.app.state.looks
    cursor = Cursor.parse(query.since)
    if hub.draining:
        return refusal("shutdown", cursor)
    try:
        if query.since == "earliest":
            cursor = await hub.earliest()
        elif query.snapshots and cursor is None:
            await hub.earliest()
    except Unavailable as away:
        if query.snapshots and "sec-fetch-mode" not in request.headers:
            # No browser, whose EventSource would never come back.
            raise error.Unavailable("there are no snapshots while Postgres is away", {"Retry-After": str(random.randint(2, 8))}) from away
        return refusal("unavailable", None)
    # A name, no secret: nothing can be done with it alone.
    connection = f"{random.getrandbits(64):016x}"

    def subscriber(sink: Sink) -> Subscriber:
        return Subscriber(connection, principal, query.looks(looks, principal, sink.chunked), sink, query.snapshots)

    return StreamResponse(hub, subscriber, cursor, "unknown-id" if query.since and cursor is None else None)


async def list_streams(request: Request) -> Response:
    """GET /streams: what the caller may open."""
    principal = authenticate(request)
    catalog: Catalog = request.app.state.catalog
    listed = [
        {
            "name": stream.name,
            "url": f"/streams/{stream.name}",
            "table": stream.table,
            "columns": stream.columns,
            "events": list(dict.fromkeys(stream.event(operation) for operation in ("INSERT", "UPDATE", "DELETE"))),
            "format": stream.format,
            "filters": dict(stream.filters),
        }
        for stream in catalog.values()
        if stream.open_to(principal)
    ]
    return JSONResponse({"streams": listed}, headers={"Cache-Control": "no-store"})


def authenticate(request: Request, keep_claims: bool = False) -> Principal:
    """Returns whom the Bearer token speaks for. Raises Unauthenticated or InvalidToken."""
    verifier: Verifier = request.app.state.verifier
    try:
        return verifier.verify(_bearer(request), keep_claims)
    except TokenMissing as missing:
        raise error.Unauthenticated("send a token as `Authorization: Bearer …`") from missing
    except TokenError as invalid:
        raise error.InvalidToken(str(invalid) or str(type(invalid).__doc__)) from invalid


def _bearer(request: Request) -> str:
    values = request.headers.getlist("authorization")
    if not values:
        raise TokenMissing
    if len(values) > 1:
        raise error.InvalidRequest("there are several Authorization headers")
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer":
        raise TokenMissing
    if not token.strip():
        raise TokenError("there is no token behind `Bearer`")
    return token.strip()
