"""What admins are told: open connections, the state of the whole; and how they end one."""

import re
from dataclasses import replace

import orjson
import pytest
from structlog.testing import capture_logs

from tests.gateway.fanout.manual import manual
from tests.gateway.http.ask import ask, told
from tests.support.gateway import Web, bridge, gateway, token, until, web
from tests.support.proxy import proxied
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]


async def test_connections(servers: Servers) -> None:
    """Whose streams, of what, since when, from where, how far, until when; and of one user only; and nothing of their tokens."""
    given = token(1, jti="a-canary", email="canary@example.org")
    async with manual(servers) as by_hand, web(servers) as each:
        assert await told(each, "/admin/connections") == {
            "connections": [],
            "total": 0,
            "truncated": False,
            "processes": 1,
            "complete": True,
        }
        mine = await each.request("/streams/bookings,properties", {"Authorization": f"Bearer {given}"})
        connection = (await mine.until("ready")).data["connection"]
        await by_hand.change()
        (event,) = await mine.events(1)
        async with each.stream("services?format=cloudevents", 9, "provider") as other:
            await other.until("ready")
            answer = await told(each, "/admin/connections")
            assert (answer["total"], len(answer["connections"]), answer["truncated"], answer["complete"]) == (2, 2, False, True)
            assert {one["subject"]: one["format"] for one in answer["connections"]} == {"1": None, "9": "cloudevents"}
            (one,) = (await told(each, "/admin/connections?sub=1"))["connections"]
            moments = one.pop("since"), one.pop("expires_at")
            assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment) for moment in moments)
            assert moments[0] < moments[1]
            assert one == {
                "connection": connection,
                "subject": "1",
                "streams": ["bookings", "properties"],
                "format": None,
                "state": "live",
                "address": "127.0.0.1",
                "position": event.id,
            }
            assert (await told(each, "/admin/connections?sub=2"))["connections"] == []
            body = (await ask(each, "/admin/connections")).body
            assert b"canary" not in body
            assert not [part for part in given.split(".") if part.encode() in body]
        await mine.close()
        await until(lambda: not each.hub.roster.subscribers)
        assert (await told(each, "/admin/connections"))["total"] == 0


