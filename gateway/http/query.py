"""⑨ What a request for streams asks for: which, in what format, through which filters, with their rows or not, since when.

- Whatever is not understood is a 400 that names it, before anything behind it is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request

from auth.principal import Principal
from gateway.fanout.frame import NOWHERE
from gateway.fanout.look import Look, Looks
from gateway.http import error
from streams.catalog import Catalog
from streams.filter import Filter, FilterError, parse
from streams.stream import EVERY_TABLE, FORMATS, Stream

_PARAMETERS = frozenset({"format", "snapshot", "lastEventId", "last_event_id", "ticket"})
_MAX_STREAMS = 20


@dataclass(frozen=True)
class Query:
    """A request that is understood. `format` is empty for each stream's own; `filters` are by stream; `since` is the id as it came."""

    streams: Sequence[Stream]
    format: str
    filters: Mapping[str, Filter]
    snapshots: bool
    since: str

    @staticmethod
    def read(request: Request, principal: Principal) -> "Query":
        """Reads a request. Raises Malformed, NotFound, or Forbidden."""
        streams = _wanted(request.app.state.catalog, request.path_params["names"], principal)
        snapshots = _snapshot(request, streams)
        since = last_event_id(request)
        if snapshots and since == str(NOWHERE):
            # Cut before its snapshot was whole.
            since = ""
        return Query(streams, _format(request), _filters(request, streams), snapshots, since)

    @property
    def asks_postgres(self) -> bool:
        """Whether row-level security is to be asked, for which the token's claims are needed."""
        return self.snapshots or any(stream.rls for stream in self.streams)

    def looks(self, looks: Looks, principal: Principal, chunked: bool) -> list[Look]:
        """Returns how somebody sees the streams: through their filters, and no more than they may."""
        return [self._look(looks, stream, principal, chunked) for stream in self.streams]

    def _look(self, looks: Looks, stream: Stream, principal: Principal, chunked: bool) -> Look:
        filter, limit = self.filters.get(stream.name), stream.limit_of(principal)
        if limit is not None:
            filter = filter & limit if filter is not None else limit
        return looks.of(stream, self.format or stream.format, chunked, filter, strict=limit is not None)


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
        if name in _PARAMETERS or (name == "access_token" and request.app.state.settings.query_tokens):
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


def last_event_id(request: Request) -> str:
    """Returns what the client came with: the header wins, an empty one is none."""
    if (header := request.headers.get("last-event-id")) or not request.scope["query_string"]:
        return header or ""
    return request.query_params.get("lastEventId") or request.query_params.get("last_event_id") or ""
