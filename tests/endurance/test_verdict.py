"""The storm's checker sees what is wrong: each kind of fault is made, and found, and nothing else is."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.endurance.client import Client
from tests.endurance.history import Event, Events, History, digest, place
from tests.endurance.load import Load
from tests.endurance.verdict import Life, Verdict, judge
from tests.support import sse
from tests.support.ledger import Line

OWN = ("bookings-changes-7", "services-changes")
EPOCH = "abcd1234"


def _events(stream: str, *positions: int) -> Events:
    events = Events()
    for position in positions:
        events.add(Event(place(position, stream), digest(b"%d" % position)))
    return events


@pytest.fixture
def history() -> History:
    """Ten positions of two channels, and one of another user's."""
    channels = {
        "bookings-changes-7": _events("bookings", 1, 2, 4, 7, 8),
        "services-changes": _events("services", 3, 6, 9, 10),
        "bookings-changes-8": _events("bookings", 5),
    }
    return History(EPOCH, 10, channels)


def _life(history: History, after: int = 0) -> list[Event]:
    return [event for event in history.events(OWN) if event.position > after]


def _judged(history: History, *lives: tuple[int, list[Event]]) -> dict[str, int]:
    made = []
    for after, received in lives:
        life = Life(after)
        for event in received:
            life.events.add(event)
        made.append(life)
    verdict = judge("somebody", OWN, made, history).as_json()
    return {name: count for name, count in verdict.items() if count and name not in ("clients", "received", "examples")}


def test_all_is_right(history: History) -> None:
    """What the log has is what must be received, in one life or in several."""
    assert _judged(history, (0, _life(history))) == {}
    assert _judged(history, (4, _life(history, 4))) == {}
    assert _judged(history, (0, _life(history)[:3]), (8, _life(history, 8))) == {}


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (lambda events: events.pop(3), {"lost": 1}),
        (lambda events: events.pop(), {"lost": 1}),
        (lambda events: events.clear(), {"lost": 9}),
        (lambda events: events.insert(5, events[4]), {"doubled": 1}),
        (lambda events: events.append(events[0]), {"doubled": 1}),
        (lambda events: events.insert(2, events.pop(3)), {"disordered": 1}),
        (lambda events: events.insert(4, Event(place(5, "bookings"), digest(b"5"))), {"leaked": 1}),
        (lambda events: events.append(events.pop()._replace(digest=0)), {"lost": 1, "altered": 1}),
        (lambda events: events.append(events.pop()._replace(place=place(10, "services", marked=True))), {"lost": 1, "altered": 1}),
    ],
)
def test_control_faults_are_seen(history: History, tamper: Callable[[list[Event]], object], found: dict[str, int]) -> None:
    """An event that is missing, twice there, too early, another's, or other than it was is counted as just that."""
    events = _life(history)
    tamper(events)
    assert _judged(history, (0, events)) == found


def test_control_a_life_that_ended_early_is_no_excuse(history: History) -> None:
    """What a reset has skipped before the last event that came is lost; what lay behind it is the reset's matter."""
    events = _life(history)
    assert _judged(history, (0, [events[0], events[3]]), (8, _life(history, 8))) == {"lost": 2}


def test_positions_of_several_streams() -> None:
    """Of several events of one position all but the last are marked, as their ids are."""
    channels = {"bookings-changes-7": _events("bookings", 4), "provider-bookings-changes-7": _events("provider-bookings", 4)}
    received = [
        Event.of(Line(f"{EPOCH}-4-bookings", "bookings", "4")),
        Event.of(Line(f"{EPOCH}-4", "provider-bookings", "4")),
    ]
    assert History(EPOCH, 4, channels).events(list(channels)) == received
    with pytest.raises(ValueError, match="4-services"):
        Event.of(Line(f"{EPOCH}-4-services", "bookings", "4"))


@pytest.mark.parametrize(
    ("name", "data", "leaks"),
    [
        ("bookings", '{"record":{"notes":"note 1 for 7 and 9"}}', 0),
        ("bookings", '{"record":{"notes":"note 1 for 8 and 7"}}', 1),
        ("bookings", '{"record":{"notes":"note 1 for 7 and 9"},"old_record":{"notes":"note 1 for 8 and 9"}}', 1),
        ("services", '{"record":{"description":"note 1 for 7 and 7"}}', 1),
    ],
)
async def test_control_names_of_others_are_seen(name: str, data: str, leaks: int) -> None:
    """A row with another's name in it is counted, whatever channel it came by; so is what comes a second time."""

    class Shut:
        async def open(self, streams: str, sub: object, role: str | None, since: str | None, **claims: object) -> sse.Stream:
            raise ConnectionRefusedError

    client = Client(Shut(), "bookings,services", 7)
    for event in (sse.Event(f"{EPOCH}-3", "ready", {"status": "fresh"}, "{}"), sse.Event(f"{EPOCH}-4", name, {}, data)):
        client._take(event)
    assert len(client.leaks) == leaks
    history = History(EPOCH, 4, {f"{name}-changes{'-7' if name == 'bookings' else ''}": Events()})
    history.channels.popitem()[1].add(Event(place(4, name), digest(data.encode())))
    assert client.judged(history).leaked == leaks + 1, "what the log has not, on no channel of theirs, is another's"


def test_control_contradictions_are_seen() -> None:
    """What was acknowledged and is not in the log is told, and so is what is there and never was committed."""
    load = Load([1], [2], [3], 1)
    load.acknowledged.update({"note 1": 2, "note 2": 1})
    load.doubtful.update({"note 3": 2, "note 4": 2})
    assert load.contradictions(Counter({"note 1": 2, "note 2": 1, "note 3": 2})) == []
    assert len(load.contradictions(Counter({"note 1": 1, "note 2": 1}))) == 1
    assert len(load.contradictions(Counter({"note 1": 2, "note 2": 1, "note 3": 1}))) == 1
    assert len(load.contradictions(Counter({"note 1": 2, "note 2": 1, "note 9": 1}))) == 1


def test_verdicts_add_up() -> None:
    """The numbers of many are one number each."""
    whole = Verdict(clients=1, lost=2, examples=["a"])
    whole.add(Verdict(clients=1, lost=1, leaked=3, examples=["b"]))
    assert whole == Verdict(clients=2, lost=3, leaked=3, examples=["a", "b"])
