"""The judges of the matrix: what they must not let pass."""

import json
from typing import Any

import pytest

from tests.clients.client import clients
from tests.clients.outcome import coming_back, draining, expiring, reading, refusing, resetting
from tests.clients.run import Heard, Run


def ready(status: str = "fresh") -> Heard:
    return Heard("k3f9a012-1", "ready", json.dumps({"status": status}))


def control(name: str, reason: str) -> Heard:
    return Heard("k3f9a012-1", name, json.dumps({"reason": reason}))


def booking(position: int, notes: str) -> Heard:
    return Heard(f"k3f9a012-{position}", "bookings", json.dumps({"record": {"notes": notes}}))


def run(*events: Heard, **more: Any) -> Run:
    return Run(clients()[0], 1, list(events), **more)


BEFORE, MEANWHILE, AFTER = booking(2, "before"), booking(3, "meanwhile"), booking(4, "after")
EMPTY = Heard("", "message", "")


@pytest.mark.parametrize(
    ("one", "answers", "outcome"),
    [
        (run(ready(), BEFORE, AFTER), [200], "reads"),
        (run(ready(), BEFORE), [200], "has 1 of 2 events, and differs at 1: []"),
        (run(ready(), BEFORE, AFTER, AFTER), [200], "has 3 of 2 events, and differs at 2"),
        (run(ready(), EMPTY, BEFORE, AFTER), [200], "has 3 of 2 events, and differs at 0: [Heard(id='', name='message', data='')]"),
        (run(ready(), BEFORE, booking(4, "aft\ufffder")), [200], "has 2 of 2 events, and differs at 1"),
        (run(ready(), BEFORE, booking(5, "after")), [200], "has 2 of 2 events, and differs at 1"),
        (run(BEFORE, AFTER), [200], "begins with"),
        (run(ready(), BEFORE, ready("resumed"), AFTER), [200, 200], "comes and goes"),
        (run(ready(), BEFORE, ready("fresh"), AFTER), [200, 200], "errors: [], [200, 200]"),
        (run(ready(), BEFORE, ready("resumed"), BEFORE, AFTER), [200, 200], "has 3 of 2 events, and differs at 1"),
        (run(ready(), BEFORE, AFTER, end="returns"), [200], "returns"),
        (run(ready(), BEFORE, AFTER), [200, 200], "errors: [], [200, 200]"),
    ],
)
def test_reading(one: Run, answers: list[int], outcome: str) -> None:
    """Whatever is missing, damaged, out of place or too much is not "reads"."""
    assert reading(one, answers, [BEFORE, AFTER]).startswith(outcome)


@pytest.mark.parametrize(
    ("one", "outcome"),
    [
        (run(ready(), BEFORE, ready("resumed"), MEANWHILE, AFTER), "resumes"),
        (run(ready(), BEFORE, ready("resumed"), BEFORE, MEANWHILE, AFTER), "gets events twice"),
        (run(ready(), BEFORE, ready("resumed"), AFTER), "has ['before', 'after']"),
        (run(ready(), BEFORE, ready("reset"), MEANWHILE, AFTER), "has ['before', 'meanwhile', 'after']"),
        (run(ready(), BEFORE, ready(), AFTER), "starts anew"),
        (run(ready(), BEFORE), "stays away"),
        (run(ready(), BEFORE, end="raises"), "raises"),
        (run(ready(), BEFORE, ready("resumed"), MEANWHILE, AFTER, end="closed"), "has ['before', 'meanwhile', 'after']"),
        (run(ready()), "has begun with ['fresh'], []"),
    ],
)
def test_coming_back(one: Run, outcome: str) -> None:
    """Only who has everything once has resumed."""
    assert coming_back(one).startswith(outcome)


def test_draining() -> None:
    """Who comes back without having been told to has not been told to."""
    events = [ready(), BEFORE, ready("resumed"), MEANWHILE, AFTER]
    assert draining(run(*events)).startswith("is not told")
    assert draining(run(*events[:2], control("reconnect", "shutdown"), *events[2:])) == "resumes"


def test_resetting() -> None:
    """Who is not told of the reset, or of another, is not "told"."""
    assert resetting(run(ready("reset"), control("reset", "unknown-id"), AFTER)) == "told"
    assert resetting(run(ready("reset"), control("reset", "epoch"), AFTER)) != "told"
    assert resetting(run(ready("fresh"), AFTER)) != "told"


@pytest.mark.parametrize(
    ("answers", "end", "outcome"),
    [
        ([401], "closed", "closed"),
        ([401, 401], "", "comes back for ever"),
        ([401], "", "stays away"),
        ([], "", "waits"),
        ([401, 401, 401], "closed", "closed after [401, 401, 401]"),
    ],
)
def test_refusing(answers: list[int], end: str, outcome: str) -> None:
    """Who stops has asked once; who asks again has not stopped."""
    assert refusing(run(end=end), answers, 401) == outcome


def test_expiring() -> None:
    """Who comes back with the expired token and stops is told from who stops at once."""
    closed = control("closed", "expired")
    assert expiring(run(ready(), closed, end="returns"), [200]) == "returns"
    assert expiring(run(ready(), closed, end="closed"), [200, 401]) == "401, then closed"
    assert expiring(run(ready(), closed), [200, 401, 401]) == "comes back for ever"
    assert expiring(run(ready(), end="closed"), [200]).startswith("is not told")
