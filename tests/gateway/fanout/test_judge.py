"""Row-level security on each delivery: what Postgres does not let a user see now is not told, live or replayed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from gateway.fanout.judge import Judge
from gateway.fanout.page import Page
from gateway.fanout.subscriber import Subscriber
from streams.catalog import Catalog, load
from tests.gateway.fanout.manual import Manual, manual
from tests.support import sse
from tests.support.gateway import Web, until, web
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]

GUARDED = Catalog([replace(each, rls=each.name == "services") for each in load("streams").values()])
HIDE = "create policy hidden on services as restrictive for select to authenticated using (name <> 'hidden')"


@asynccontextmanager
async def _listening(servers: Servers, streams: str = "services", policy: str = HIDE) -> AsyncIterator[tuple[Manual, Web, sse.Stream]]:
    async with manual(servers) as bridge, web(servers, GUARDED) as gateway:
        await bridge.connection.execute(policy)
        await bridge.change()
        async with gateway.stream(streams, 1) as stream:
            assert (await stream.next()).name == "ready"
            yield bridge, gateway, stream


async def _do(bridge: Manual, *statements: str) -> None:
    for statement in statements:
        await bridge.connection.execute(statement)
    await bridge.sequencer.step()
    await bridge.publish()


def _told(events: list[sse.Event]) -> list[tuple[str, int, bool]]:
    return [(e.data["type"], (e.data["record"] or e.data["old_record"])["id"], e.data.get("left", False)) for e in events]


STEPS = (
    "insert into services (id, name, category, price) values (70, 'open', 'x', 1), (71, 'hidden', 'canary-1', 1)",
    "update services set description = 'canary-2' where id = 71",
    "update services set name = 'hidden', description = 'canary-3' where id = 70",
    "update services set name = 'open again', description = '' where id = 70",
    "delete from services where id in (70, 71)",
)


async def test_what_is_hidden_now_is_not_told(servers: Servers) -> None:
    """A row that a policy hides is not told of; one that it comes to hide has left; of the row before there is the key alone."""
    async with _listening(servers) as (bridge, gateway, stream):
        since = f"{bridge.place.epoch}-{bridge.place.position}"
        for step in STEPS:
            await _do(bridge, step)
            await until(lambda: {s.position for s in gateway.hub.roster.subscribers} == {bridge.place.position})
        events = await stream.events(6)
        assert _told(events) == [
            ("INSERT", 70, False),
            ("DELETE", 71, True),
            ("DELETE", 70, True),
            ("UPDATE", 70, False),
            ("DELETE", 70, False),
            ("DELETE", 71, False),
        ]
        assert [list(event.data["old_record"]) for event in events[1:]] == [["id"]] * 5
        assert "canary" not in "".join(event.raw for event in events)
        # With the rights of now: nothing of rows that have gone but their keys.
        async with gateway.stream("services", 1, since=since) as again:
            assert {event.data["type"] for event in await again.events(5)} == {"DELETE"}


async def test_control_without_the_judge(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were nothing judged, the canaries would be seen."""

    async def all_of_it(self: Judge, subscriber: Subscriber, page: Page) -> Page:
        return page

    monkeypatch.setattr(Judge, "judged", all_of_it)
    async with _listening(servers) as (bridge, _, stream):
        await _do(bridge, STEPS[0])
        assert "canary" in "".join(event.raw for event in await stream.events(2))


async def test_a_policy_that_fails_means_no(servers: Servers) -> None:
    """An error inside a policy is a no, and the stream goes on."""
    failing = "create policy hidden on services as restrictive for select to authenticated using (1 / (id - 70) <> 5)"
    async with _listening(servers, "bookings,services", failing) as (bridge, _, stream):
        await _do(bridge, STEPS[0], "update bookings set notes = 'x' where id = 1")
        (event,) = await stream.events(1)
        assert event.name == "bookings"


async def test_postgres_is_away(servers: Servers) -> None:
    """Where nobody can judge nothing is told: the stream ends, and says when to come back."""
    async with _listening(servers) as (bridge, gateway, stream):
        gateway.hub._catch_up._judge._pool._url = "postgresql://127.0.0.1:1/nowhere"
        await _do(bridge, STEPS[0])
        event = await stream.next()
        assert (event.name, event.data["reason"]) == ("reconnect", "unavailable")


@pytest.mark.parametrize("setting", ["timezone = 'Asia/Tokyo'", "datestyle = 'German'", "extra_float_digits = 0"])
async def test_settings_of_the_server(servers: Servers, setting: str) -> None:
    """However a server renders by itself, a row that has not changed since is told whole."""
    guarded = Catalog([replace(each, rls=each.name == "bookings") for each in load("streams").values()])
    async with manual(servers) as bridge:
        name = await bridge.connection.fetchval("select quote_ident(current_database())")
        await bridge.connection.execute(f"alter database {name} set {setting}")
        await bridge.change()
        async with web(servers, guarded) as gateway, gateway.stream("bookings", 1) as stream:
            assert (await stream.next()).name == "ready"
            await bridge.change()
            (event,) = await stream.events(1)
    assert (event.data["type"], event.data["record"]["notes"], event.data.get("truncated")) == ("UPDATE", "by hand 2", None)


async def test_many_at_once(servers: Servers) -> None:
    """However many changes come at once, a page is judged by one question, and nothing is missing or out of order."""
    async with _listening(servers) as (bridge, _, stream):
        await _do(bridge, "insert into services (id, name, category, price) select n, 'many', 'x', 2 from generate_series(100, 999) n")
        await _do(bridge, "update services set price = 1 where name = 'many'")
        events = await stream.events(1800)
        assert [event.data["record"]["id"] for event in events] == [*range(100, 1000), *range(100, 1000)]
