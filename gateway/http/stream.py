"""⑨ `/streams/{names}`: who wants what since when.

- Refusals come first and cost nothing behind them: no Redis, no Postgres.
- An unknown id is never an error and never silence: it is a `reset`.
"""

import asyncio
import random
import time

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from gateway.fanout.admission import Place
from gateway.fanout.frame import Cursor
from gateway.fanout.hub import Hub, Unavailable
from gateway.fanout.look import Looks
from gateway.fanout.sink import Sink
from gateway.fanout.subscriber import Subscriber
from gateway.http import error
from gateway.http.credentials import Caller, identify
from gateway.http.gate import Gate, told_to_come_back
from gateway.http.query import Query, last_event_id
from gateway.http.response import StreamResponse, headers_only, refusal
from streams.catalog import Catalog

log = structlog.get_logger()


class OpenStream:
    """GET /streams/{names} as an ASGI application: Starlette's wrapper of functions would catch errors a second time, for 25 µs."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            answer = await _open_stream(request)
        except asyncio.CancelledError:
            hub: Hub = request.app.state.hub
            if not hub.draining:
                raise
            # Nobody has answered us for as long as the server may drain. After an error an EventSource would never come back.
            answer = refusal("shutdown", Cursor.parse(last_event_id(request)))
        await answer(scope, receive, send)


async def _open_stream(request: Request) -> Response:
    """Answers with one connection of one stream or several."""
    gate: Gate = request.app.state.gate
    caller = None
    try:
        await gate.attempt(request)
        caller = await identify(request)
        if caller.principal.expires_at <= time.time():
            # Verifying is lenient with clocks; a stream would end at once, and again, until that is over.
            raise error.InvalidToken("the token has expired")
        query = Query.read(request, caller.principal)
        if request.method == "HEAD":
            return _with_cookie(headers_only(), caller)
        if query.asks_postgres and not caller.principal.claims:
            # Only these keep their claims: verifying twice costs them less than keeping them would cost all others.
            caller = await identify(request, keep_claims=True)
        place = await gate.enter(request, caller.principal)
    except (error.TooMany, error.Unavailable) as problem:
        if (answer := told_to_come_back(request, problem)) is None:
            raise
        # A ticket may be spent already: it comes back with the pass.
        return _with_cookie(answer, caller)
    try:
        answer = await _answer(request, caller, query, place)
    except BaseException:
        if place is not None:
            place.give_up()
        raise
    if place is not None and not isinstance(answer, StreamResponse):
        place.give_up()
    return _with_cookie(answer, caller)


def _with_cookie(answer: Response, caller: Caller | None) -> Response:
    if caller is not None and caller.cookie:
        answer.headers.append("Set-Cookie", caller.cookie)
    return answer


async def _answer(request: Request, caller: Caller, query: Query, place: Place | None) -> Response:
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
    # A name, no secret: nothing can be done with it but by the same user.
    connection = f"{random.getrandbits(64):016x}"
    address = error.address_of(request)
    log.info(
        "stream opened",
        connection=connection,
        subject=caller.principal.subject,
        streams=[stream.name for stream in query.streams],
        carrier=caller.carrier,
        address=address,
    )

    def subscriber(sink: Sink) -> Subscriber:
        made = Subscriber(connection, caller.principal, query.looks(looks, caller.principal, sink.chunked), sink, query.snapshots)
        made.place, made.address = place, address
        return made

    return StreamResponse(hub, subscriber, cursor, "unknown-id" if query.since and cursor is None else None, place)


async def list_streams(request: Request) -> Response:
    """GET /streams: what the caller may open."""
    gate: Gate = request.app.state.gate
    await gate.attempt(request)
    principal = (await identify(request)).principal
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
