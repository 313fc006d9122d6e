"""Whether endings, and those who come back, are spread as the settings say: bounds that a busy machine cannot break.

- A drain of `n` streams ends the k-th no earlier than at k/n of its window. That is a bound on how many have ended by any moment, and
  so on how many may come back; a machine that is late only makes it easier to keep. It is all that is said of the short window.
- What is late comes together: so the other bound, that no tenth of the window has more than half of all, is for a long window only,
  in which a machine would have to stand still for half of it.
- `retry` is between half a second and three. No tenth of that range is told to more than a third.
"""

from collections.abc import Sequence

from gateway.http.app import _DRAIN_SHARE
from tests.reliability.deploy.member import Told

RETRY_MS = (500, 3000)
_TENTHS = 10
_MOST_OF_RETRIES = 1 / 3
_MOST_OF_ENDINGS = 1 / 2
_GRAIN_SECONDS = 0.05
"""A timer may be as early as its clock is coarse."""


def early(moments: Sequence[float], began: float, window_seconds: float) -> int:
    """Returns how many moments are earlier than if they were spread evenly over a window from `began` on."""
    return sum(moment < began + window_seconds * number / len(moments) - _GRAIN_SECONDS for number, moment in enumerate(sorted(moments)))


def fullest(values: Sequence[float], low: float, high: float) -> float:
    """Returns which share of the values lies in the fullest tenth of a range; what is outside counts for the nearest."""
    counts = [0] * _TENTHS
    for value in values:
        counts[min(_TENTHS - 1, max(0, int((value - low) / (high - low) * _TENTHS)))] += 1
    return max(counts) / len(values)


def faults(told: Sequence[Told], came: Sequence[float], began: float, drain_seconds: float, *, late: bool = False) -> list[str]:
    """Says how those who were told to come back, and who came, since a SIGTERM at `began` were not spread; nothing is right.

    `late` is the bound for long windows too.
    """
    window = drain_seconds * _DRAIN_SHARE
    ends, retries = [each.at for each in told], [each.retry_ms for each in told]
    found = []
    if count := early(ends, began, window):
        found.append(f"{count} of {len(ends)} were ended too early")
    if count := early(came, began + RETRY_MS[0] / 1000, window):
        found.append(f"{count} of {len(came)} came back too early")
    if not RETRY_MS[0] <= min(retries) <= max(retries) <= RETRY_MS[1]:
        found.append(f"retry is between {min(retries)} and {max(retries)} ms")
    if (share := fullest(retries, *RETRY_MS)) > _MOST_OF_RETRIES:
        found.append(f"{share:.0%} were told to wait equally long")
    if late and (share := fullest(ends, began, began + window)) > _MOST_OF_ENDINGS:
        found.append(f"{share:.0%} were ended in one tenth of the window")
    return found
