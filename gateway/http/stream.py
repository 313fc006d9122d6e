"""⑨ `/streams/{names}`: who wants what since when.

- Refusals come first and cost nothing behind them: no Redis, no Postgres.
- An unknown id is never an error and never silence: it is a `reset`.
"""

import random
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auth.principal import Principal
from auth.token import TokenError, TokenMissing, Verifier
from gateway.fanout.frame import NOWHERE, Cursor
from gateway.fanout.hub import Hub, Unavailable
from gateway.fanout.look import Look, Looks
from gateway.fanout.sink import Sink
from gateway.fanout.subscriber import Subscriber
from gateway.http import error
from gateway.http.response import StreamResponse, headers_only, refusal
from streams.catalog import Catalog
from streams.filter import Filter, FilterError, parse
from streams.stream import EVERY_TABLE, FORMATS, Stream

_PARAMETERS = frozenset({"format", "snapshot", "lastEventId", "last_event_id"})
_MAX_STREAMS = 20


async def open_stream(request: Request) -> Response:
    """GET /streams/{names}: one connection with one stream or several."""
    principal = authenticate(request)
    streams = _wanted(request.app.state.catalog, request.path_params["names"], principal)
    format = _format(request)
    filters = _filters(request, streams)
    snapshots = _snapshot(request, streams)
    if request.method == "HEAD":
        return headers_only()
    if snapshots or any(stream.rls for stream in streams):
        # Only these keep their claims: verifying twice costs them less than keeping them would cost all others.
        principal = authenticate(request, keep_claims=True)
    hub: Hub = request.app.state.hub
    text = _last_event_id(request)
    if snapshots and text == str(NOWHERE):
        # Cut before its snapshot was whole.
        text = ""
    cursor = Cursor.parse(text)
    if hub.draining:
        return refusal("shutdown", cursor)
    if text == "earliest":
        try:
            cursor = await hub.earliest()
        except Unavailable:
            return refusal("unavailable", None)
    elif snapshots and cursor is None:
        try:
            await hub.earliest()
        except Unavailable as away:
            if "sec-fetch-mode" in request.headers:
                # A browser, and its EventSource would never come back.
                return refusal("unavailable", None)
            raise error.Unavailable("there are no snapshots while Postgres is away", {"Retry-After": str(random.randint(2, 8))}) from away
    # A name, no secret: nothing can be done with it alone.
    connection = f"{random.getrandbits(64):016x}"

    looks: Looks = request.app.state.looks

    def subscriber(sink: Sink) -> Subscriber:
        return Subscriber(
            connection, principal, [_look(looks, each, format, sink.chunked, filters, principal) for each in streams], sink, snapshots
        )

    return StreamResponse(hub, subscriber, cursor, "unknown-id" if text and cursor is None else None)


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


def _wanted(catalog: Catalog, path: str, principal: Principal) -> Sequence[Stream]:
    names = sorted(set(path.split(",")))
    if len(names) > _MAX_STREAMS:
        raise error.Malformed(f"{len(names)} streams on one connection are too many, {_MAX_STREAMS} are not")
    if unknown := [name for name in names if name not in catalog]:
        raise error.NotFound(f"there is no stream {unknown[0][:40]!r}")
    streams = [catalog[name] for name in names]
    if closed := [stream for stream in streams if not stream.open_to(principal)]:
        raise error.Forbidden(f"stream {closed[0].name} is for {' or '.join(sorted(closed[0].roles))}")
    return streams


def _format(request: Request) -> str:
    """Returns the format that is asked for, or nothing for each stream's own."""
    if not request.scope["query_string"] or "format" not in request.query_params:
        return ""
    format = request.query_params["format"]
    if format not in FORMATS:
        raise error.Malformed(f"unknown format {format[:40]!r}: {', '.join(sorted(FORMATS))}")
    return format


def _filters(request: Request, streams: Sequence[Stream]) -> Mapping[str, Filter]:
    """Returns what is asked for by `column=eq.…`, or `stream.column=eq.…`, by stream."""
    if not request.scope["query_string"]:
        return {}
    asked: dict[str, list[tuple[str, str]]] = {}
    names = {stream.name for stream in streams}
    for name, value in request.query_params.multi_items():
        if name in _PARAMETERS:
            continue
        stream, dot, column = name.partition(".")
        if not dot:
            stream, column = streams[0].name, name
            if len(streams) > 1:
                raise error.Malformed(f"unknown parameter {name[:40]!r}: with several streams write {streams[0].name}.{name[:40]}=eq.…")
        if stream not in names:
            raise error.Malformed(f"unknown parameter {name[:80]!r}: {stream[:40]!r} is none of the streams asked for")
        asked.setdefault(stream, []).append((column, value))
    try:
        return {stream.name: parse(asked[stream.name], stream.filters) for stream in streams if stream.name in asked}
    except FilterError as wrong:
        raise error.Malformed(str(wrong)) from wrong


def _snapshot(request: Request, streams: Sequence[Stream]) -> bool:
    value = request.query_params.get("snapshot", "0") if request.scope["query_string"] else "0"
    if value not in ("0", "1"):
        raise error.Malformed(f"snapshot is 1 or 0, and not {value[:40]!r}")
    if value == "1" and (every := [stream.name for stream in streams if stream.table == EVERY_TABLE]):
        raise error.Malformed(f"stream {every[0]} is of every table, and has no snapshot")
    return value == "1"


def _look(looks: Looks, stream: Stream, format: str, chunked: bool, filters: Mapping[str, Filter], principal: Principal) -> Look:
    filter, limit = filters.get(stream.name), stream.limit_of(principal)
    if limit is not None:
        filter = filter & limit if filter is not None else limit
    return looks.of(stream, format or stream.format, chunked, filter, strict=limit is not None)


def _last_event_id(request: Request) -> str:
    """Returns what the client came with: the header wins, an empty one is none."""
    if (header := request.headers.get("last-event-id")) or not request.scope["query_string"]:
        return header or ""
    return request.query_params.get("lastEventId") or request.query_params.get("last_event_id") or ""
