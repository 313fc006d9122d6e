"""⑥ Event → the bytes of one SSE event (WHATWG HTML §9.2.5), once for all its subscribers.

- LF line ends, one `data:` line, every event with `id`, `event` and `data`; `retry` only inside the first event.
- The heartbeat is one bare comment line: a blank line after it makes several clients deliver an empty event.
- On a connection of HTTP/1.1 that was handed over an event is a chunk (RFC 9112 §7.1) of its own: encoded with it, once for all.
- An id is `<epoch>-<position>`; where a connection gets one position on several streams, all but the last of its events carry
  `-<stream>` behind it, so that a client cut between them resumes after the one that it has.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.fanout.look import Form
from gateway.wire import Entry
from streams import format as formats
from streams.payload import RESET

HEARTBEAT = b":\n"

_ID = re.compile(r"([0-9a-z]{4,16})-([0-9]{1,18})(?:-([a-z][a-z-]{0,30}))?")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last id that a client got. `stream` is set where it was not the last event of its position."""

    epoch: str
    position: int
    stream: str | None = None

    def __str__(self) -> str:
        return f"{self.epoch}-{self.position}" + (f"-{self.stream}" if self.stream else "")

    @staticmethod
    def parse(text: str) -> "Cursor | None":
        """Reads an id of ours; None for anything else."""
        match = _ID.fullmatch(text)
        if match is None:
            return None
        cursor = Cursor(match[1], int(match[2]), match[3])
        # Nothing has the position before the first, so no event that is one of several has it either.
        return cursor if cursor.position or cursor.stream is None else None


NOWHERE = Cursor("none", 0)
"""An id that no epoch has: whoever comes back with it has missed everything."""


def encode(entry: Entry, form: Form, more: bool = False) -> bytes:
    """Returns the entry's frame in a form; `more` if the connection gets the same position on a later stream too."""
    if more:
        return _encode(entry, form, str(Cursor(entry.epoch, entry.position, entry.stream)))
    frame = entry.frames.get(form)
    if frame is None:
        frame = entry.frames[form] = _encode(entry, form, f"{entry.epoch}-{entry.position}")
    return frame


def _encode(entry: Entry, form: Form, identity: str) -> bytes:
    if entry.kind == RESET:
        return wrap(_frame(identity, RESET, entry.data), form.chunked)
    data = formats.render(form.format, entry.data, form.stream, identity)
    return wrap(_frame(identity, form.stream.event(entry.kind), data), form.chunked)


def wrap(data: bytes, chunked: bool) -> bytes:
    """Returns what goes over the wire for a frame, as a chunk of its own or as it is."""
    return b"%x\r\n%b\r\n" % (len(data), data) if chunked else data


def control(event: str, cursor: Cursor, data: dict[str, Any], retry_ms: int | None = None) -> bytes:
    """Returns the frame of a control event."""
    return _frame(str(cursor), event, orjson.dumps(data), retry_ms)


def snapshot(cursor: Cursor, stream: str, rows: Sequence[str], done: bool) -> bytes:
    """Returns the frame of a snapshot's page: rows are JSON."""
    data = b'{"stream":%b,"rows":[%b],"done":%b}' % (orjson.dumps(stream), ",".join(rows).encode(), b"true" if done else b"false")
    return _frame(str(cursor), "snapshot", data)


def status(cursor: Cursor, form: Form, component: str, up: bool, since: str) -> bytes:
    """Returns the frame of a stream that tells of a component; the cursor stays where it is."""
    # Of its own, for a CloudEvent's id is no other event's.
    identity = f"{cursor}-{component}-{since}"
    return _frame(str(cursor), form.stream.name, formats.status(form.format, form.stream, component, up, since, identity))


def reset(data: bytes) -> bytes:
    """Returns the frame of a reset from the log for somebody who gets a snapshot after it: until that is whole, the id is NOWHERE's."""
    return _frame(str(NOWHERE), RESET, data)


def _frame(identity: str, event: str, data: bytes, retry_ms: int | None = None) -> bytes:
    retry = b"" if retry_ms is None else b"retry: %d\n" % retry_ms
    return b"%bid: %b\nevent: %b\ndata: %b\n\n" % (retry, identity.encode(), event.encode(), data)
