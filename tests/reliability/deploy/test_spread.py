"""The bounds of a drain, on moments that are given: what is spread keeps them, and what is not does not."""

import random

from tests.reliability.deploy import spread
from tests.reliability.deploy.member import Told

N, DRAIN = 1000, 10.0
WINDOW = 8.0


def _told(at: list[float], chance: random.Random) -> list[Told]:
    return [Told(each, "shutdown", chance.randint(500, 3000)) for each in at]


def _faults(at: list[float], told: list[Told]) -> list[str]:
    came = [each.at + each.retry_ms / 1000 for each in told]
    return spread.faults(told, came, 100.0, DRAIN, late=True)


def test_spread(chance: random.Random) -> None:
    """Endings that keep to their schedule, or are late, are spread, also where a third of them is late at once."""
    schedule = [100 + WINDOW * number / N for number in range(N)]
    stalled = [max(each, 104.0) if each > 101.5 else each for each in schedule]
    for at in (schedule, [each + chance.uniform(0, 1) for each in schedule], stalled):
        assert _faults(at, _told(at, chance)) == []


def test_control_not_spread(chance: random.Random) -> None:
    """Endings at once, in the first half, or all at the end are not."""
    at_once = [100 + number / N for number in range(N)]
    hurried = [100 + WINDOW / 2 * number / N for number in range(N)]
    last = [100 + WINDOW - 0.1] * N
    for at, fault in ((at_once, "too early"), (hurried, "too early"), (last, "in one tenth")):
        assert any(fault in each for each in _faults(at, _told(at, chance)))


def test_control_same_retry() -> None:
    """Endings that are spread, and all say the same `retry`, are not spread when they come back."""
    at = [100 + WINDOW * number / N for number in range(N)]
    assert _faults(at, [Told(each, "shutdown", 1000) for each in at]) == ["100% were told to wait equally long"]
