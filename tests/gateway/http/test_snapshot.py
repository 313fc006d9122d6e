"""Snapshots: the rows that a user may see, then what comes after them, without a gap or a repeat."""

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest

import sql
from gateway.fanout import roster, snapshot
from gateway.fanout.archive import Archive, ArchiveUnavailable
from gateway.fanout.snapshot import Seen
from gateway.fanout.subscriber import State
from gateway.wire import Beat, Entry, decode, encode
from streams.payload import Change, Shape, deliveries
from tests.gateway.fanout.manual import Manual, manual
from tests.support import sinks, sse
from tests.support.gateway import Web, token, until, web
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]


async def open_snapshot(gateway: Web, path: str, sub: int = 1, role: str = "customer", since: str | None = None) -> sse.Stream:
    headers = {"Authorization": f"Bearer {token(sub, role)}"} | ({"Last-Event-ID": since} if since else {})
    stream = await gateway.request(f"/streams/{path}", headers)
    assert stream.status == 200, stream.body
    return stream


async def read_snapshot(stream: sse.Stream, streams: int = 1) -> tuple[dict[str, list[Any]], list[sse.Event]]:
    """Returns the rows by stream, and the pages, the last of which has an id to go on from."""
    rows: dict[str, list[Any]] = {}
    pages: list[sse.Event] = []
    while sum(page.data["done"] for page in pages) < streams:
        page = await stream.next()
        assert page.name == "snapshot", page
        rows.setdefault(page.data["stream"], []).extend(page.data["rows"])
        pages.append(page)
    assert {page.id for page in pages[:-1]} <= {"none-0"}
    return rows, pages


async def _ids(bridge: Manual, query: str) -> list[Any]:
    return [orjson.loads(row[0]) for row in await bridge.connection.fetch(f"select to_json(id)::text from {query} order by id")]


