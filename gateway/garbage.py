"""Python's garbage collector, for processes that hold many small things for long."""

import gc

_THRESHOLDS = (50_000, 20, 50)


def collect_rarely() -> None:
    """Leaves what is loaded out of collections, and collects rarely.

    With the defaults a web process that accepts thousands of connections spends a twentieth of its time on looking at those that
    it has, and the bridge a tenth on the rows under way. Nearly everything here is freed by reference counts.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
