"""⑨ `/openapi.json`: what can be asked here and what is answered, for machines (OpenAPI 3.1).

- The same for everybody, and nothing secret in it: no stream of this gateway is named, for `GET /streams` tells each caller of theirs.
- `/console` is for people, and not in it.
- An event is a line of text to OpenAPI: `x-events` names the schema of its data, by the event's name, and by the format of its stream.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from auth.ticket import TICKET_SECONDS
from gateway.http.credentials import SESSION
from gateway.http.event_schema import CHANGES, CONTROL, EVENTS
from gateway.http.schema import ANSWERS, TEXT, WORDS, ref
from streams.stream import FORMATS

PATH = "/openapi.json"
_HEADERS = {"Cache-Control": "public, max-age=300"}

Part = Mapping[str, Any]

_PROBLEMS = {
    400: ("Malformed", "Something is not understood; `detail` names it."),
    401: ("Unauthenticated", "There is no token, or it is not valid."),
    403: ("Forbidden", "The token is valid, and does not allow this."),
    404: ("NotFound", "There is no such thing."),
    413: ("TooLarge", "The body is too large."),
    429: ("TooMany", "Too many open streams, or too many requests."),
    503: ("Unavailable", "It would work at another time."),
}


async def document(request: Request) -> Response:
    """GET /openapi.json."""
    return Response(_written(), headers=_HEADERS, media_type="application/json")


@cache
def _written() -> bytes:
    return orjson.dumps(DOCUMENT)


# Parts


def _parameter(name: str, where: str, schema: Part, description: str, **more: Any) -> Part:
    return {"name": name, "in": where, "description": description, "schema": schema, **more}


def _problem(status: int) -> Part:
    """Returns the answer that says what is wrong."""
    headers: dict[str, Part] = {}
    if status == 401:
        headers["WWW-Authenticate"] = {"description": "A challenge (RFC 6750).", "required": True, "schema": TEXT}
    if status in (429, 503):
        headers["Retry-After"] = {"description": "In seconds.", "required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}
    said: dict[str, Any] = {"description": _PROBLEMS[status][1], "content": {"application/problem+json": {"schema": ref("Problem")}}}
    return said | ({"headers": headers} if headers else {})


def _answers(good: Mapping[int, Part], *problems: int) -> Part:
    return {
        **{str(status): answer for status, answer in good.items()},
        **{str(status): {"$ref": f"#/components/responses/{_PROBLEMS[status][0]}"} for status in problems},
    }


def _json(description: str, schema: str) -> Part:
    return {"description": description, "content": {"application/json": {"schema": ref(schema)}}}


def _text(description: str, kind: str) -> Part:
    return {"description": description, "content": {kind: {"schema": TEXT}}}


def _operation(name: str, summary: str, answers: Part, *, by: tuple[str, ...] = (), **more: Any) -> Part:
    return {"operationId": name, "summary": summary, "responses": answers, "security": [{each: []} for each in by], **more}


_BEARER, _ANY = ("bearer",), ("bearer", "cookie", "ticket")
_DONE: Part = {"description": "Done."}
_CONNECTION = _parameter("connection", "path", ref("Connection"), "What the stream's `ready` says.", required=True)
_SINCE: Part = {"type": "string"}

_STREAM: Part = {
    "description": "An open stream. Each event has `id`, `event`, and `data`, one line of JSON; `:` alone is a heartbeat.",
    "headers": {"Cache-Control": {"required": True, "schema": {"const": "no-store"}}},
    "content": {
        "text/event-stream": {
            "schema": TEXT,
            "x-events": {
                **{event: ref(schema) for event, schema in CONTROL.items()},
                "*": {format: ref(schema) for format, schema in CHANGES.items()},
            },
        }
    },
}

_OPEN: Part = {
    "tags": ["streams"],
    "parameters": [
        _parameter(
            "names",
            "path",
            {"type": "array", "items": ref("StreamName"), "minItems": 1, "maxItems": 20},
            "One stream or several, as `GET /streams` names them.",
            required=True,
            style="simple",
        ),
        _parameter(
            "filters",
            "query",
            {"type": "object", "additionalProperties": TEXT},
            "Conditions in PostgREST's syntax, all must hold: `status=eq.confirmed`; on several streams `stream.status=eq.confirmed`.",
            style="form",
            explode=True,
        ),
        _parameter("format", "query", {"enum": sorted(FORMATS)}, "For all streams of the connection; without it each has its own."),
        _parameter("snapshot", "query", {"enum": ["0", "1"], "default": "0"}, "`1`: the rows of now before what comes."),
        _parameter("lastEventId", "query", _SINCE, "For clients that cannot send the header, which wins; `last_event_id` is read too."),
        _parameter(
            "Last-Event-ID", "header", _SINCE, "The last id that the client got, or `earliest`. What is no id of ours is a `reset`."
        ),
    ],
}

_STREAMS = {
    "/streams": {
        "get": _operation(
            "listStreams",
            "What the caller may open.",
            _answers({200: _json("The caller's streams.", "Streams")}, 400, 401, 403, 429, 503),
            by=_ANY,
            tags=["streams"],
        )
    },
    "/streams/{names}": {
        "get": _operation(
            "openStreams",
            "One connection with one stream or several, as Server-Sent Events.",
            _answers({200: _STREAM}, 400, 401, 403, 404, 429, 503),
            by=_ANY,
            **_OPEN,
        )
    },
    "/streams/connections/{connection}/token": {
        "post": _operation(
            "renewToken",
            "A newer token for an open stream: the one that the request has as Bearer.",
            _answers({204: _DONE}, 400, 401, 403, 404, 429, 503),
            by=_BEARER,
            tags=["streams"],
            parameters=[_CONNECTION],
        )
    },
}

_AUTH = {
    "/auth/session": {
        "post": _operation(
            "openSession",
            "Keeps the Bearer token in a cookie, for a browser's EventSource.",
            _answers({204: _DONE}, 400, 401, 403, 429, 503),
            by=_BEARER,
            tags=["auth"],
        ),
        "delete": _operation("closeSession", "Takes the cookie away.", _answers({204: _DONE}, 400, 403), tags=["auth"]),
    },
    "/auth/ticket": {
        "post": _operation(
            "issueTicket",
            f"A ticket for one request within {TICKET_SECONDS} seconds, for an EventSource of the same origin.",
            _answers({200: _json("The ticket.", "Ticket")}, 400, 401, 429, 503),
            by=_BEARER,
            tags=["auth"],
        )
    },
}

_ADMIN = {
    "/admin/connections": {
        "get": _operation(
            "listConnections",
            "The open streams of all web processes.",
            _answers({200: _json("The oldest first, at most 1,000.", "Connections")}, 400, 401, 403, 429, 503),
            by=_BEARER,
            tags=["admin"],
            parameters=[_parameter("sub", "query", {"type": "string", "minLength": 1}, "Those of one user.")],
        )
    },
    "/admin/connections/{connection}": {
        "delete": _operation(
            "endConnection",
            "Ends an open stream, whose client comes back.",
            _answers({204: _DONE}, 400, 401, 403, 404, 429, 503),
            by=_BEARER,
            tags=["admin"],
            parameters=[_CONNECTION],
        )
    },
    "/admin/explain": {
        "get": _operation(
            "explain",
            "Why did, or did not, a user get an event?",
            _answers({200: _json("The checks up to the first that does not hold.", "Verdict")}, 400, 401, 403, 404, 429, 503),
            by=_BEARER,
            tags=["admin"],
            parameters=[
                _parameter("sub", "query", {"type": "string", "minLength": 1}, "The user.", required=True),
                _parameter("stream", "query", {"type": "string", "minLength": 1}, "The stream.", required=True),
                _parameter("id", "query", {"type": "string", "minLength": 1}, "The event's id.", required=True),
                _parameter("role", "query", TEXT, "The roles that the user is to have, with commas between; all if there is none."),
                _parameter("provider_id", "query", {"type": "string", "minLength": 1}, "Where it is not `sub`."),
                _parameter("filter", "query", {"type": "array", "items": TEXT}, "The filter of their stream: `status=eq.confirmed`."),
            ],
        )
    },
    "/admin/state": {
        "get": _operation(
            "tellState",
            "Bridge, outbox, Redis, Postgres, and how many streams are open.",
            _answers({200: _json("What cannot be known now is null.", "State")}, 400, 401, 403, 429, 503),
            by=_BEARER,
            tags=["admin"],
        )
    },
    "/admin/revocations": {
        "post": _operation(
            "revoke",
            "Ends a user's tokens, or one, and the streams that were opened with them.",
            _answers({204: _DONE}, 400, 401, 403, 413, 429, 503),
            by=_BEARER,
            tags=["admin"],
            requestBody={"required": True, "content": {"application/json": {"schema": ref("Revocation")}}},
        )
    },
}

_OPERATIONS = {
    "/livez": {"get": _operation("livez", "The process answers.", _answers({200: _text("It does.", "text/plain")}), tags=["operations"])},
    "/readyz": {
        "get": _operation(
            "readyz",
            "Whether streams can be opened.",
            _answers({200: _json("They can.", "Readiness"), 503: _json("They cannot.", "Readiness")}),
            tags=["operations"],
        )
    },
    "/metrics": {
        "get": _operation("metrics", "For Prometheus.", _answers({200: _text("Its text format.", "text/plain")}), tags=["operations"])
    },
    PATH: {
        "get": _operation(
            "openapi",
            "This document.",
            _answers({200: {"description": "OpenAPI 3.1.", "content": {"application/json": {"schema": {"type": "object"}}}}}),
            tags=["operations"],
        )
    },
}

DOCUMENT: Part = {
    "openapi": "3.1.1",
    "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
    "info": {
        "title": "Rowcast",
        "version": "1",
        "summary": "Changes of Postgres rows as Server-Sent Events.",
        "description": "What is read with GET answers HEAD too. An address that is too long is a 414, a head a 431, another method a 405, "
        "each as problem+json.",
    },
    "servers": [{"url": "/"}],
    "tags": [{"name": name} for name in ("streams", "auth", "admin", "operations")],
    "paths": _STREAMS | _AUTH | _ADMIN | _OPERATIONS,
    "components": {
        "schemas": {**WORDS, **EVENTS, **ANSWERS},
        "responses": {name: _problem(status) for status, (name, _) in _PROBLEMS.items()},
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            "cookie": {
                "type": "apiKey",
                "in": "cookie",
                "name": SESSION,
                "description": "From `POST /auth/session`; the origin is checked.",
            },
            "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "From `POST /auth/ticket`; good for one request."},
        },
    },
}
