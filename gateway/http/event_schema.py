"""⑨ What the events look like: JSON Schema 2020-12 of their data, by name, for `/openapi.json`.

- What is a closed list in the code is taken from there.
- A row's columns are the streams' matter, so nothing is said of them: `GET /streams` names them to those who may know.
"""

from collections.abc import Mapping

from gateway.fanout.meter import CLOSING, ENDINGS
from gateway.http.schema import BOOLEAN, COUNT, NAMES, NULL, TEXT, UP, Schema, list_of, object_of, or_null, ref
from streams.stream import COMPONENTS

_ROW: Schema = {"type": "object"}
_FLAG: Schema = {"const": True}
_VERSION: Schema = {"const": 1}
_OPERATION: Schema = {"enum": ["INSERT", "UPDATE", "DELETE"]}
_FLAGS = {"left": _FLAG, "truncated": _FLAG}
_TABLE = {"schema": TEXT, "table": TEXT}
_COMPONENT = {"component": {"enum": list(COMPONENTS)}, "status": UP, "since": ref("Moment")}
_CHANGE = {"version": _VERSION, "type": _OPERATION, **_TABLE, "commit_timestamp": ref("Moment")}
_EMPTY: Schema = {"maxProperties": 0}


def _when(member: str, value: str, then: Mapping[str, Schema]) -> Schema:
    return {"if": {"properties": {member: {"const": value}}}, "then": {"properties": dict(then)}}


CONTROL = {
    "ready": "Ready",
    "reset": "Reset",
    "snapshot": "Snapshot",
    "checkpoint": "Checkpoint",
    "auth-expiring": "AuthExpiring",
    "reconnect": "Reconnect",
    "closed": "Closed",
}
"""The schema of a control event's data, by the event's name."""
CHANGES = {"raw": "Raw", "diff": "Diff", "supabase": "Supabase", "cloudevents": "CloudEvent"}
"""That of every other event's, by the format of its stream."""

EVENTS: Mapping[str, Schema] = {
    "Ready": object_of(
        {
            "status": {"enum": ["fresh", "resumed", "reset"]},
            "streams": NAMES,
            "connection": ref("Connection"),
            "from": ref("EventId"),
            "expires_at": ref("Moment"),
            "heartbeat": {"type": "number", "exclusiveMinimum": 0},
        },
        description="Always first. `from` is the id that it goes on from, `heartbeat` is in seconds.",
    ),
    "Reset": {
        "description": "History cannot be completed: fetch the state anew.",
        "oneOf": [
            object_of({"reason": {"enum": ["unknown-id", "epoch", "future", "retention", "gap"]}, "streams": NAMES}),
            object_of({"reason": {"enum": ["truncated", "capture-failed"]}, "stream": ref("StreamName"), "table": TEXT}),
        ],
    },
    "Snapshot": object_of(
        {"stream": ref("StreamName"), "rows": list_of(_ROW), "done": BOOLEAN},
        description="Rows of now, of one stream; with `done` its last.",
    ),
    "Checkpoint": object_of({"position": COUNT}, description="An idle stream's id moves forward."),
    "AuthExpiring": object_of({"expires_at": ref("Moment")}, description="The token ends in a minute: send a newer one."),
    "Reconnect": object_of(
        {"reason": {"enum": sorted({*ENDINGS, "overload"} - CLOSING - {"gone"})}, "retry": COUNT},
        description="The server ends the stream: come back after `retry` milliseconds, with the last id.",
    ),
    "Closed": object_of({"reason": {"enum": sorted(CLOSING)}}, description="The server ends the stream: do not come back with this token."),
    "Raw": {
        "description": "A change, or the state of a component.",
        "oneOf": [ref("RawChange"), object_of({"version": _VERSION, "type": {"const": "STATUS"}, **_COMPONENT})],
    },
    "RawChange": object_of(
        {
            **_CHANGE,
            "record": or_null("object"),
            "old_record": or_null("object"),
            "columns": list_of(object_of({"name": TEXT, "type": TEXT})),
        },
        _FLAGS,
        allOf=[
            _when("type", "INSERT", {"record": _ROW, "old_record": NULL}),
            _when("type", "UPDATE", {"record": _ROW, "old_record": _ROW}),
            _when("type", "DELETE", {"record": NULL, "old_record": _ROW}),
        ],
        description="`left`: the row lives on, but is somebody else's now. `truncated`: it was too large, and is its key.",
    ),
    "Diff": {
        "description": "A row's key, and what has changed, or a new row's values, which stand beside the other members.",
        "anyOf": [
            object_of({"version": _VERSION, "type": {"const": "STATUS"}, **_COMPONENT}),
            {
                "type": "object",
                "properties": {"version": _VERSION, "type": {"const": "UPDATE"}, "changes": ref("Differences"), **_TABLE, **_FLAGS},
                "required": ["version", "changes", "updated_at"],
            },
            {
                "type": "object",
                "properties": {"version": _VERSION, "deleted_at": ref("Moment"), **_TABLE, **_FLAGS},
                "required": ["version", "deleted_at"],
                "not": {"required": ["changes"]},
            },
            {"type": "object", "properties": {"version": _VERSION}, "required": ["version", "created_at"]},
        ],
    },
    "Differences": {
        "type": "object",
        "additionalProperties": object_of({"old": True, "new": True}),
        "description": "By column: what it was, and what it is.",
    },
    "Supabase": {
        "description": "What realtime-js hands to the callback of `postgres_changes`.",
        "oneOf": [
            object_of(
                {
                    "version": _VERSION,
                    **_TABLE,
                    "commit_timestamp": ref("Moment"),
                    "eventType": _OPERATION,
                    "new": _ROW,
                    "old": _ROW,
                    "errors": NULL,
                },
                _FLAGS,
                allOf=[
                    _when("eventType", "INSERT", {"old": _EMPTY}),
                    _when("eventType", "DELETE", {"new": _EMPTY}),
                ],
            ),
            object_of({"version": _VERSION, "eventType": {"const": "STATUS"}, **_COMPONENT}),
        ],
    },
    "CloudEvent": object_of(
        {
            "specversion": {"const": "1.0"},
            "id": TEXT,
            "source": {"type": "string", "pattern": "^/streams/[a-z-]+$"},
            "type": {"type": "string", "pattern": r"^rowcast\.[a-z-]+\.(insert|update|delete|status)$"},
            "time": ref("Moment"),
            "datacontenttype": {"const": "application/json"},
            "version": _VERSION,
            "data": ref("Raw"),
        },
        description="CloudEvents 1.0, structured JSON.",
    ),
}
