"""⑥ What a client is told of a change, in the format that it asked for: raw, diff, supabase, cloudevents.

- Values are passed on as Postgres rendered them, text by text: a number keeps its digits, whoever formats it.
- Each format says `version`, and each says `left` and `truncated` where raw does.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any

import orjson

from streams.stream import EVERY_TABLE, Stream

Members = Mapping[str, str]
"""A JSON object's members, each value as its text."""

_SCALARS = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal)
_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_SPACE = re.compile(r"[ \t\r\n]*")
_BRACKET = re.compile(_STRING.pattern + r"|[][{}]")
_WORD = re.compile(r"[^\s,\]}]+")


def members(text: str) -> dict[str, str]:
    """Takes a JSON object apart, one level deep: values are not decoded, so that none is too deep. Raises ValueError for anything else."""
    found: dict[str, str] = {}
    at = _after(_SPACE, text, 0)
    if not text.startswith("{", at):
        raise ValueError("no JSON object")
    at = _after(_SPACE, text, at + 1)
    while not text.startswith("}", at):
        end = _after(_STRING, text, at)
        name = json.loads(text[at:end])
        start = _after(_SPACE, text, _after(_COLON, text, end))
        end = _end(text, start)
        found[name] = text[start:end]
        at = _after(_COMMA, text, end)
    return found


def scalars(raw: Members, names: Iterable[str]) -> dict[str, Any]:
    """Decodes some of a row's members, for a filter: numbers as Decimal."""
    return {name: _SCALARS.decode(raw[name]) for name in names if name in raw}


_COLON = re.compile(r"[ \t\r\n]*:")
_COMMA = re.compile(r"[ \t\r\n]*(?:,[ \t\r\n]*|(?=\}))")


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    if match is None:
        raise ValueError("no JSON object")
    return match.end()


def _end(text: str, at: int) -> int:
    """Returns where the value that begins here ends."""
    if not text.startswith(("{", "["), at):
        return _after(_STRING if text.startswith('"', at) else _WORD, text, at)
    depth = 0
    for match in _BRACKET.finditer(text, at):
        if match[0] in "{[":
            depth += 1
        elif match[0] in "}]":
            depth -= 1
            if not depth:
                return match.end()
    raise ValueError("no JSON object")


def entered(raw: Members) -> bytes:
    """Returns an update as what it is to somebody who did not see the row before: an INSERT."""
    return object_of({**raw, "type": '"INSERT"', "old_record": "null"})


def gone(raw: Members, key: tuple[str, ...]) -> bytes:
    """Returns an update as what it is to somebody who does not see the row any more: a DELETE of its key, with `left`."""
    return object_of({**raw, "type": '"DELETE"', "record": "null", "old_record": key_of(raw["old_record"], key), "left": "true"})


def before_unknown(raw: Members, key: tuple[str, ...]) -> bytes:
    """Returns an update or a delete with nothing of the row before but its key."""
    return object_of({**raw, "old_record": key_of(raw["old_record"], key)})


def key_alone(raw: Members, key: tuple[str, ...]) -> bytes:
    """Returns a change with nothing of the row but its key, as where it is too large."""
    sides = {side: key_of(raw[side], key) for side in ("record", "old_record") if raw[side] != "null"}
    return object_of({**raw, **sides, "truncated": "true"})


def latest(first: Members, last: Members) -> bytes | None:
    """Returns two changes of one row as one, from before the first to after the last; None if nothing is left to tell."""
    kinds = first["type"], last["type"]
    if kinds == ('"INSERT"', '"DELETE"'):
        return None
    if kinds[0] == '"INSERT"':
        return object_of({**last, "type": '"INSERT"', "old_record": "null"})
    if kinds == ('"DELETE"', '"INSERT"'):
        return object_of({**last, "type": '"UPDATE"', "old_record": first["old_record"]})
    return object_of({**last, "old_record": first["old_record"]})


