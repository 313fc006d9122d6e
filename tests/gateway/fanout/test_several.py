"""Rows with several owners, which Redis has once: each owner gets what is theirs, live, from Redis, from Postgres, after a hole."""

import random
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from gateway.fanout import hub as hubs
from gateway.fanout.roster import Roster
from gateway.fanout.tail import Tail
from gateway.wire import Entry
from streams.payload import Change, Shape, deliveries
from tests.gateway.fanout.manual import Manual, manual
from tests.support import sse
from tests.support.gateway import Web, until, web
from tests.support.proxy import proxied
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]

_USERS = (1, 2, 3)
_ADD = """
insert into property_alerts (property_id, kind, city, state, name, price, status, user_ids)
values (gen_random_uuid(), 'price', 'Austin', 'TX', $1, 1, 'available', $2)
"""
Told = tuple[int, str, Any]


async def _alert(bridge: Manual, count: int) -> None:
    """Makes, changes and deletes alerts, for whom they are included, and gives them positions; Redis knows nothing of them yet."""
    for number in range(count):
        owners = random.sample((1, 2, 3, 4, 5, 6), random.randint(0, 4))
        match random.choice("iiuuud"):
            case "i":
                await bridge.connection.execute(_ADD, f"by hand {number}", owners)
            case "u":
                await bridge.connection.execute(
                    "update property_alerts set user_ids = $1, price = price + 1 where id = (select max(id) from property_alerts)", owners
                )
            case "d":
                await bridge.connection.execute("delete from property_alerts where id = (select min(id) from property_alerts)")
    await bridge.sequencer.step()


async def _expected(bridge: Manual, user: int, after: int = 0) -> list[Told]:
    """Returns what the log has for a user, position by position."""
    rows = await bridge.connection.fetch(
        "select *, txid::text::bigint as number from rowcast.log where position > $1 order by position", after
    )
    found = []
    for row in rows:
        shape = await bridge.connection.fetchrow("select relation, streams from rowcast.shape where shape = $1", row["shape"])
        assert shape is not None
        change = Change.read(dict(row) | {"txid": row["number"]})
        channel = f"property-alerts-{user}"
        told = deliveries(change, Shape.decode(shape["relation"], shape["streams"]), frozenset({channel}))
        found += [(change.position, each.kind, orjson.loads(each.data)) for each in told if each.channel == channel]
    return found


async def _received(stream: sse.Stream, expected: list[Told]) -> None:
    """Reads as many events as are expected, and sees that they are these."""
    events = await stream.events(len(expected))
    assert [(event.position, event.data["type"], event.data) for event in events] == expected


async def test_live(servers: Servers) -> None:
    """Each gets theirs in order, with other streams between or without; who owns nothing gets nothing."""
    async with manual(servers) as bridge, web(servers) as gateway:
        streams = {user: await gateway.open("property-alerts", user) for user in (*_USERS, 99)}
        several = await gateway.open("bookings,property-alerts", 1)
        for stream in (*streams.values(), several):
            await stream.until("ready")
        for _ in range(10):
            await _alert(bridge, 3)
            await bridge.change()
        await bridge.publish()
        for user in _USERS:
            await _received(streams[user], await _expected(bridge, user))
        of_alerts = [told[0] for told in await _expected(bridge, 1)]
        both = await several.events(len(of_alerts) + 10)
        assert [event.position for event in both if event.name == "property-alert"] == of_alerts
        assert [event.position for event in both] == sorted(event.position for event in both)
        with pytest.raises(TimeoutError):
            await streams[99].events(1, within=0.2)
        for stream in (*streams.values(), several):
            await stream.close()


@pytest.mark.parametrize(("entries", "source"), [(1000, "redis"), (1, "postgres")])
async def test_resume(servers: Servers, entries: int, source: str) -> None:
    """From any position on each gets all that was theirs since, from Redis, or from Postgres where Redis has it no longer."""
    async with manual(servers, entries) as bridge, web(servers) as gateway:
        await bridge.change()
        await _alert(bridge, 250)
        await bridge.publish()
        await until(lambda: gateway.hub.roster.position == bridge.place.position)
        for user in _USERS:
            for since in (1, 3, 50, 100):
                async with gateway.stream("property-alerts", user, since=f"{bridge.place.epoch}-{since}") as stream:
                    assert (await stream.next()).data["status"] == "resumed"
                    await _received(stream, await _expected(bridge, user, since))
        assert _resumes(gateway, source) == len(_USERS) * 4


def _resumes(gateway: Web, source: str) -> float:
    return gateway.app.state.meter.registry.get_sample_value("rowcast_resumes_total", {"kind": source}) or 0.0


@pytest.fixture
def owners_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody in this process is told of what has several owners."""

    def nobody(self: Roster, entry: Entry) -> Iterator[Any]:
        return iter(())

    monkeypatch.setattr(Roster, "owners", nobody)


async def _missed(servers: Servers, monkeypatch: pytest.MonkeyPatch, within: float = 20) -> bool:
    """Cuts the tail while alerts are published; says whether all have come afterwards, what was live and what was read."""
    async with proxied(servers.redis_url) as proxy, manual(servers) as bridge:
        monkeypatch.setattr(hubs, "Tail", lambda url, hub: Tail(proxy.url(url), hub))
        async with web(servers) as gateway, gateway.stream("property-alerts", 1) as one, gateway.stream("property-alerts", 2) as other:
            for stream in (one, other):
                await stream.until("ready")
            for _ in range(3):
                await _alert(bridge, 5)
                await bridge.publish()
                proxy.refuse = True
                proxy.cut()
                await _alert(bridge, 5)
                await bridge.publish()
                proxy.heal()
                await until(lambda: gateway.hub.tail.connected)
                await _alert(bridge, 5)
                await bridge.publish()
            try:
                for user, stream in ((1, one), (2, other)):
                    events = await stream.events(len(expected := await _expected(bridge, user)), within)
                    assert [(event.position, event.data["type"], event.data) for event in events] == expected
            except TimeoutError:
                return False
            return True


async def test_a_hole_is_repaired(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was published while the tail was cut off comes before what came after it."""
    assert await _missed(servers, monkeypatch)


@pytest.mark.usefixtures("owners_forgotten")
async def test_control_owners_are_forgotten(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the owners not looked up, the same test would miss events."""
    assert not await _missed(servers, monkeypatch, within=5)
