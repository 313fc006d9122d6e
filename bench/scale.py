"""How long each part may take."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Seconds and counts of a run; what depends on the machine ends within `total_seconds`."""

    total_seconds: int
    bell_rounds: int
    bell_bridge_rounds: int
    bell_seconds: int
    delay_seconds: float
    lone_changes: int
    ramp_from: int
    ramp_seconds: int
    ramp_bisections: int
    ramp_limit_seconds: int
    sustain_seconds: int
    step_rounds: int
    old_snapshot_changes: int
    large_transaction: int
    edge_clients: tuple[int, ...]
    edge_seconds: float
    apart_clients: int
    apart_seconds: float
    stalled_seconds: float
    storm_clients: int


FULL = Scale(1_500, 4, 2, 2, 10.0, 20, 1_000, 4, 2, 30, 10, 100, 200_000, 1_000_000, (1_000, 5_000, 10_000), 4.0, 10_000, 8.0, 8.0, 10_000)
QUICK = Scale(300, 1, 1, 2, 4.0, 5, 1_000, 2, 0, 7, 4, 20, 30_000, 50_000, (1_000,), 2.0, 2_000, 3.0, 3.0, 2_000)
