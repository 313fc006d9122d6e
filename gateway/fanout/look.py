"""⑥ How a connection sees a stream: its format, the filter, and whether each event is a chunk of its own.

- Those who see alike share a look, and with it what is made of an event: filters that are alike are evaluated once for each
  event, and a frame is encoded once for each format.
- A filter judges the row before and after: what comes to pass it is an INSERT, what no longer does a DELETE that says `left`.
"""

from collections.abc import Sequence
from dataclasses import replace
from weakref import WeakValueDictionary

from gateway.wire import Entry
from streams import format as formats
from streams.filter import Filter
from streams.payload import RESET
from streams.stream import Stream


class Form:
    """In which format, and whether as chunks, a stream's events leave."""

    __slots__ = ("__weakref__", "chunked", "format", "stream")

    def __init__(self, stream: Stream, format: str, chunked: bool) -> None:
        self.stream = stream
        self.format = format
        self.chunked = chunked


class Look:
    """A form, and the filter that events pass or not.

    `strict` is for a filter that is a matter of rights: where it cannot be judged, since a row was too large to be carried whole,
    nothing is told.
    """

    __slots__ = ("__weakref__", "filter", "form", "strict")

    def __init__(self, form: Form, filter: Filter | None, strict: bool) -> None:
        self.form = form
        self.filter = filter
        self.strict = strict

    @property
    def stream(self) -> Stream:
        return self.form.stream

    def see(self, entry: Entry) -> Entry | None:
        """Returns an entry as it looks through the filter; None if it does not."""
        if self.filter is None or entry.kind == RESET:
            return entry
        if entry.seen is None:
            entry.seen = {}
        judged = (self.filter, self.strict)
        if judged not in entry.seen:
            judged_as = self._judge(entry)
            # Never itself: that would be a cycle, and the garbage collector comes rarely.
            entry.seen[judged] = True if judged_as is entry else judged_as
        found = entry.seen[judged]
        return entry if found is True else found

    def admits(self, record: str) -> bool:
        """Says whether a row, as JSON, passes the filter."""
        return self.filter is None or self._admits(formats.members(record))

    def _admits(self, row: formats.Members) -> bool:
        assert self.filter is not None
        try:
            return self.filter.admits(formats.scalars(row, self.filter.columns))
        except KeyError:
            # Only its key is known: better once too often than never, where that does no harm.
            return not self.strict

    def _judge(self, entry: Entry) -> Entry | None:
        raw, new, old = entry.apart or _apart(entry)
        before = self._admits(old) if entry.kind != "INSERT" else False
        after = self._admits(new) if entry.kind != "DELETE" else False
        if entry.kind != "UPDATE" or (before and after):
            return entry if before or after else None
        if after:
            return replace(entry, kind="INSERT", data=formats.entered(raw), frames={}, seen=None, apart=None)
        if before:
            return replace(entry, kind="DELETE", data=formats.gone(raw, self.stream.key), frames={}, seen=None, apart=None)
        return None


def _apart(entry: Entry) -> tuple[formats.Members, formats.Members, formats.Members]:
    raw = formats.members(entry.data.decode())
    new, old = (formats.members(raw[side]) if raw[side] != "null" else {} for side in ("record", "old_record"))
    entry.apart = raw, new, old
    return entry.apart


class Looks:
    """All looks in use: those that are alike are one."""

    def __init__(self) -> None:
        self._forms: dict[tuple[str, str, bool], Form] = {}
        self._looks: WeakValueDictionary[tuple[Form, Filter | None, bool], Look] = WeakValueDictionary()
        self._plain: dict[Form, Look] = {}

    def of(self, stream: Stream, format: str, chunked: bool, filter: Filter | None = None, strict: bool = False) -> Look:
        """Returns the look of a stream in a format, through a filter."""
        key = (stream.name, format, chunked)
        form = self._forms.get(key)
        if form is None:
            form = self._forms[key] = Form(stream, format, chunked)
            self._plain[form] = Look(form, None, False)
        if filter is None:
            return self._plain[form]
        look = self._looks.get((form, filter, strict))
        if look is None:
            look = self._looks[form, filter, strict] = Look(form, filter, strict)
        return look


def of_stream(looks: Sequence[Look], name: str) -> Look:
    """Returns the look at a stream among those of a connection. Raises LookupError for a stream that it has not."""
    for look in looks:
        if look.form.stream.name == name:
            return look
    raise LookupError(name)
