"""The soak itself: a short one, what its judge and its readers' check must find, and two web processes that leak."""

import io
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.endurance import leak, plot
from tests.endurance.audit import Audit
from tests.endurance.figures import BASELINE, CALM, CHURN, WARM_UP, Sample, broken, figures, judge, settled, table
from tests.endurance.pace import Pace
from tests.endurance.soak import soak
from tests.endurance.visitor import Visitors
from tests.support import sse
from tests.support.ledger import Life, Line, Reader
from tests.support.servers import Servers

KNOWN = figures(200)


def course(**changes: dict[str, float]) -> list[Sample]:
    """Makes the samples of a soak in which everything comes back, but for what is `changes`: by figure, the value in each phase."""
    usual = {
        "rss": {WARM_UP: 80.0, BASELINE: 90.0, CHURN: 110.0, CALM: 95.0},
        "fds": {WARM_UP: 60.0, BASELINE: 20.0, CHURN: 70.0, CALM: 20.0},
        "tasks": {WARM_UP: 40.0, BASELINE: 14.0, CHURN: 60.0, CALM: 14.0},
        "connections": {WARM_UP: 30.0, BASELINE: 0.0, CHURN: 40.0, CALM: 0.0},
        "queued": {WARM_UP: 300.0, BASELINE: 0.0, CHURN: 500.0, CALM: 0.0},
        "fullest": {WARM_UP: 300.0, BASELINE: 0.0, CHURN: 400.0, CALM: 0.0},
        "logs": {WARM_UP: 1.0, BASELINE: 2.0, CHURN: 3.0, CALM: 3.0},
    } | changes
    phases = [phase for phase in (WARM_UP, BASELINE, CHURN, CALM) for _ in range(4)]
    return [
        Sample(float(at), phase, {name: {"web 1": course[phase], "web 2": usual[name][phase]} for name, course in usual.items()})
        for at, phase in enumerate(phases)
    ]


def test_everything_comes_back() -> None:
    """Figures that end within their bounds are well, however high they were in between."""
    rows = judge(course(), KNOWN)
    assert broken(rows) == []
    assert {row.name for row in rows if row.well is None} == {"logs"}
    assert settled(course(), KNOWN)


@pytest.mark.parametrize(
    ("name", "end"), [("rss", 90 * 1.25 + 21), ("fds", 26), ("tasks", 20), ("connections", 1), ("queued", 0.5), ("fullest", 1)]
)
def test_a_leak_is_found(name: str, end: float) -> None:
    """What does not come back breaks the bound of its figure, in its part alone."""
    samples = course()
    leaking = [
        sample._replace(values=sample.values | {name: sample.values[name] | {"web 2": end}}) if sample.phase == CALM else sample
        for sample in samples
    ]
    assert broken(judge(leaking, KNOWN)) == [f"{name}/web 2"]
    assert not settled(leaking, KNOWN)


def test_a_bound_at_all_times() -> None:
    """A queue that was longer than it ever may be is found, though it is empty at the end."""
    assert broken(judge(course(fullest={WARM_UP: 0.0, BASELINE: 0.0, CHURN: 5000.0, CALM: 0.0}), KNOWN)) == [
        "fullest/web 1",
        "fullest/web 2",
    ]


def test_a_part_that_is_gone() -> None:
    """A process of which nothing is known at the end has not come back."""
    samples = course()
    samples[-1] = samples[-1]._replace(values=samples[-1].values | {"fds": {"web 1": 20.0}})
    assert broken(judge(samples, KNOWN)) == ["fds/web 2"]


def test_nothing_is_judged_early() -> None:
    """Without a baseline there is no figure, and without an end no verdict."""
    samples = course()
    assert judge(samples[:4], KNOWN) == []
    assert {row.well for row in judge(samples[:12], KNOWN)} == {None}
    assert not settled(samples[:12], KNOWN)


def test_table() -> None:
    """The table names what is broken, with its numbers and its bound."""
    out = io.StringIO()
    Console(file=out, width=150).print(table(judge(course(tasks={WARM_UP: 9.0, BASELINE: 14.0, CHURN: 90.0, CALM: 77.0}), KNOWN), KNOWN))
    (line,) = [line for line in out.getvalue().splitlines() if "asyncio tasks" in line and "web 1" in line]
    assert line.split()[-8:] == ["14", "90", "77", "≤", "baseline", "+", "5", "BROKEN"]


