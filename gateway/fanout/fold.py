"""⑦ Several changes of one row that leave together, as one: for streams that are declared `latest_only`, and never for others.

- From before the first to after the last: whoever materialises what they get ends with the same.
- Only where no other row's lies between, for an id says "all up to here": who is cut in between would never get the earlier ones.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway.wire import Entry
from streams import format as formats
from streams.payload import RESET


def fold(entries: Sequence[Entry], key: tuple[str, ...]) -> Sequence[Entry]:
    """Returns changes of a row that follow each other as one, in the place of the last; not one that does not say all of the row.

    All as they are where a reset, or a changed key, is among them.
    """
    folded: list[tuple[str, Entry]] = []
    for entry in entries:
        if entry.kind == RESET:
            return entries
        raw = formats.members(entry.data.decode())
        keys = {formats.key_of(raw[side], key) for side in ("record", "old_record") if raw[side] != "null"}
        if len(keys) != 1:
            return entries
        (row,) = keys
        if not folded or folded[-1][0] != row or _partial(raw) or _partial(formats.members(folded[-1][1].data.decode())):
            folded.append((row, entry))
            continue
        _, before = folded.pop()
        data = formats.latest(formats.members(before.data.decode()), raw)
        if data is not None:
            kind = formats.members(data.decode())["type"].strip('"')
            folded.append((row, replace(entry, kind=kind, data=data, frames={}, seen=None, apart=None)))
    return [entry for _, entry in folded]


def _partial(raw: formats.Members) -> bool:
    """Whether it says only the key of the row before or after: joined with another, nothing would say so."""
    return "left" in raw or "truncated" in raw
