"""Judges a log of changes: what was made of what the writers know they committed.

- It knows nothing of outbox, snapshots or sequencers: rows, versions, transactions and positions are just numbers, so it
  judges any way of reading.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Change(NamedTuple):
    """What one statement did to one row; for a delete the version is that of the row that went."""

    txid: int
    op: str
    row: int
    version: int


@dataclass(frozen=True)
class Committed:
    """A transaction that Postgres has acknowledged; `began` and `ended` are moments on the writers' one clock."""

    began: int
    ended: int
    changes: list[Change]


@dataclass
class History:
    """What the writers know: what was committed, and how often a transaction was taken back, by reason."""

    committed: list[Committed] = field(default_factory=list)
    taken_back: Counter[str] = field(default_factory=Counter)
    clock: Iterator[int] = field(default_factory=itertools.count)

    @property
    def changes(self) -> int:
        return sum(len(each.changes) for each in self.committed)


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a log; all of it zero is right."""

    events: int
    transactions: int
    lost: int  # committed, but not there
    doubled: int
    invented: int  # there, but not committed
    gaps: int  # positions that are not 1, 2, 3 …
    misordered: int  # after a later version of the same row
    untimely: int  # transactions that come before one that had ended when they began
    scattered: int  # transactions with something else in between

    @property
    def right(self) -> bool:
        wrong = (self.lost, self.doubled, self.invented, self.gaps, self.misordered, self.untimely, self.scattered)
        return self.events > 0 and not any(wrong)


def judge(history: History, log: Sequence[tuple[int, Change]]) -> Verdict:
    """Holds a log, as (position, change), against what was committed."""
    log = sorted(log)
    expected = Counter(change for each in history.committed for change in each.changes)
    found = Counter(change for _, change in log)
    excess = found - expected
    invented = sum(count for change, count in excess.items() if change not in expected)
    newest: dict[int, int] = {}
    places: dict[int, list[int]] = {}
    misordered = 0
    for position, change in log:
        age = 2 * change.version + (change.op == "D")
        misordered += age <= newest.get(change.row, 0)
        newest[change.row] = max(age, newest.get(change.row, 0))
        places.setdefault(change.txid, []).append(position)
    return Verdict(
        events=len(log),
        transactions=len(history.committed),
        lost=(expected - found).total(),
        doubled=excess.total() - invented,
        invented=invented,
        gaps=sum(position != number for number, (position, _) in enumerate(log, 1)),
        misordered=misordered,
        untimely=_untimely(history, places),
        scattered=sum(each[-1] - each[0] >= len(each) for each in places.values()),
    )


def _untimely(history: History, places: dict[int, list[int]]) -> int:
    spans = [(each, places[txid]) for each in history.committed if (txid := each.changes[0].txid) in places]
    by_end = sorted(((each.ended, place[-1]) for each, place in spans), reverse=True)
    latest = found = 0
    for began, first in sorted((each.began, place[0]) for each, place in spans):
        while by_end and by_end[-1][0] < began:
            latest = max(latest, by_end.pop()[1])
        found += first < latest
    return found
