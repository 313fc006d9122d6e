"""How long to wait before the next attempt: full jitter, so that those who failed together do not come back together."""

import random


def pause(failures: int, base_seconds: float, most_seconds: float) -> float:
    """Returns a random number of seconds up to a bound that doubles with each failure."""
    return random.uniform(0, min(most_seconds, base_seconds * 2 ** min(failures, 16)))
