"""Events as a table: the columns of rows under each other, and a header now and then."""

import sys
from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from gateway.cell import Row, fit, flat, is_number, is_time, printable
from gateway.printer import BOOKKEEPING, Lines

_LEAST_CELLS, _MOST_CELLS = 4, 36
_ROOM_CELLS = 6
"""For text that is longer in later rows."""
_TIME_CELLS = 19
_HEADER_EVERY = 20
_HEAD_CELLS = 24


class Grid(Lines):
    """As `Lines`, but whole rows. On a terminal columns that do not fit are left out, times first, and named once."""

    def __init__(self, out: Console, control: bool, width: int, columns: Sequence[str] = ()) -> None:
        super().__init__(out, control, max(width, len("STREAM")), columns)
        self._widths: dict[str, dict[str, int]] = {}
        self._last = ""
        self._lines = 0

    def change(self, time: str, type: str, name: str, record: Row, old: Row, key: str, notes: Iterable[str] = ()) -> None:
        row = record or old
        self._width = max(self._width, cell_len(name))
        if name not in self._widths:
            self._measure(name, row)
        if name != self._last or self._lines >= _HEADER_EVERY:
            self._header(name, row)
        self._lines += 1
        cells = []
        for column, width in self._widths[name].items():
            changed = bool(record) and column in old and old[column] != record.get(column)
            cells.append(Text(fit(_value(row, column), width, is_number(row.get(column))), "bold yellow" if changed else ""))
        self._line(time, type, name, [*cells, *(Text(note, "italic") for note in notes)])

    def _header(self, name: str, row: Row) -> None:
        self._last, self._lines = name, 0
        titles = [fit(printable(column), width, is_number(row.get(column))) for column, width in self._widths[name].items()]
        head = f"{'TIME':12}  {'TYPE':6}  {'STREAM':{self._width}}"
        self._print(Text("  ".join([head, *titles]), "bold"))

    def _measure(self, name: str, row: Row) -> None:
        """Decides how wide the columns of a stream are, by its first row."""
        shown = self._columns or [column for column in row if column not in BOOKKEEPING]
        widths = {c: min(max(_LEAST_CELLS, cell_len(c), cell_len(_value(row, c))), _MOST_CELLS) for c in shown}
        free = self._out.width - _HEAD_CELLS - self._width if self._out.is_terminal else sys.maxsize
        while len(widths) > 1 and _taken(widths) > free:
            times = [column for column in widths if is_time(row.get(column))]
            del widths[(times or list(widths))[-1]]
        growing = [column for column in widths if not is_number(row.get(column)) and not is_time(row.get(column))]
        for _ in range(_ROOM_CELLS):
            for column in growing:
                if _taken(widths) < free and widths[column] < _MOST_CELLS:
                    widths[column] += 1
        self._widths[name] = widths
        if left_out := [printable(column) for column in shown if column not in widths]:
            self._print(Text(f"{printable(name)}: no room for {', '.join(left_out)}; --columns chooses", "dim"))


def _taken(widths: Mapping[str, int]) -> int:
    return sum(widths.values()) + 2 * len(widths)


def _value(row: Row, column: str) -> str:
    value = row.get(column)
    return flat(value)[:_TIME_CELLS].replace("T", " ") if is_time(value) else flat(value)
