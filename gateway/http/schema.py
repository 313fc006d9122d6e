"""⑨ What the answers look like: JSON Schema 2020-12, by name, for `/openapi.json`; those of the events are in `event_schema.py`."""

from collections.abc import Mapping
from typing import Any

from streams.stream import FORMATS

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
BOOLEAN: Schema = {"type": "boolean"}
NULL: Schema = {"type": "null"}
UP: Schema = {"enum": ["up", "down"]}
_SECONDS: Schema = {"type": "number", "minimum": 0}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(members: Mapping[str, Schema | bool], optional: Mapping[str, Schema] | None = None, **more: Any) -> Schema:
    """Returns an object that has all of `members`, perhaps some of `optional`, and nothing else."""
    return {
        "type": "object",
        "properties": {**members, **(optional or {})},
        "required": list(members),
        "additionalProperties": False,
        **more,
    }


def list_of(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def or_null(kind: str) -> Schema:
    return {"type": [kind, "null"]}


NAMES = list_of(ref("StreamName"), minItems=1)

WORDS: Mapping[str, Schema] = {
    "StreamName": {"type": "string", "pattern": "^[a-z][a-z-]{0,30}$"},
    "EventId": {"type": "string", "pattern": "^[0-9a-z]{4,16}-[0-9]{1,18}(-[a-z][a-z-]{0,30})?$", "maxLength": 64},
    "Connection": {"type": "string", "pattern": "^[0-9a-f]{16}$"},
    "Moment": {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z$"},
    "Identifier": {
        "type": ["string", "integer"],
        "minLength": 1,
        "maxLength": 128,
        "description": "Printable; a number is the same as its text.",
    },
}

ANSWERS: Mapping[str, Schema] = {
    "Problem": object_of(
        {"type": {"const": "about:blank"}, "title": TEXT, "status": {"type": "integer", "minimum": 400, "maximum": 599}, "detail": TEXT},
        description="RFC 9457. `detail` names what is wrong.",
    ),
    "Streams": object_of(
        {
            "streams": list_of(
                object_of(
                    {
                        "name": ref("StreamName"),
                        "url": {"type": "string", "pattern": "^/streams/"},
                        "table": TEXT,
                        "columns": list_of(TEXT),
                        "events": list_of(ref("StreamName"), minItems=1),
                        "format": {"enum": sorted(FORMATS)},
                        "filters": {"type": "object", "additionalProperties": TEXT},
                    }
                )
            )
        },
        description="`table` is `*` where it is every table; `filters` has the columns that can be filtered by, each with its kind.",
    ),
    "Ticket": object_of({"ticket": TEXT, "expires_in": COUNT}),
    "Readiness": object_of(
        {
            "status": {"enum": ["ready", "not ready"]},
            "components": ref("Components"),
        }
    ),
    "Components": object_of({"web": {"enum": ["up", "draining"]}, "redis": UP, "bridge": {"enum": ["up", "silent"]}, "postgres": UP}),
    "Revocation": {
        "description": "All tokens of a user issued up to now, or up to `issued_before` (seconds since 1970); or one by its `jti`.",
        "oneOf": [
            object_of({"sub": ref("Identifier")}, {"issued_before": {"type": "number", "exclusiveMinimum": 0}}),
            object_of({"jti": ref("Identifier")}),
        ],
    },
    "Connections": object_of(
        {
            "connections": list_of(
                object_of(
                    {
                        "connection": ref("Connection"),
                        "subject": TEXT,
                        "streams": NAMES,
                        "format": {"enum": [*sorted(FORMATS), None]},
                        "state": {"enum": ["live", "catching up", "behind"]},
                        "since": ref("Moment"),
                        "address": TEXT,
                        "position": ref("EventId"),
                        "expires_at": ref("Moment"),
                    }
                )
            ),
            "total": COUNT,
            "truncated": BOOLEAN,
            "processes": COUNT,
            "complete": BOOLEAN,
        }
    ),
    "Verdict": object_of(
        {
            "verdict": TEXT,
            "because": TEXT,
            "steps": list_of(object_of({"check": TEXT, "holds": BOOLEAN, "detail": TEXT})),
        }
    ),
    "State": object_of(
        {
            "components": ref("Components"),
            "bridge": object_of(
                {
                    "epoch": or_null("string"),
                    **{name: or_null("integer") for name in ("position", "head", "lag_positions")},
                    **{name: or_null("number") for name in ("lag_seconds", "silent_seconds")},
                }
            ),
            "outbox": {"oneOf": [NULL, object_of({"depth": COUNT, "oldest_seconds": _SECONDS})]},
            "redis": object_of({"up": BOOLEAN, "memory_bytes": or_null("integer")}),
            "postgres": object_of({"up": BOOLEAN}),
            "connections": COUNT,
            "streams": {"type": "object", "additionalProperties": COUNT},
            "processes": COUNT,
            "complete": BOOLEAN,
        }
    ),
}
