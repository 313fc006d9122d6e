"""How a client sees a stream: filters, on the row before and after, and formats, over a real connection, live as replayed."""

import asyncio
from typing import Any

import pytest

from gateway.fanout.look import Look
from streams.filter import Filter
from tests.gateway.fanout.manual import Manual, manual
from tests.support import sse
from tests.support.gateway import Web, token, until, web
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]

FILTERED = "properties?city=eq.Austin&price=lt.11000000&format=raw"
CREEK = "123e4567-e89b-12d3-a456-426614174000"


async def _open(gateway: Web, path: str, sub: int = 1, role: str = "customer", since: str | None = None) -> sse.Stream:
    headers = {"Authorization": f"Bearer {token(sub, role)}"} | ({"Last-Event-ID": since} if since else {})
    stream = await gateway.request(f"/streams/{path}", headers)
    assert stream.status == 200, stream.body
    assert (await stream.next()).name == "ready"
    return stream


async def _do(bridge: Manual, *statements: str) -> None:
    for statement in statements:
        await bridge.connection.execute(statement)
    await bridge.sequencer.step()
    await bridge.publish()


def _told(events: list[sse.Event]) -> list[tuple[str, Any, Any]]:
    return [(event.data["type"], (event.data["record"] or {}).get("price"), event.data.get("left", False)) for event in events]


STEPS = (
    f"update properties set price = 10500000 where id = '{CREEK}'",
    f"update properties set price = 12000000 where id = '{CREEK}'",
    f"update properties set price = 12500000 where id = '{CREEK}'",
    f"update properties set price = 9000000 where id = '{CREEK}'",
    f"update properties set city = 'Dallas' where id = '{CREEK}'",
    f"update properties set city = 'Austin' where id = '{CREEK}'",
    f"delete from properties where id = '{CREEK}'",
    "insert into properties (name, city, state, price, units) values ('A', 'Austin', 'TX', 1, 1), ('B', 'Dallas', 'TX', 2, 2)",
)
SEEN = [
    ("UPDATE", 10500000, False),
    ("DELETE", None, True),
    ("INSERT", 9000000, False),
    ("DELETE", None, True),
    ("INSERT", 9000000, False),
    ("DELETE", None, False),
    ("INSERT", 1, False),
]


async def test_a_row_comes_to_pass_a_filter_and_no_longer_does(servers: Servers) -> None:
    """What enters is an INSERT without the row before, what leaves a DELETE of the key that says `left`; also replayed."""
    async with manual(servers) as bridge, web(servers) as gateway:
        live = await _open(gateway, FILTERED)
        for step in STEPS:
            await _do(bridge, step)
        events = await live.events(len(SEEN))
        assert _told(events) == SEEN
        assert events[1].data["old_record"] == {"id": CREEK}
        assert events[2].data["old_record"] is None
        assert [event.name for event in events[:3]] == ["property-updated", "property-deleted", "property-created"]
        for number, event in enumerate(events[:-1]):
            resumed = await _open(gateway, FILTERED, since=event.id)
            assert [each.raw for each in await resumed.events(len(SEEN) - number - 1)] == [each.raw for each in events[number + 1 :]]
            await resumed.close()
        await live.close()


