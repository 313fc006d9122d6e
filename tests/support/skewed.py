"""A process whose clock is wrong: `python -m tests.support.skewed FILE COMMAND …` runs `rowcast COMMAND …`.

The wall clock is off by so many seconds as FILE says at that moment, so that it can jump; the monotonic one is right, as on a
machine whose clock is set. Postgres and Redis have clocks of their own.
"""

import datetime as datetimes
import sys
import time
from pathlib import Path
from typing import Any

import jwt.api_jwt


def skew(path: Path) -> None:
    """Makes the wall clock of this process wrong."""
    true_time = time.time

    def offset() -> float:
        return float(path.read_text())

    class Skewed(datetimes.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().now(tz) + datetimes.timedelta(seconds=offset())

    def skewed_time() -> float:
        return true_time() + offset()

    time.time = skewed_time
    jwt.api_jwt.datetime = Skewed  # type: ignore[attr-defined]


def command(path: Path, *args: str) -> list[str]:
    """Returns what starts such a process."""
    return [sys.executable, "-m", "tests.support.skewed", str(path), *args]


if __name__ == "__main__":
    skew(Path(sys.argv[1]))
    sys.argv[1:] = sys.argv[2:]
    from gateway.cli import main

    main()
