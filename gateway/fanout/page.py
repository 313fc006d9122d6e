"""⑧ A page of what channels had after a cursor, whoever read it."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.wire import Entry

PAGE_ENTRIES = 200
PAGE_BYTES = 128_000


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in order of position, complete up to `through`; `more` says that a further page may have some.

    `lost` says why the history after the cursor cannot be completed, and then there are no entries.
    `source` is redis or postgres.
    """

    epoch: str
    entries: Sequence[Entry]
    through: int
    more: bool
    source: str
    lost: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log; `life` is that of Redis, where Redis said it."""

    epoch: str
    position: int
    life: str = ""


def in_order(entry: Entry) -> tuple[int, str]:
    """The key by which a connection gets its entries: by position, and those of one position by stream."""
    return entry.position, entry.stream
