"""How long each part of a soak takes, and how much happens in it, for half an hour and for a minute."""

from dataclasses import dataclass
from typing import Any

LOG_ENTRIES = 200
"""Few, so that logs in Redis are full soon, and many an id is older than they."""
_SETTLING_SECONDS = 20.0
"""What it takes, about, until all have left after the warm-up."""


def _between(least: float, value: float, most: float) -> float:
    return max(least, min(value, most))


@dataclass(frozen=True)
class Pace:
    """Times are in seconds. `token` is how long the steady readers' tokens live, `idle` the most that a visitor rests between visits."""

    total: float
    warm_up: float
    churn: float
    calm: float
    sample: float
    retention: float
    token: float
    max_age: float
    visitors: int
    burst_pause: tuple[float, float]
    burst_rows: tuple[int, int]
    settling: float
    """The most that is waited until all have left, or until everything has come back."""
    rate: float = 100.0
    writers: int = 3
    idle: float = 1.0
    patience: float = 60.0
    """For what must come, where the machine is busy with others."""

    @staticmethod
    def of(minutes: float) -> "Pace":
        """Returns that of a soak of so many minutes, about: at least a minute."""
        total = max(60.0, minutes * 60)
        warm_up, calm = _between(10, 0.08 * total, 150), _between(12, 0.12 * total, 240)
        return Pace(
            total=total,
            warm_up=warm_up,
            churn=total - warm_up - calm - _SETTLING_SECONDS,
            calm=calm,
            sample=_between(1, total / 120, 5),
            retention=_between(30, total / 8, 120),
            token=_between(10, total / 20, 50),
            max_age=_between(10, total / 10, 90),
            visitors=round(_between(16, total / 30, 60)),
            burst_pause=(3.0, 8.0) if total < 300 else (10.0, 40.0),
            burst_rows=(100, 500) if total < 300 else (500, 2000),
            settling=_between(25, total / 6, 120),
        )

    def settings(self) -> dict[str, Any]:
        """Returns the environment of the cluster's processes: retention, tokens and ages short, and nobody refused for being many."""
        return {
            "ROWCAST_RETENTION": f"{self.retention:.0f}s",
            "ROWCAST_BACKLOG_ENTRIES": str(LOG_ENTRIES),
            "ROWCAST_HEARTBEAT": "2s",
            "ROWCAST_MAX_AGE": f"{self.max_age:.0f}s",
            "ROWCAST_MAX_TOKEN_LIFETIME": "60s",
            "ROWCAST_CONNECTIONS_PER_USER": "10000",
            "ROWCAST_DRAIN": "2s",
            "LOG_LEVEL": "warning",
        }