# The readers' check


def lines(*positions: int) -> list[Line]:
    return [Line(f"abcd-{position}", "bookings", "{}") for position in positions]


def heard(*positions: int, resets: int = 0) -> Reader:
    """Makes a reader that has received these since 0."""
    reader = Reader(None, "bookings", 1)  # type: ignore[arg-type]  # it never opens anything
    reader.lives = [Life(0, lines(*positions)), *(Life(9) for _ in range(resets))]
    reader.resets = ["too-old"] * resets
    return reader


def audited(reader: Reader, *expected: int) -> Audit:
    audit = Audit(Servers("", ""), [reader])
    audit._expected[reader] += lines(*expected)
    audit._compare(reader)
    return audit


def test_what_agrees_is_forgotten() -> None:
    """Events that are as the log has them are counted and dropped; those that one side does not have yet are kept."""
    reader = heard(1, 2, 3)
    audit = audited(reader, 1, 2, 3, 4)
    assert (audit.faults, audit.checked, reader.lines, audit._expected[reader]) == ([], 3, [], lines(4))


@pytest.mark.parametrize(
    ("reader", "fault"),
    [
        (lambda: heard(1, 3, 4), "abcd-3 bookings, and must be abcd-2"),
        (lambda: heard(1, 1, 2), "abcd-1 bookings, and must be abcd-2"),
        (lambda: heard(2, 1, 3), "abcd-2 bookings, and must be abcd-1"),
        (lambda: heard(1, resets=1), "began anew"),
    ],
)
def test_what_is_wrong_is_found(reader: Callable[[], Reader], fault: str) -> None:
    """A reader that has lost an event, has one twice, has them in disorder, or was reset, is found."""
    (found,) = audited(reader(), 1, 2, 3, 4).faults
    assert fault in found


@pytest.mark.parametrize("ids", [("abcd-2", "abcd-1"), ("abcd-2", "abcd-2")])
async def test_visitors_notice_disorder(ids: tuple[str, str]) -> None:
    """An event that comes late, or twice, is a fault for whoever visits."""
    events = [sse.Event(id, "bookings", {}, "{}") for id in ids]

    class Fake:
        async def next(self, within: float) -> sse.Event:
            return events.pop(0)

    fake: Any = Fake()
    with pytest.raises(AssertionError, match="comes after"):
        await Visitors([], [], [], {}).read(fake, 20)


# The picture


def test_picture(tmp_path: Path) -> None:
    """The samples are drawn."""
    samples = course()
    assert plot.draw(samples, judge(samples, KNOWN), KNOWN, "made up", tmp_path / "soak.png") is None
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


def test_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is not, it is said what is missing."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "bench" in str(plot.draw(course(), [], KNOWN, "made up", tmp_path / "soak.png"))


@pytest.mark.parametrize("minutes", [1, 1.25, 5, 30, 120])
def test_pace(minutes: float) -> None:
    """There is time for a churn in a soak of any length, and most of a long one is churn."""
    pace = Pace.of(minutes)
    assert pace.churn >= 15
    assert minutes < 5 or pace.churn > 0.6 * pace.total
    assert replace(pace, churn=1).settings() == pace.settings()


# For real


@pytest.mark.long
@pytest.mark.timeout(600)
def test_soak(tmp_path: Path) -> None:
    """A minute of everything: nothing is lost, and everything comes back."""
    assert soak(1.25, 7, tmp_path) == 0, (tmp_path / "soak.json").read_text()
    told = json.loads((tmp_path / "soak.json").read_text())
    assert told["checked"] > 500
    assert {"revoked", "cut (RST)", "resumed again and again"} <= told["did"].keys()
    assert {row["part"] for row in told["figures"]} >= {"web 1", "web 2", "bridge 1", "bridge 2", "valkey", "postgres"}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_control_leaks(tmp_path: Path) -> None:
    """A web process that forgets no subscriber, and one that leaves a task and a file for each, are found, and nobody else is."""
    assert soak(1, 7, tmp_path, leaks=[leak.STREAMS, leak.REMAINS]) == 1
    told = json.loads((tmp_path / "soak.json").read_text())
    assert told["faults"] == []
    assert {"connections/web 1", "tasks/web 2", "fds/web 2"} <= set(told["broken"])
    assert {name.partition("/")[2] for name in told["broken"]} <= {"web 1", "web 2", "valkey"}
