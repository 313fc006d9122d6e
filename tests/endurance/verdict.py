"""What is wrong with what a client has received, in numbers: the log says what it must have been."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import Any

from tests.endurance.history import Event, Events, History

_EXAMPLES = 5


@dataclass
class Life:
    """What a client has received since it began afresh at a position."""

    after: int
    events: Events = field(default_factory=Events)


@dataclass
class Verdict:
    """How many events were received, and how many of them, or in place of them, were wrong."""

    clients: int = 0
    received: int = 0
    lost: int = 0
    doubled: int = 0
    disordered: int = 0
    leaked: int = 0
    """An event of a channel that is not the client's, or a row with another's name in it."""
    altered: int = 0
    """An event that the log has otherwise: in its data, or in its id."""
    malformed: int = 0
    """What no client should have to read."""
    resets: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, other: "Verdict") -> None:
        """Adds another's numbers."""
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)
        del self.examples[4 * _EXAMPLES :]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def judge(name: str, channels: Sequence[str], lives: Sequence[Life], history: History) -> Verdict:
    """Compares a client's lives with the log: each must have all that came after its beginning, the last of them to the end of the log."""
    verdict = Verdict(clients=1)
    expected = history.events(channels)
    for number, life in enumerate(lives):
        received = life.events.all()
        end = history.head if number == len(lives) - 1 else max((event.position for event in received), default=0)
        wanted = [event for event in expected if life.after < event.position <= end]
        verdict.received += len(received)
        if received != wanted:
            _compare(f"{name}, after {life.after}", received, wanted, verdict)
    return verdict


def _compare(name: str, received: Sequence[Event], wanted: Sequence[Event], verdict: Verdict) -> None:
    counted, right = Counter(received), set(wanted)
    positions = {event.position for event in wanted}
    lost = [event for event in wanted if event not in counted]
    doubled = [event for event, count in counted.items() for _ in range(count - 1)]
    strange = [event for event in counted if event not in right]
    leaked = [event for event in strange if event.position not in positions]
    firsts = list(dict.fromkeys(received))
    disordered = [event for before, event in pairwise(firsts) if event.place < before.place]
    verdict.lost += len(lost)
    verdict.doubled += len(doubled)
    verdict.leaked += len(leaked)
    verdict.altered += len(strange) - len(leaked)
    verdict.disordered += len(disordered)
    for what, events in (("lost", lost), ("doubled", doubled), ("strange", strange), ("disordered", disordered)):
        if events and len(verdict.examples) < _EXAMPLES:
            verdict.examples.append(f"{name}: {len(events)} {what}, at {[event.position for event in events[:5]]}")
