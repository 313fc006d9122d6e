"""⑦ Several changes of one row that leave together, as one: for streams that are declared `latest_only`, and never for others.

- From before the first to after the last: whoever materialises what they get ends with the same.
"""

from collections.abc import Sequence
from dataclasses import replace

from gateway.wire import Entry
from streams import format as formats
from streams.payload import RESET


def fold(entries: Sequence[Entry], key: tuple[str, ...]) -> Sequence[Entry]:
    """Returns each row's changes as one, in the place of its last; all as they are where a reset, or a changed key, is among them."""
    last: dict[str, Entry] = {}
    for entry in entries:
        if entry.kind == RESET:
            return entries
        raw = formats.members(entry.data.decode())
        keys = {formats.key_of(raw[side], key) for side in ("record", "old_record") if raw[side] != "null"}
        if len(keys) != 1:
            return entries
        (row,) = keys
        before = last.pop(row, None)
        if before is None:
            last[row] = entry
            continue
        data = formats.latest(formats.members(before.data.decode()), raw)
        if data is not None:
            kind = formats.members(data.decode())["type"].strip('"')
            last[row] = replace(entry, kind=kind, data=data, frames={}, seen=None, apart=None)
    return list(last.values())