async def test_filters_that_are_alike_are_evaluated_once(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many listen with filters that say the same, in whatever order and format: once for the row before, once for after."""
    admits, evaluated = Filter.admits, []

    def count(self: Filter, row: Any) -> bool:
        evaluated.append(row)
        return admits(self, row)

    monkeypatch.setattr(Filter, "admits", count)
    paths = ["properties?city=eq.Austin&units=gt.1", "properties?units=gt.1.0&city=eq.Austin&format=supabase"]
    async with manual(servers) as bridge, web(servers) as gateway:
        streams = await asyncio.gather(*(_open(gateway, path) for path in paths * 10))
        await _do(bridge, STEPS[0])
        for stream in streams:
            await stream.events(1)
            await stream.close()
    assert len(evaluated) == 2


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("properties?colour=eq.red", "column 'colour' cannot be filtered by"),
        ("bookings?notes=eq.x", "column 'notes' cannot be filtered by"),
        ("properties?price=eq.cheap", "price is numeric, and 'cheap' is not"),
        ("properties?price=between.1", "no operator 'between'"),
        ("properties?price=1", "write price=eq"),
        ("properties?format=xml", "unknown format 'xml'"),
        ("properties?", None),
        ("bookings,services?status=eq.x", "with several streams write bookings.status=eq"),
        ("bookings,services?payments.status=eq.x", "'payments' is none of the streams"),
        ("bookings,services?bookings.status=eq.x&services.price=gt.1", None),
        ("bookings?bookings.status=eq.x", None),
        ("system?id=eq.1%20or%201=1", "id is numeric"),
        ("properties?city=eq.'%3B%20drop%20table%20bookings", None),
    ],
)
async def test_what_is_asked_for(servers: Servers, path: str, says: str | None) -> None:
    """What is not understood is a 400 that names it; what is, is served."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        answer = await gateway.request(f"/streams/{path}", {"Authorization": f"Bearer {token(1)}"})
        if says is None:
            assert answer.status == 200
        else:
            assert answer.status == 400
            assert says in answer.body.decode()
        await answer.close()


async def test_several_streams_each_through_its_own(servers: Servers) -> None:
    """On several streams each has its filter, one without has none, and what is left out leaves no hole."""
    async with manual(servers) as bridge, web(servers) as gateway:
        stream = await _open(gateway, "bookings,services?services.price=gt.1000", since=None)
        await _do(bridge, "update services set price = 5 where id = 1", "update bookings set notes = 'x' where id = 1")
        await _do(bridge, "update services set price = 5000 where id = 1")
        events = await stream.events(2)
        assert [(event.name, event.data["type"]) for event in events] == [("bookings", "UPDATE"), ("services", "INSERT")]
        await until(lambda: {each.position for each in gateway.hub.roster.subscribers} == {bridge.place.position})
        await stream.close()


async def test_who_has_not_the_role_sees_what_is_public(servers: Servers) -> None:
    """Of the system's notices an admin gets all; others those that are public, whatever they ask for, and what becomes public is new."""
    ask = "system?public=is.false"
    async with manual(servers) as bridge, web(servers) as gateway:
        admin, user, asking = await _open(gateway, "system", 13, "admin"), await _open(gateway, "system"), await _open(gateway, ask)
        await _do(
            bridge,
            "insert into system_notices (title, body, public) values ('canary-1', 'secret', false), ('all', 'open', true)",
            "update system_notices set title = 'canary-2' where title = 'canary-1'",
            "update system_notices set public = true where title = 'canary-2'",
            "update system_notices set public = false, title = 'canary-3' where title = 'canary-2'",
            "insert into system_notices (title, public) values ('canary-4', false), ('the end', true)",
        )
        assert len(await admin.events(7)) == 7
        events = await user.events(4)
        told = [(event.data["type"], (event.data["record"] or {}).get("title"), event.data["old_record"]) for event in events]
        left = events[2].data["old_record"]
        assert told == [
            ("INSERT", "all", None),
            ("INSERT", "canary-2", None),
            ("DELETE", None, left),
            ("INSERT", "the end", None),
        ]
        assert list(left) == ["id"]
        assert not [
            word
            for word in ("canary-1", "canary-3", "canary-4", "secret")
            if word in "".join(event.raw for event in events[:1] + events[2:])
        ]
        await until(lambda: {each.position for each in gateway.hub.roster.subscribers} == {bridge.place.position})
        assert asking.heartbeats >= 0
        for stream in (admin, user, asking):
            await stream.close()


async def test_control_without_the_limit(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the filter of those without the role not applied, the canary would be seen: the check above can fail."""
    monkeypatch.setattr(Look, "see", lambda self, entry: entry)
    async with manual(servers) as bridge, web(servers) as gateway:
        user = await _open(gateway, "system")
        await _do(bridge, "insert into system_notices (title, public) values ('canary-1', false)")
        assert "canary-1" in (await user.events(1))[0].raw
        await user.close()


async def test_too_large_to_be_judged(servers: Servers) -> None:
    """A row that was too large to be carried goes as its key to who may have asked for it, and to nobody who may have no right to it."""
    async with manual(servers) as bridge, web(servers) as gateway:
        large = "repeat(md5(random()::text), 20000)"
        filtered, user = await _open(gateway, FILTERED), await _open(gateway, "system")
        await _do(bridge, f"update properties set name = {large} where id = '{CREEK}'")
        (event,) = await filtered.events(1)
        assert (event.data["truncated"], event.data["record"]) == (True, {"id": CREEK})
        await _do(bridge, f"insert into system_notices (title, public) values ({large}, true), ('small', true)")
        (event,) = await user.events(1)
        assert event.data["record"]["title"] == "small"
        for stream in (filtered, user):
            await stream.close()


@pytest.mark.parametrize(
    ("format", "has"), [("raw", "record"), ("diff", "changes"), ("supabase", "eventType"), ("cloudevents", "specversion")]
)
async def test_formats(servers: Servers, format: str, has: str) -> None:
    """Each format on a stream, live as replayed; a reset is the same in all."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        stream = await _open(gateway, f"bookings?format={format}")
        await bridge.change()
        (event,) = await stream.events(1)
        assert has in event.data
        if format == "cloudevents":
            assert event.data["id"] == event.id
        again = await _open(gateway, f"bookings?format={format}", since=f"{bridge.place.epoch}-1")
        assert (await again.events(1))[0].raw == event.raw
        await _do(bridge, "truncate bookings cascade")
        reset = await stream.next()
        assert (reset.name, reset.data["reason"]) == ("reset", "truncated")
        for each in (stream, again):
            await each.close()


async def test_properties_come_as_what_has_changed(servers: Servers) -> None:
    """Without a format a property's events are the second system's: their names, and only what has changed."""
    async with manual(servers) as bridge, web(servers) as gateway:
        stream = await _open(gateway, "properties")
        await _do(bridge, f"update properties set status = 'pending', price = 9800000 where id = '{CREEK}'")
        (event,) = await stream.events(1)
        assert event.name == "property-updated"
        assert event.data["property_id"] == CREEK
        assert event.data["changes"] == {"price": {"old": 10000000, "new": 9800000}, "status": {"old": "available", "new": "pending"}}
        await stream.close()
