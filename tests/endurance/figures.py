"""What the soak measures, what of it must be back at its end, and who judges that.

- The baseline is what was so after a warm-up that was like the rest: pools, caches and buffers have been filled then.
- A figure that a leak would raise has a bound on its end; one that has a hard bound at all times has a bound on its peak too.
- The judge knows samples and bounds, and nothing of processes: made-up samples are judged like real ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import median
from typing import NamedTuple

from rich import box
from rich.table import Table

WARM_UP, BASELINE, CHURN, CALM = "warm-up", "baseline", "churn", "calm"
_LAST = 3
"""So many samples make the end: a single one may meet a heartbeat."""
_SEGMENTS = 14
"""Eighths of the retention, the one that is written to, and those that are opened or dropped a round late or in a reader's way."""
_NODE = 100
"""Entries of a node of a Redis stream: only whole nodes are cut off."""
_POOLED = 80
"""Connections that a web process may have to Redis (two pools of 32, and the tail) and to Postgres (three fours)."""
_LENT = 16
"""Connections to Postgres in the pools of two web processes: two fours each."""
_SOCKET_KB = 600
"""The send buffer of a connection, as Linux doubles it, and a little."""
_OUTBOX_MB = 512
"""Two lanes of 65,536 changes."""
_HEAD_MB = 40
"""A hundred thousand steps are kept."""

Values = dict[str, dict[str, float]]
"""By figure and part."""


class Sample(NamedTuple):
    """What was so at a moment, in seconds since the start."""

    at: float
    phase: str
    values: Values


@dataclass(frozen=True)
class Bound:
    """So many times the baseline and so much more; or `most`, whatever the baseline was. `ever` is one for the peak."""

    times: float = 1.0
    plus: float = 0.0
    most: float | None = None
    ever: float | None = None

    def limit(self, baseline: float) -> float:
        return self.most if self.most is not None else baseline * self.times + self.plus

    def __str__(self) -> str:
        factor = f"{self.times:g} × " if self.times != 1 else ""
        end = f"{self.most:g}" if self.most is not None else f"{factor}baseline" + (f" + {self.plus:g}" if self.plus else "")
        return f"≤ {end}" + (f", always ≤ {self.ever:g}" if self.ever is not None else "")


@dataclass(frozen=True)
class Figure:
    """Something that is measured, for one part of the cluster or several. Without a bound it is only told."""

    title: str
    unit: str = ""
    bound: Bound | None = None


def figures(log_entries: int) -> dict[str, Figure]:
    """Returns all figures, by name, for a Redis that keeps so many entries of a channel."""
    memory = Bound(times=1.25, plus=20)
    longest = log_entries + _NODE
    return {
        "clients": Figure("clients"),
        "changes": Figure("changes a second"),
        "rss": Figure("resident memory", "MB", memory),
        "pss": Figure("proportional memory", "MB", memory),
        "private": Figure("private memory", "MB", memory),
        # Its backends' caches grow with what they are asked for, and go with them; shared buffers are not in it.
        "postgres": Figure("private memory of Postgres", "MB", Bound(times=2, plus=50)),
        "fds": Figure("file descriptors, pools apart", bound=Bound(plus=5)),
        "pooled": Figure("connections in pools", bound=Bound(most=_POOLED, ever=_POOLED)),
        "threads": Figure("threads", bound=Bound(plus=5)),
        "tasks": Figure("asyncio tasks", bound=Bound(plus=5)),
        "connections": Figure("open streams, as told", bound=Bound(most=0)),
        "sockets": Figure("sockets of clients", bound=Bound(most=2)),
        "queued": Figure("send queues", "KB", Bound(most=0)),
        "fullest": Figure("longest send queue", "KB", Bound(most=0, ever=_SOCKET_KB)),
        "redis": Figure("Redis memory, logs apart", "MB", Bound(plus=4)),
        "logs": Figure("Redis memory of logs", "MB"),
        "output": Figure("output buffers of Redis", "KB", Bound(most=64)),
        "keys": Figure("Redis keys, logs apart", bound=Bound(plus=10)),
        "channel logs": Figure("logs in Redis", bound=Bound(plus=10)),
        "longest": Figure("longest log in Redis", bound=Bound(most=longest, ever=longest)),
        "channels": Figure("channels with a subscription", bound=Bound()),
        "backends": Figure("backends of Rowcast, pools apart", bound=Bound(plus=2)),
        "lent": Figure("backends of pools", bound=Bound(most=_LENT, ever=_LENT)),
        "locks": Figure("locks of Rowcast", bound=Bound(plus=5)),
        "waiting": Figure("locks that are waited for", bound=Bound(most=0)),
        "transaction": Figure("oldest transaction", "s", Bound(most=5)),
        "horizon": Figure("oldest xmin, in transactions", bound=Bound(most=500)),
        "outbox": Figure("outbox", "MB", Bound(most=_OUTBOX_MB, ever=_OUTBOX_MB)),
        "depth": Figure("changes without a position", bound=Bound(most=5)),
        "lag": Figure("positions that Redis lacks", bound=Bound(most=5)),
        "log": Figure("log", "MB", Bound(times=1.5, plus=20)),
        "segments": Figure("segments of the log", bound=Bound(most=_SEGMENTS, ever=_SEGMENTS)),
        "head": Figure("steps of the sequencer", "MB", Bound(most=_HEAD_MB, ever=_HEAD_MB)),
        "catalogs": Figure("catalogs of Postgres", "MB", Bound(times=1.5, plus=10)),
        "tables": Figure("published tables", "MB", Bound(times=2, plus=20)),
    }