async def test_rows_then_what_comes_after(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ready`, the rows in pages, the last with the id from which the log goes on; a row is as the stream's events have it."""
    monkeypatch.setattr(snapshot, "PAGE_ROWS", 1)
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change(3)
        stream = await open_snapshot(gateway, "bookings?snapshot=1")
        ready = await stream.next()
        assert (ready.name, ready.data["status"], ready.id) == ("ready", "fresh", "none-0")
        rows, pages = await read_snapshot(stream)
        assert [row["id"] for row in rows["bookings"]] == await _ids(bridge, "bookings where customer_id = 1")
        assert len(pages) == len(rows["bookings"]) > 1
        assert pages[-1].id == f"{bridge.place.epoch}-3"
        await bridge.change()
        (event,) = await stream.events(1)
        assert event.data["old_record"] == rows["bookings"][0]
        await stream.close()
        again = await open_snapshot(gateway, "bookings?snapshot=1", since=pages[-1].id)
        assert (await again.next()).data["status"] == "resumed"
        assert (await again.next()).raw == event.raw
        await again.close()


@pytest.mark.parametrize(
    ("path", "sub", "role", "query"),
    [
        ("bookings", 2, "customer", "bookings where customer_id = 2"),
        ("provider-bookings", 9, "provider", "bookings where provider_id = 9"),
        ("payments", 1, "customer", "payments where booking_id in (select id from bookings where customer_id = 1)"),
        ("availability", 9, "provider", "availability where provider_id = 9"),
        ("notifications", 1, "customer", "notifications where user_id = 1"),
        ("services", 1, "customer", "services"),
        ("services?category=eq.repairs", 1, "customer", "services where category = 'repairs'"),
        ("services?active=is.true&price=gt.60", 1, "customer", "services where active and price > 60"),
        ("properties?city=eq.Austin&state=eq.TX&price=lt.11000000", 1, "customer", "properties where city = 'Austin' and price < 11000000"),
        ("properties?id=eq.123E4567-E89B-12D3-A456-426614174000", 1, "customer", "properties where id::text like '%4000'"),
        ("properties?city=eq.'%3B%20drop%20table%20bookings", 1, "customer", "properties where false"),
        ("property-alerts", 1, "customer", "property_alerts where 1 = any(user_ids)"),
        ("system", 1, "customer", "system_notices where public"),
        ("system?public=is.false", 1, "customer", "system_notices where false"),
        ("system", 13, "admin", "system_notices"),
        ("bookings", "01", "customer", "bookings where false"),
        ("bookings", "x' or '1'='1", "customer", None),
    ],
)
async def test_who_sees_which_rows(servers: Servers, path: str, sub: Any, role: str, query: str | None) -> None:
    """Of each stream the rows that are one's own, pass the filter, and that row-level security lets one see."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.connection.execute("update properties set status = 'pending' where city = 'Austin' and status = 'available'")
        await bridge.change()
        if query is None:
            answer = await gateway.request(f"/streams/{path}?snapshot=1", {"Authorization": f"Bearer {token(1, role)}"})
            await answer.close()
            return
        stream = await open_snapshot(gateway, path + ("&" if "?" in path else "?") + "snapshot=1", sub, role)
        assert (await stream.next()).name == "ready"
        rows, _ = await read_snapshot(stream)
        (found,) = rows.values()
        assert [row["id"] for row in found] == await _ids(bridge, query)
        await stream.close()


async def test_several_streams(servers: Servers) -> None:
    """Each stream's rows come whole, one stream after the other; only the last page has an id to go on from."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        stream = await open_snapshot(gateway, "bookings,notifications,services?snapshot=1&services.id=lt.3")
        assert (await stream.next()).name == "ready"
        rows, pages = await read_snapshot(stream, 3)
        assert [len(rows[name]) > 0 for name in ("bookings", "notifications", "services")] == [True] * 3
        assert [row["id"] for row in rows["services"]] == [1, 2]
        assert pages[-1].id == f"{bridge.place.epoch}-1"
        await stream.close()


async def _with_changes_that_wait(servers: Servers) -> list[str]:
    """Takes a snapshot while one change is committed and has no position yet, and another is not committed; returns what came after."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        writer: asyncpg.Connection[Any] = await servers.connect()
        async with writer.transaction():
            await writer.execute("update bookings set notes = 'open' where id = 2 and customer_id is not null")
            await bridge.connection.execute("update bookings set notes = 'committed' where id = 1")
            stream = await open_snapshot(gateway, "bookings,services?snapshot=1")
            assert (await stream.next()).name == "ready"
            rows, _ = await read_snapshot(stream, 2)
            assert rows["bookings"][0]["notes"] == "committed"
            await writer.execute("update services set name = 'open' where id = 1")
        await bridge.sequencer.step()
        await bridge.publish()
        await bridge.connection.execute("update services set name = 'later' where id = 1")
        await bridge.sequencer.step()
        await bridge.publish()
        came: list[str] = []
        while "later" not in came:
            (event,) = await stream.events(1)
            came.append(event.data["record"].get("name") or event.data["record"]["notes"])
        await stream.close()
        await writer.close()
        return came


async def test_what_the_snapshot_has_seen_does_not_come_again(servers: Servers) -> None:
    """What was committed before comes with the rows only, also when it gets its position later; what was open comes after them."""
    assert await _with_changes_that_wait(servers) == ["open", "later"]


async def test_control_what_was_seen_is_not_known(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were positions all that is looked at, what had none yet would come again."""
    monkeypatch.setattr(Seen, "has", lambda self, txid: False)
    assert await _with_changes_that_wait(servers) == ["committed", "open", "later"]


async def test_what_was_seen_is_forgotten(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once the bridge has said that nothing so old waits any more, a connection is like any other."""
    monkeypatch.setattr(roster, "_SETTLED_SECONDS", 0.0)
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        stream = await open_snapshot(gateway, "bookings?snapshot=1")
        assert (await stream.next()).name == "ready"
        await read_snapshot(stream)
        (subscriber,) = gateway.hub.roster.subscribers
        assert subscriber.seen is not None
        await until(lambda: subscriber.state is State.LIVE)
        await bridge.publish()
        await until(lambda: subscriber.seen is None)
        assert not gateway.hub.roster.joined
        await stream.close()


@pytest.mark.parametrize("reads", [False, True])
async def test_what_was_seen_is_not_forgotten_too_early(servers: Servers, monkeypatch: pytest.MonkeyPatch, reads: bool) -> None:
    """What came before the bridge says so is not told again, be it on its way to a connection, or in the log that it still reads."""
    monkeypatch.setattr(roster, "_SETTLED_SECONDS", 0.0)
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        await bridge.connection.execute("update bookings set notes = 'waits' where id = 1")
        stream = await open_snapshot(gateway, "bookings?snapshot=1")
        assert (await stream.next()).name == "ready"
        await read_snapshot(stream)
        (subscriber,) = gateway.hub.roster.subscribers
        await until(lambda: subscriber.state is State.LIVE)
        drained = asyncio.Event()
        if reads:
            sinks.replace_drained(monkeypatch, lambda _: drained.wait())
            subscriber.leave_to_log()
            gateway.hub._catch_up.go_on(subscriber)
        await bridge.sequencer.step()
        beat = gateway.hub.beat
        beats: list[int] = []

        def noted(each: Beat) -> bool:
            beats.append(each.position)
            return beat(each)

        monkeypatch.setattr(gateway.hub, "beat", noted)
        if reads:
            await bridge.publish()
            await until(lambda: 2 in beats)
        else:
            # Both in one read of the tail: nothing is flushed in between.
            entry, told = await _published(bridge)
            assert gateway.hub.dispatch(entry)
            gateway.hub.beat(told)
        drained.set()
        await until(lambda: subscriber.state is State.LIVE)
        await bridge.publish()
        await bridge.change()
        assert (await stream.events(1))[0].data["record"]["notes"] == "by hand 2"
        await until(lambda: subscriber.seen is None)
        await stream.close()


async def _published(bridge: Manual) -> tuple[Entry, Beat]:
    """Returns what Redis would be told next: the entry at the head of the log for booking 1's customer, and the beat behind it."""
    place = bridge.place
    rows = await bridge.connection.fetch(sql.statement("read_log"), place.position, 1, 2**30)
    change = Change.read(rows[0])
    row = await bridge.connection.fetchrow(sql.statement("shape"), rows[0]["shape"])
    assert row is not None
    (delivery,) = (each for each in deliveries(change, Shape.decode(row[0], row[1])) if each.channel == "bookings-changes-1")
    entry = decode(delivery.channel, place.position, encode(place.epoch, change, delivery))
    return entry, Beat(place.epoch, place.life, change.position, change.position, 0.0)


async def test_cut_before_the_snapshot_is_whole(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes back with the id of a page that was not the last begins anew, and gets all rows."""
    monkeypatch.setattr(snapshot, "PAGE_ROWS", 1)
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        stream = await open_snapshot(gateway, "bookings?snapshot=1")
        await stream.next()
        page = await stream.next()
        assert page.data["done"] is False
        await stream.close()
        again = await open_snapshot(gateway, "bookings?snapshot=1", since=page.id)
        assert (await again.next()).data["status"] == "fresh"
        rows, _ = await read_snapshot(again)
        assert len(rows["bookings"]) > 1
        await again.close()


async def test_a_reset_brings_a_snapshot(servers: Servers) -> None:
    """Where history cannot be completed, who asked for snapshots gets one in the same stream; who did not, the reset alone."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        asked, other = await open_snapshot(gateway, "bookings?snapshot=1"), await open_snapshot(gateway, "bookings")
        assert (await asked.next()).name == "ready"
        await read_snapshot(asked)
        await bridge.connection.execute("truncate bookings cascade")
        await bridge.connection.execute(
            "insert into bookings (id, customer_id, service_id, booking_date, start_time, end_time)"
            " values (77, 1, 1, now(), now(), now() + interval '1 hour')"
        )
        await bridge.sequencer.step()
        await bridge.publish()
        reset = await asked.next()
        assert (reset.name, reset.data["reason"], reset.id) == ("reset", "truncated", "none-0")
        rows, _ = await read_snapshot(asked)
        assert [row["id"] for row in rows["bookings"]] == [77]
        await bridge.change(booking=77)
        assert (await asked.events(1))[0].data["record"]["id"] == 77
        assert [(await other.next()).name for _ in range(4)] == ["ready", "reset", "bookings", "bookings"]
        for stream in (asked, other):
            await stream.close()


@pytest.mark.parametrize("since", ["nonsense", "abcd-5", "EPOCH-999"])
async def test_an_id_that_cannot_be_continued(servers: Servers, since: str) -> None:
    """`ready` says reset, the reset gives the reason, and the rows follow; until they are whole no id stands for anything."""
    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change()
        stream = await open_snapshot(gateway, "bookings?snapshot=1", since=since.replace("EPOCH", bridge.place.epoch))
        ready, reset = await stream.next(), await stream.next()
        assert (ready.data["status"], reset.name) == ("reset", "reset")
        assert (ready.id, reset.id) == ("none-0", "none-0")
        rows, pages = await read_snapshot(stream)
        assert rows["bookings"]
        assert pages[-1].id == f"{bridge.place.epoch}-1"
        await stream.close()


@pytest.mark.parametrize("browser", [False, True])
async def test_postgres_is_away(servers: Servers, monkeypatch: pytest.MonkeyPatch, browser: bool) -> None:
    """Without Postgres there are no snapshots: 503 with Retry-After, or for a browser a `reconnect`; who resumes from Redis is served."""

    async def away(self: Archive) -> Any:
        raise ArchiveUnavailable

    async with manual(servers) as bridge, web(servers) as gateway:
        await bridge.change(2)
        await until(lambda: gateway.hub.tail.connected)
        monkeypatch.setattr(Archive, "bounds", away)
        headers = {"Authorization": f"Bearer {token(1)}"} | ({"Sec-Fetch-Mode": "cors"} if browser else {})
        answer = await gateway.request("/streams/bookings?snapshot=1", headers)
        if browser:
            assert answer.status == 200
            assert b'event: reconnect\ndata: {"reason":"unavailable"' in answer.body
        else:
            assert (answer.status, 2 <= int(answer.headers["retry-after"]) <= 8) == (503, True)
        resumed = await open_snapshot(gateway, "bookings?snapshot=1", since=f"{bridge.place.epoch}-1")
        assert (await resumed.next()).data["status"] == "resumed"
        for stream in (answer, resumed):
            await stream.close()


async def test_the_role_is_missing(servers: Servers) -> None:
    """A role that does not exist is no reason to read without one: the stream ends, and says when to come back."""
    async with manual(servers) as bridge, web(servers, rls_role="nonesuch") as gateway:
        await bridge.change()
        stream = await open_snapshot(gateway, "bookings?snapshot=1")
        assert [(await stream.next()).name for _ in range(2)] == ["ready", "reconnect"]
        await stream.close()


async def test_control_without_row_level_security(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the rows read as somebody whom no policy concerns, a policy that hides a row would not be seen to work."""
    hide = "create policy hidden on bookings as restrictive for select to authenticated using (id <> 1)"
    for role, hidden in (("authenticated", True), ("postgres", False)):
        async with manual(servers) as bridge, web(servers, rls_role=role) as gateway:
            await bridge.connection.execute(f"drop policy if exists hidden on bookings; {hide}")
            await bridge.change()
            stream = await open_snapshot(gateway, "bookings?snapshot=1")
            await stream.next()
            rows, _ = await read_snapshot(stream)
            assert (1 not in [row["id"] for row in rows["bookings"]]) is hidden
            await stream.close()


@pytest.mark.parametrize(("path", "says"), [("bookings?snapshot=2", "snapshot is 1 or 0"), ("changes?snapshot=1", "has no snapshot")])
async def test_asked_for_wrongly(servers: Servers, path: str, says: str) -> None:
    """Anything but 1 and 0, and rows of a stream of every table, are a 400 that says so."""
    async with web(servers) as gateway:
        answer = await gateway.request(f"/streams/{path}", {"Authorization": f"Bearer {token(13, roles=['admin', 'customer'])}"})
        assert answer.status == 400
        assert says in answer.body.decode()


def test_seen() -> None:
    """As pg_visible_in_snapshot: below xmin all, from xmax on none, between all but those that were open."""
    seen = Seen.parse("10:20:12,15")
    assert [txid for txid in range(8, 23) if seen.has(txid)] == [8, 9, 10, 11, 13, 14, 16, 17, 18, 19]
    assert Seen.parse("10:10:").open == frozenset()
