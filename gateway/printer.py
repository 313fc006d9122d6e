"""What events look like: a line for people, or a line of JSON for programs. Colour only says again what words say."""

from collections.abc import Iterable, Sequence
from typing import Protocol

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from gateway.cell import Row, clock, key_of, moment, now, printable, row_of, short
from gateway.follow import CONTROL, NOWHERE, Event

_COLOURS = {"INSERT": "green", "UPDATE": "yellow", "DELETE": "red", "ROW": "cyan", "STATUS": "magenta"}
_LOUD = {"reset": "bold yellow", "auth-expiring": "yellow", "closed": "bold red"}
_ADVICE = {
    "reset": "history cannot be completed, what was known is to be fetched anew",
    "closed": "do not come back with this token",
}
BOOKKEEPING = frozenset({"created_at", "updated_at"})
"""Columns that say what the line says already."""
_EVERY_TABLE = "changes"
_CONTROL_CHARACTERS = {code: f"\\u{code:04x}" for code in (*range(0x20), *range(0x7F, 0xA0))}


class Printer(Protocol):
    """Shows events."""

    def show(self, event: Event) -> None: ...


class Json:
    """One line an event: `id`, `event`, `data`. Of the control events only those that say something of rows, unless all are asked for.

    With the id `none-0` and the status `fresh` `ready` does: rows begin anew.
    """

    def __init__(self, out: Console, control: bool) -> None:
        self._out, self._control = out, control

    def show(self, event: Event) -> None:
        anew = event.name == "ready" and event.id == NOWHERE and event.content.get("status") == "fresh"
        said = event.name in ("snapshot", "reset") or anew
        if event.name in CONTROL and not (self._control or said):
            return
        line = orjson.dumps({"id": event.id, "event": event.name, "data": orjson.Fragment(event.data)}).decode()
        # JSON has some of these as they are, and what is none has any; some terminals obey them.
        self._out.file.write(line.translate(_CONTROL_CHARACTERS) + "\n")
        self._out.file.flush()


class Lines:
    """One line an event, of what has changed. `columns`, where there are any, are all that is shown of a row; names take `width` cells."""

    def __init__(self, out: Console, control: bool, width: int, columns: Sequence[str] = ()) -> None:
        self._out, self._control, self._width, self._columns = out, control, width, columns
        self._day = now().date()

    def show(self, event: Event) -> None:
        content = event.content
        if event.name == "snapshot":
            for row in map(row_of, content.get("rows") or ()):
                self.change("", "ROW", str(content.get("stream")), row, {}, key_of(row))
        elif event.name in CONTROL:
            if self._control:
                self._print(Text.assemble((clock(now()), "dim"), "  ", control_text(event)))
        elif (type := str(content.get("type", ""))) and "record" in content:
            record, old = row_of(content["record"]), row_of(content.get("old_record"))
            key = key_of(record or old, [str(row_of(column).get("name")) for column in content.get("columns") or ()])
            name = f"{event.name}/{content.get('table')}" if event.name == _EVERY_TABLE else event.name
            self.change(self._time(event), type, name, record, old, key, [note for note in ("left", "truncated") if content.get(note)])
        else:
            self._any(event)

    def change(self, time: str, type: str, name: str, record: Row, old: Row, key: str, notes: Iterable[str] = ()) -> None:
        """Shows one row, and what has changed in it."""
        row = record or old
        cells = [Text.assemble((f"{printable(key)}=", "dim"), (short(row[key]), "bold"))] if key in row else []
        cells += [Text(note, "italic") for note in notes]
        shown = [c for c in self._columns or row if c in row and c != key and (self._columns or c not in BOOKKEEPING)]
        if record and old:
            cells += [_change(c, old, record) for c in shown if c not in old or old[c] != record[c]]
        else:
            cells += [_cell(c, row[c]) for c in shown if row[c] is not None]
        self._line(time, type, name, cells)

    def _any(self, event: Event) -> None:
        """Shows data of another shape than raw: each member of the object."""
        content = dict(event.content)
        content.pop("version", None)
        type = str(content.pop("type", ""))
        cells = [_cell(name, value, cut=False) for name, value in content.items()] or [Text(printable(event.data))]
        self._line(self._time(event), type, event.name, cells)

    def _line(self, time: str, type: str, name: str, cells: Iterable[Text]) -> None:
        self._width = max(self._width, cell_len(name))
        head = Text.assemble((f"{time:12}", "dim"), "  ", (f"{printable(type):6}", _COLOURS.get(type, "")))
        self._print(Text("  ").join([head, Text(f"{printable(name):{self._width}}"), *cells]))

    def _time(self, event: Event) -> str:
        """Returns when a change was made, by the clock here; a line of its own says another day."""
        content = event.content
        at = moment(content.get("commit_timestamp") or content.get("time") or content.get("updated_at")) or now()
        if at.date() != self._day:
            self._day = at.date()
            self._print(Text(f"── {at.date()} ──", "dim"))
        return clock(at)

    def _print(self, text: Text) -> None:
        text.rstrip()
        self._out.print(text, soft_wrap=True)


def control_text(event: Event) -> Text:
    """Returns a control event in words."""
    content = dict(event.content)
    content.pop("heartbeat", None)
    parts = [str(content.pop(name)) for name in ("status", "reason") if name in content]
    if isinstance(streams := content.pop("streams", None), list):
        parts.append(", ".join(map(str, streams)))
    retry_ms, expires_at = content.pop("retry", None), moment(content.pop("expires_at", None))
    parts += [f"{name} {value}" for name, value in content.items()]
    if isinstance(retry_ms, int):
        parts.append(f"again in {retry_ms / 1000:.1f} s")
    if expires_at is not None:
        parts.append(f"token until {expires_at:%H:%M:%S}")
    if event.name in _ADVICE:
        parts.append(_ADVICE[event.name])
    return Text(printable(f"{event.name}  " + " · ".join(parts)).rstrip(), _LOUD.get(event.name, "dim"))


def _change(column: str, old: Row, new: Row) -> Text:
    if column not in old:
        return _cell(column, new[column])
    return Text.assemble((f"{printable(column)} ", "dim"), (short(old[column]), "dim"), " → ", (short(new[column]), "bold"))


def _cell(column: str, value: object, cut: bool = True) -> Text:
    return Text.assemble((f"{printable(column)}=", "dim"), short(value, cut))
