"""Python's garbage collector, for processes that hold many small things for long."""

import asyncio
import gc

_THRESHOLDS = (50_000, 20, 50)
_EVERY_SECONDS = 60.0
_OLDER_TIMES = 10


def collect_rarely() -> None:
    """Leaves what is loaded out of collections, and collects rarely.

    With the defaults a web process that accepts thousands of connections spends a twentieth of its time on looking at those that
    it has, and the bridge a tenth on the rows under way. Nearly everything here is freed by reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


async def collect_now_and_then() -> None:
    """Collects what is young every minute, and what has outlived that every ten, until cancelled. What is older waits for Python's turn.

    By their number cycles are few, and it would take hours until 50,000 of them are collected. But some hold on to much: what is left of
    a connection to Postgres that broke has a TLS context.
    """
    times = 0
    while True:
        await asyncio.sleep(_EVERY_SECONDS)
        times += 1
        gc.collect(0 if times % _OLDER_TIMES else 1)
