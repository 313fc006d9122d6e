"""Who is let in: so many streams of a user, so many attempts of an address, and what those get who come then."""

import asyncio
from collections.abc import Mapping

import pytest
from redis.asyncio import Redis

from gateway.http.gate import Gate
from tests.support import sse
from tests.support.gateway import Web, bridge, token, until, web
from tests.support.proxy import proxied
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]

_EVENT_SOURCE = {"Accept": "text/event-stream", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}


async def _open(gateway: Web, sub: int = 1, path: str = "bookings", more: Mapping[str, str] = {}) -> sse.Stream:
    return await gateway.request(f"/streams/{path}", {"Authorization": f"Bearer {token(sub)}", **more})


async def _refused(gateway: Web, sub: int = 1, more: Mapping[str, str] = {}) -> bool:
    stream = await _open(gateway, sub, more=more)
    await stream.close()
    if stream.status == 200:
        return False
    assert stream.status == 429, stream.body
    assert 15 <= int(stream.headers["retry-after"]) <= 45
    assert b'"title":"Too many requests"' in stream.body
    return True


async def test_streams_of_a_user(servers: Servers) -> None:
    """One more than may be is refused, in every process; who is there stays; who leaves makes room, however they leave."""
    async with bridge(servers), web(servers, connections_per_user=2) as one, web(servers, connections_per_user=2) as other:
        streams = [await _open(one), await _open(other)]
        for stream in streams:
            assert (await stream.next()).name == "ready"
        for gateway in (one, other):
            assert await _refused(gateway)
            assert not await _refused(gateway, sub=2)
        streams[0].abort()
        await until(lambda: _free(other))
        streams.append(await _open(other))
        assert (await streams[-1].next()).name == "ready"
        assert await _refused(one)
        for stream in streams:
            await stream.close()


async def _free(gateway: Web) -> bool:
    return not await _refused(gateway)


async def test_places_are_given_up(servers: Servers) -> None:
    """Whatever becomes of a request, it takes nothing with it: wrong ones, HEAD, streams that are cut before they begin."""
    async with bridge(servers), web(servers, connections_per_user=2) as gateway:
        for _ in range(3):
            for path in ("bookings?x=1", "nonesuch", "availability", "bookings?snapshot=2"):
                await (await _open(gateway, path=path)).close()
            (await _open(gateway)).abort()
            await until(lambda: not gateway.hub.roster.subscribers)
        head = await sse.request(gateway.host, gateway.port, "/streams/bookings", {"Authorization": f"Bearer {token()}"}, method="HEAD")
        await head.close()
        await until(lambda: _free(gateway))
        both = [await _open(gateway), await _open(gateway)]
        assert [stream.status for stream in both] == [200, 200]
        for stream in both:
            await stream.close()


async def test_attempts_of_an_address(servers: Servers) -> None:
    """So many requests a minute, counted over all processes, before a token is looked at."""
    async with bridge(servers), web(servers, attempts_per_minute=5) as one, web(servers, attempts_per_minute=5) as other:
        statuses = []
        for number in range(12):
            answer = await (one, other)[number % 2].request("/streams/bookings", {"Authorization": "Bearer nonsense"})
            await answer.close()
            statuses.append(answer.status)
        # A minute may have ended in between.
        assert statuses[:5] == [401] * 5
        assert statuses.count(429) >= 1
        assert set(statuses) == {401, 429}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/streams"),
        ("POST", "/auth/session"),
        ("POST", "/auth/ticket"),
        ("POST", "/admin/revocations"),
        ("POST", f"/streams/connections/{'0' * 16}/token"),
    ],
)
async def test_attempts_at_other_doors(servers: Servers, method: str, path: str) -> None:
    """Guessing is counted wherever a token is looked at."""
    async with web(servers, attempts_per_minute=2) as gateway:
        statuses = []
        for _ in range(6):
            answer = await sse.request(gateway.host, gateway.port, path, {"Authorization": "Bearer nonsense"}, method=method)
            await answer.close()
            statuses.append(answer.status)
        assert 429 in statuses


async def test_attempts_while_redis_is_away(servers: Servers) -> None:
    """Then each process counts its own."""
    async with proxied(servers.redis_url) as proxy, web(servers) as gateway, Redis.from_url(proxy.url(servers.redis_url)) as redis:
        proxy.refuse = True
        gateway.app.state.gate = Gate(redis, 3, gateway.app.state.gate._admission)
        statuses = []
        for _ in range(8):
            answer = await gateway.request("/streams/bookings", {"Authorization": "Bearer nonsense"})
            await answer.close()
            statuses.append(answer.status)
        assert statuses[:3] == [401] * 3
        assert 429 in statuses


async def test_an_event_source_is_told_to_come_back(servers: Servers) -> None:
    """It never would after an error: so it gets 200, `reconnect` with `overload` and a pause, and the end."""
    async with bridge(servers), web(servers, connections_per_user=1, query_tokens=True) as gateway, gateway.stream() as stream:
        await stream.until("ready")
        more = await gateway.request(f"/streams/bookings?access_token={token()}", _EVENT_SOURCE)
        assert more.status == 200
        event = sse.parse(more.body.partition(b"\n\n")[0], first=True) if more.body else await more.next()
        assert (event.name, event.data["reason"]) == ("reconnect", "overload")
        assert 15_000 <= event.data["retry"] <= 46_000
        await more.close()
        assert await _refused(gateway), "a client that sends a header of its own sees the status"
        assert gateway.app.state.meter.registry.get_sample_value("rowcast_refusals_total", {"status": "429"}) == 2


async def test_nobody_is_ended_for_a_newcomer(servers: Servers) -> None:
    """Refused are those who come, a hundred at once, and those who are there notice nothing."""
    async with bridge(servers), web(servers, connections_per_user=3) as gateway:
        there = [await _open(gateway) for _ in range(3)]
        for stream in there:
            assert (await stream.next()).name == "ready"
        assert all(await asyncio.gather(*(_refused(gateway) for _ in range(50))))
        connection = await servers.connect()
        await connection.execute("update bookings set notes = 'still there' where id = 1")
        await connection.close()
        for stream in there:
            assert (await stream.events(1))[0].data["record"]["notes"] == "still there"
            await stream.close()
