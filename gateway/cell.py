"""A row's values as text for a terminal.

- What comes from a row has no power over the terminal: whatever is not printable is shown escaped.
- A number keeps the digits that it came with.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from rich.cells import cell_len, set_cell_size

Row = Mapping[str, Any]

_MOST_CELLS = 60
"""Of a value in a line."""


def printable(text: str) -> str:
    """Returns text without what a terminal would obey, or a reader would be fooled by."""
    return text if text.isprintable() else "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def flat(value: Any) -> str:
    """Returns a value as it stands in a table, where null is nothing and text has no quotes."""
    return "" if value is None else printable(value) if isinstance(value, str) else _json(value)


def short(value: Any, cut: bool = True) -> str:
    """Returns a value as it stands in a line: text that could be mistaken has quotes, and what is long is cut."""
    plain = isinstance(value, str) and value not in ("", "null") and not set(value) & set(" \"'=→")
    text = printable(value) if plain else _json(value)
    return fit(text, _MOST_CELLS).rstrip() if cut and cell_len(text) > _MOST_CELLS else text


def fit(text: str, width: int, right: bool = False) -> str:
    """Returns text that takes so many cells: filled, or cut."""
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    space = " " * (width - cell_len(text))
    return space + text if right else text + space


def is_number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def is_time(value: Any) -> bool:
    return isinstance(value, str) and value[:1].isdigit() and "T" in value and moment(value) is not None


def moment(value: Any) -> datetime | None:
    """Reads a time, and returns it by the clock here; None for anything else."""
    try:
        return datetime.fromisoformat(str(value)).astimezone()
    except (ValueError, OverflowError):
        return None


def now() -> datetime:
    return datetime.now().astimezone()


def clock(at: datetime) -> str:
    return f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"


def key_of(row: Row, columns: Iterable[str] = ()) -> str:
    """Returns the column that tells rows apart: `id`, or the first one there is."""
    return "id" if "id" in row else next((column for column in (*columns, *row) if column in row), "")


def row_of(value: Any) -> Row:
    """Returns a row, empty where there is none."""
    return value if isinstance(value, dict) else {}


def _json(value: Any) -> str:
    return str(value) if isinstance(value, Decimal) else printable(json.dumps(value, ensure_ascii=False, default=float))