class Row(NamedTuple):
    """A figure of a part, judged. `well` is None where nothing is demanded."""

    name: str
    part: str
    baseline: float
    peak: float
    end: float
    bound: Bound | None
    well: bool | None


def judge(samples: Sequence[Sample], known: Mapping[str, Figure]) -> list[Row]:
    """Returns each figure of each part that the baseline has, and whether it has come back; nothing while there is no baseline.

    A part that is there no more has not come back.
    """
    before = [sample for sample in samples if sample.phase == BASELINE]
    since = [sample for sample in samples if sample.phase in (BASELINE, CHURN, CALM)]
    last = [sample for sample in samples if sample.phase == CALM][-_LAST:]
    rows = []
    for name, figure in known.items():
        for part in dict.fromkeys(part for sample in before for part in sample.values.get(name, ())):
            baseline = median(_of(before, name, part))
            peak = max(_of(since, name, part))
            ends = _of(last, name, part)
            gone = bool(last) and len(ends) < len(last)
            end = median(ends) if ends and not gone else nan
            well = None if figure.bound is None or not last else not gone and _within(figure.bound, baseline, peak, end)
            rows.append(Row(name, part, baseline, peak, end, figure.bound, well))
    return rows


def _of(samples: Iterable[Sample], name: str, part: str) -> list[float]:
    return [sample.values[name][part] for sample in samples if part in sample.values.get(name, ())]


def _within(bound: Bound, baseline: float, peak: float, end: float) -> bool:
    return end <= bound.limit(baseline) and (bound.ever is None or peak <= bound.ever)


def settled(samples: Sequence[Sample], known: Mapping[str, Figure]) -> bool:
    """Says whether everything has come back, with samples enough to say so."""
    calm = sum(sample.phase == CALM for sample in samples)
    rows = judge(samples, known)
    return calm >= _LAST and bool(rows) and all(row.well is not False for row in rows)


def broken(rows: Iterable[Row]) -> list[str]:
    """Names what has not come back: the figure and the part."""
    return [f"{row.name}/{row.part}" for row in rows if row.well is False]


def table(rows: Iterable[Row], known: Mapping[str, Figure]) -> Table:
    """Returns the figures as they are printed; what has not come back is red."""
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    found.add_column("figure")
    found.add_column("part")
    for name in ("baseline", "peak", "end"):
        found.add_column(name, justify="right")
    found.add_column("bound")
    found.add_column("")
    for row in rows:
        mark = {None: "", True: "ok", False: "BROKEN"}[row.well]
        title, unit = known[row.name].title, known[row.name].unit
        numbers = (_shown(number) for number in (row.baseline, row.peak, row.end))
        found.add_row(
            f"{title}, {unit}" if unit else title,
            row.part,
            *numbers,
            str(row.bound or ""),
            mark,
            style="bold red" if row.well is False else "",
        )
    return found


def _shown(number: float) -> str:
    return "–" if isnan(number) else f"{number:,.0f}" if number == round(number) or abs(number) >= 1000 else f"{number:,.1f}"