def diff(raw: Members, stream: Stream) -> bytes:
    """Only what has changed: `changes` by column with `old` and `new`; a new row's columns; a deleted row's key."""
    kind = raw["type"].strip('"')
    told = {"version": raw["version"]}
    if len({stream.event(operation) for operation in ("INSERT", "UPDATE", "DELETE")}) < 3:
        # The event's name does not say it.
        told["type"] = raw["type"]
    new = members(raw["record"]) if kind != "DELETE" else {}
    old = members(raw["old_record"]) if kind != "INSERT" else {}
    now = new or old
    key = stream.key
    if stream.table == EVERY_TABLE:
        # Nothing else says whose row it is.
        told |= {"schema": raw["schema"], "table": raw["table"]}
        key = stream.keys.get(f"{json.loads(raw['schema'])}.{json.loads(raw['table'])}", key)
    for name in key:
        if name in now:
            told[f"{stream.noun}_{name}" if stream.noun else name] = now[name]
    if kind == "INSERT":
        told |= {name: now[name] for name in stream.announced or now if name in now and name not in key}
        told["created_at"] = now.get("created_at", raw["commit_timestamp"])
        told |= {name: _utc(told[name]) for name in ("created_at", "updated_at") if name in told}
    elif kind == "UPDATE":
        changes = {
            name: object_of({"old": old[name], "new": value}).decode()
            for name, value in new.items()
            if name != "updated_at" and name in old and old[name] != value
        }
        told["changes"] = object_of(changes).decode()
        told["updated_at"] = _utc(now.get("updated_at", raw["commit_timestamp"]))
    else:
        told["deleted_at"] = _utc(raw["commit_timestamp"])
    return object_of(told | _flags(raw))


def supabase(raw: Members, stream: Stream) -> bytes:
    """What realtime-js hands to the callback of `postgres_changes` (RealtimePostgresChangesPayload)."""
    told = {"version": raw["version"], "schema": raw["schema"], "table": raw["table"], "commit_timestamp": raw["commit_timestamp"]}
    told |= {"eventType": raw["type"], "new": _or_empty(raw["record"]), "old": _or_empty(raw["old_record"]), "errors": "null"}
    return object_of(told | _flags(raw))


def cloud_event(raw: Members, stream: Stream, identity: str, time: str) -> bytes:
    """CloudEvents 1.0, structured JSON: `data` is raw's (https://github.com/cloudevents/spec, JSON format §3)."""
    told = {"specversion": '"1.0"', "id": _text(identity), "source": _text(f"/streams/{stream.name}")}
    told |= {"type": _text(f"rowcast.{stream.name}.{json.loads(raw['type']).lower()}"), "time": time}
    told |= {"datacontenttype": '"application/json"', "version": raw["version"], "data": object_of(raw).decode()}
    return object_of(told)


def status(format: str, stream: Stream, component: str, up: bool, since: str, identity: str) -> bytes:
    """A component that has gone down or come up: what it is in a format, of which only `cloudevents` and the name of `type` differ."""
    kind = "eventType" if format == "supabase" else "type"
    told = {"version": "1", kind: '"STATUS"', "component": _text(component), "status": '"up"' if up else '"down"', "since": _text(since)}
    return cloud_event(told, stream, identity, told["since"]) if format == "cloudevents" else object_of(told)


_FORMATS: Mapping[str, Callable[[Members, Stream], bytes]] = {"diff": diff, "supabase": supabase}


def render(format: str, data: bytes, stream: Stream, identity: str) -> bytes:
    """Returns a change, given as raw, in a format; `identity` is the event's id."""
    if format == "raw":
        return data
    raw = members(data.decode())
    return cloud_event(raw, stream, identity, raw["commit_timestamp"]) if format == "cloudevents" else _FORMATS[format](raw, stream)


def _flags(raw: Members) -> dict[str, str]:
    return {name: raw[name] for name in ("left", "truncated") if name in raw}


def _or_empty(text: str) -> str:
    return "{}" if text == "null" else text


def _utc(text: str) -> str:
    return text.removesuffix('+00:00"') + 'Z"' if text.endswith('+00:00"') else text


def _text(value: str) -> str:
    return orjson.dumps(value).decode()


def key_of(record: str, key: tuple[str, ...]) -> str:
    """Returns a row's key alone, as JSON."""
    row = members(record)
    # A key that was declared otherwise when the row was written may not be among its columns.
    return object_of({name: row[name] for name in key if name in row}).decode()


def object_of(values: Members) -> bytes:
    """Puts a JSON object together."""
    # json, and not orjson, for a column's name: it takes whatever Postgres takes.
    return ("{" + ",".join(f"{json.dumps(name, ensure_ascii=False)}:{value}" for name, value in values.items()) + "}").encode()