async def test_at_most_a_thousand(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be more than are told: then it says so."""
    monkeypatch.setattr("gateway.fanout.census.MOST", 2)
    async with gateway(servers) as each:
        streams = [await each.open() for _ in range(3)]
        answer = await told(each, "/admin/connections")
        assert (len(answer["connections"]), answer["total"], answer["truncated"]) == (2, 3, True)
        assert (await told(each, "/admin/state"))["streams"] == {"bookings": 3}
        for stream in streams:
            await stream.close()


async def test_disconnect(servers: Servers) -> None:
    """An ended stream says `reconnect`, reason `admin`; with the id that it has its client goes on where it was."""
    async with manual(servers) as by_hand, web(servers) as each, each.stream() as stream, each.stream() as other:
        connection = (await stream.until("ready")).data["connection"]
        await other.until("ready")
        await by_hand.change()
        await stream.events(1)
        with capture_logs() as lines:
            assert (await ask(each, f"/admin/connections/{connection}", method="DELETE")).status == 204
        end = await stream.next()
        assert (end.name, end.data["reason"]) == ("reconnect", "admin")
        assert 500 <= end.data["retry"] <= 3000
        with pytest.raises(EOFError):
            await stream.next()
        assert ("disconnected", "13", connection) in [(line["event"], line.get("by"), line.get("connection")) for line in lines]
        await by_hand.change()
        assert len(await other.events(2)) == 2
        async with each.stream(since=end.id) as again:
            assert (await again.until("ready")).data["status"] == "resumed"
            assert (await again.events(1))[0].position == by_hand.place.position
        assert each.app.state.meter.registry.get_sample_value("rowcast_endings_total", {"reason": "admin"}) == 1
        assert (await ask(each, f"/admin/connections/{connection}", method="DELETE")).status == 404


async def test_who_looks_is_written_down(servers: Servers) -> None:
    """Who has asked about whom is in the log, and no token."""
    async with gateway(servers) as each:
        with capture_logs() as lines:
            await told(each, "/admin/connections?sub=7")
            await told(each, "/admin/explain?sub=7&stream=bookings&id=none-1")
    said = {line["event"]: line for line in lines}
    assert (said["connections listed"]["by"], said["connections listed"]["subject"]) == ("13", "7")
    assert (said["explained"]["by"], said["explained"]["subject"], said["explained"]["verdict"]) == ("13", "7", "not-found")
    assert token(13, "admin").split(".")[2] not in repr(lines)


async def test_state(servers: Servers) -> None:
    """The numbers are those of /readyz, of the bridge's beat, of Redis and of the outbox."""
    async with manual(servers) as by_hand, web(servers) as each, each.stream("bookings,services") as stream:
        await stream.until("ready")
        await by_hand.change()
        await until(lambda: each.hub.last_beat is not None and each.hub.last_beat.position == by_hand.place.position)
        await by_hand.connection.execute("update bookings set notes = notes where id in (1, 2)")
        state = await told(each, "/admin/state")
        assert state["components"] == orjson.loads((await ask(each, "/readyz")).body)["components"]
        assert state["bridge"].pop("silent_seconds") >= 0
        assert state["bridge"].pop("lag_seconds") >= 0
        assert state["bridge"] == {
            "epoch": by_hand.place.epoch,
            "position": by_hand.place.position,
            "head": by_hand.place.position,
            "lag_positions": 0,
        }
        assert state["outbox"]["depth"] == 2
        assert state["outbox"]["oldest_seconds"] > 0
        assert state["redis"]["up"] is True
        assert state["redis"]["memory_bytes"] > 100_000
        assert state["postgres"] == {"up": True}
        assert (state["connections"], state["streams"], state["processes"]) == (1, {"bookings": 1, "services": 1}, 1)
        await by_hand.sequencer.step()
        assert (await told(each, "/admin/state"))["outbox"] == {"depth": 0, "oldest_seconds": 0}
        await by_hand.publisher.beat()
        await until(lambda: each.hub.last_beat is not None and each.hub.last_beat.head == by_hand.place.position + 2)
        assert (await told(each, "/admin/state"))["bridge"]["lag_positions"] == 2


async def test_an_open_transaction_is_not_waiting(servers: Servers) -> None:
    """What is not committed is nobody's to count; once it is, it counts, however long ago it began."""
    async with manual(servers) as by_hand, web(servers) as each:
        writer = await servers.connect()
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute("update bookings set notes = 'open' where id = 3")
        await by_hand.change()
        assert (await told(each, "/admin/state"))["outbox"]["depth"] == 0
        await transaction.commit()
        assert (await told(each, "/admin/state"))["outbox"]["depth"] == 1
        await writer.close()


async def test_postgres_is_away(servers: Servers) -> None:
    """The state is told without the outbox, connections as ever; why an event came cannot be said, and when to ask again is."""
    async with bridge(servers), web(servers) as each:
        each.app.state.inquiry._archive._pool._url = "postgresql://127.0.0.1:1/nowhere"
        assert (await told(each, "/admin/state"))["outbox"] is None
        assert (await told(each, "/admin/connections"))["complete"] is True
        answer = await ask(each, "/admin/explain?sub=1&stream=bookings&id=abcd-1")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")


async def test_redis_is_away(servers: Servers) -> None:
    """Nobody can be asked or told then, and when to come back is said; the state is told of this process alone."""
    async with (
        proxied(servers.redis_url) as proxy,
        bridge(servers),
        web(replace(servers, redis_url=proxy.url(servers.redis_url))) as each,
        each.stream() as stream,
    ):
        await stream.until("ready")
        proxy.refuse = True
        proxy.cut()
        await until(lambda: not each.hub.tail.connected)
        for method, path in (("GET", "/admin/connections"), ("DELETE", f"/admin/connections/{'0' * 16}")):
            answer = await ask(each, path, method=method)
            assert (answer.status, answer.headers["retry-after"]) == (503, "5"), path
        state = await told(each, "/admin/state")
        assert (state["components"]["redis"], state["redis"]) == ("down", {"up": False, "memory_bytes": None})
        assert (state["connections"], state["streams"], state["processes"], state["complete"]) == (1, {"bookings": 1}, 1, False)
        (mine,) = each.hub.roster.subscribers
        assert (await ask(each, f"/admin/connections/{mine.connection}", method="DELETE")).status == 204
        assert (await stream.until("reconnect")).data["reason"] == "admin"
        proxy.heal()
        await until(lambda: _complete(each))


async def _complete(web: Web) -> bool:
    """Connections that were cut are noticed one by one."""
    answer = await ask(web, "/admin/connections")
    return answer.status == 200 and orjson.loads(answer.body)["complete"]
