"""Revocations reach every process, also those that were cut off."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from auth.revocation import Revocation, Revocations
from gateway import wire
from gateway.fanout import admission, catchup, control, snapshot
from gateway.fanout import hub as hubs
from gateway.fanout.tail import Tail
from tests.gateway.fanout.manual import Manual, manual
from tests.support import sinks, sse
from tests.support.access import opened, revoke, two
from tests.support.gateway import Web, bridge, token, until, web
from tests.support.process import environment, rowcast
from tests.support.proxy import Proxy, proxied
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]


@pytest.mark.parametrize("by", ["sub", "jti", "issued_before"])
async def test_open_streams_end_everywhere(servers: Servers, by: str) -> None:
    """Streams with the token end in each process, whichever is told; it is refused from then on; others' streams go on."""
    revoked = token(1, jti="the one", iat=int(time.time()) - 100)
    bodies = {
        "sub": b'{"sub": "1"}',
        "jti": b'{"jti": "the one"}',
        "issued_before": b'{"sub": 1, "issued_before": %d}' % (time.time() - 50),
    }
    async with bridge(servers), two(servers) as (one, other):
        streams = [await opened(each, revoked) for each in (one, other)]
        untouched = [await opened(each, token(2, jti="another", iat=int(time.time()))) for each in (one, other)]
        for stream in (*streams, *untouched):
            await stream.until("ready")
        await revoke(one, bodies[by])
        for stream in streams:
            assert (await stream.next()).data == {"reason": "revoked"}
            with pytest.raises(EOFError):
                await stream.next()
            await stream.close()
        for each in (one, other):
            answer = await opened(each, revoked)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
            assert b"revoked" in answer.body
        if by != "sub":
            later = await opened(other, token(1, jti="a later one", iat=int(time.time())))
            assert later.status == 200
            await later.close()
        for each in (one, other):
            assert len(each.hub.roster.subscribers) <= 2
        for stream in untouched:
            await stream.close()


async def test_without_time_of_issue(servers: Servers) -> None:
    """A token that does not say when it was issued goes with all others of its user."""
    async with bridge(servers), web(servers) as gateway, gateway.stream() as stream:
        await stream.until("ready")
        await revoke(gateway, b'{"sub": "1", "issued_before": 1}')
        assert (await stream.until("closed")).data == {"reason": "revoked"}


@asynccontextmanager
async def _cut_off(servers: Servers) -> AsyncIterator[tuple[Proxy, Manual, Web, Web, sse.Stream, sse.Event]]:
    """Cuts a process off that has sent an event; gives the proxy, who writes, another process, this one, its stream, the event."""
    async with (
        proxied(servers.redis_url) as proxy,
        manual(servers) as by_hand,
        web(servers) as one,
        web(replace(servers, redis_url=proxy.url(servers.redis_url))) as other,
        other.stream() as stream,
    ):
        await stream.until("ready")
        await by_hand.change()
        (event,) = await stream.events(1)
        proxy.refuse = True
        proxy.cut()
        await until(lambda: not other.hub.tail.connected)
        yield proxy, by_hand, one, other, stream, event


async def test_while_a_process_is_cut_off(servers: Servers) -> None:
    """A process that was cut off from Redis ends the streams when it is back, before it sends what was changed meanwhile."""
    async with _cut_off(servers) as (proxy, by_hand, one, _, stream, _):
        await revoke(one, b'{"sub": "1"}')
        await by_hand.change(3)
        proxy.heal()
        assert (await stream.next()).name == "closed"


async def test_control_nothing_is_learned_on_coming_back(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Did a process that comes back not ask what was revoked, the same stream would go on."""

    async def nothing(_: Revocations) -> None:
        """Asks nobody."""

    monkeypatch.setattr(Revocations, "refresh", nothing)
    with pytest.raises(AssertionError):
        await test_while_a_process_is_cut_off(servers)


@pytest.mark.parametrize("path", ["bookings", "bookings?snapshot=1"])
@pytest.mark.parametrize("careful", [True, False])
async def test_comes_back_while_a_process_is_cut_off(servers: Servers, monkeypatch: pytest.MonkeyPatch, path: str, careful: bool) -> None:
    """Who was revoked gets neither what was missed nor rows from a process that cannot know it, though Postgres is there.

    Were what was confirmed before the cut taken for so still, they would.
    """
    monkeypatch.setattr(catchup, "_JOIN_SECONDS", 0.5)
    monkeypatch.setattr(admission, "_CALL_SECONDS", 0.2)

    async def confirmed(*_: object) -> None: ...

    async with _cut_off(servers) as (proxy, by_hand, one, other, _, event):
        if not careful:
            monkeypatch.setattr(Tail, "listen", confirmed)
        await revoke(one, b'{"sub": "1"}')
        await by_hand.change(3)
        since = {} if "snapshot" in path else {"Last-Event-ID": str(event.id)}
        again = await other.request(f"/streams/{path}", {"Authorization": f"Bearer {token()}"} | since)
        told = await again.next()
        while told.name == "ready":
            told = await again.next()
        await again.close()
        proxy.heal()
    assert told.name == ("reconnect" if careful else "snapshot" if "snapshot" in path else "bookings")


@pytest.mark.parametrize("careful", [True, False])
async def test_cut_off_between_two_pages_of_rows(servers: Servers, monkeypatch: pytest.MonkeyPatch, careful: bool) -> None:
    """Rows that are on their way end there too, for nobody can know any more who is revoked; unless nobody looks."""
    monkeypatch.setattr(snapshot, "PAGE_ROWS", 1)
    monkeypatch.setattr(catchup, "_JOIN_SECONDS", 0.5)
    cut = asyncio.Event()
    asked: Counter[int] = Counter()

    async def drained(sink: object) -> None:
        # Before the rows, and behind each page.
        asked[id(sink)] += 1
        if asked[id(sink)] > 1:
            await cut.wait()

    async def confirmed(*_: object) -> None: ...

    async with _cut_off(servers) as (proxy, _, _, other, _, _):
        proxy.heal()
        await until(lambda: other.hub.tail.connected)
        sinks.replace_drained(monkeypatch, drained)
        again = await other.request("/streams/services?snapshot=1", {"Authorization": f"Bearer {token()}"})
        await again.until("snapshot")
        proxy.refuse = True
        proxy.cut()
        await until(lambda: not other.hub.tail.connected)
        if not careful:
            monkeypatch.setattr(Tail, "listen", confirmed)
        cut.set()
        told = await again.next()
        while careful and told.name == "snapshot":
            # Those that were written before it was held up.
            told = await again.next()
        while not careful and not told.data["done"]:
            told = await again.next()
        await again.close()
        proxy.heal()
    assert told.name == ("reconnect" if careful else "snapshot")


async def test_redis_forgets(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was revoked stays so when Redis has lost it: a process that knows writes it there again, for those that start later."""
    monkeypatch.setattr(control, "_REFRESH_SECONDS", 0.05)
    async with bridge(servers), web(servers) as gateway, Redis.from_url(servers.redis_url) as redis:
        await revoke(gateway, b'{"jti": "lost"}')
        await redis.flushall()
        await until(lambda: redis.exists("rowcast:{0}:revocations"))
        async with web(servers) as later:
            await until(lambda: len(later.app.state.revocations) == 1)
            assert (await opened(later, token(1, jti="lost"))).status == 401


async def test_revocations_end(servers: Servers) -> None:
    """A revocation is kept as long as a token may live, here and in Redis."""
    async with Redis.from_url(servers.redis_url, protocol=3) as redis:
        known = Revocations(redis, wire.CONTROL)
        await known.add(Revocation(subject="1", before=5, until=time.time() - 1))
        await known.add(Revocation(token_id="x", until=time.time() + 100))
        await known.refresh()
        assert (len(known), await redis.zcard("rowcast:{0}:revocations")) == (1, 1)


async def test_from_the_command_line(servers: Servers) -> None:
    """`rowcast revoke --sub` ends the streams of a running gateway."""
    async with bridge(servers), web(servers) as gateway, gateway.stream() as stream:
        await stream.until("ready")
        outcome = await asyncio.to_thread(rowcast, "revoke", "--sub", "1", env=environment(servers))
        assert (outcome.returncode, outcome.stdout) == (0, "revoked: the tokens of 1\n"), outcome.stderr
        assert (await stream.until("closed")).data == {"reason": "revoked"}


async def test_the_tail_alone_is_cut_off(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail whose connection says nothing more asks the log what it missed: and what was revoked, before it sends any of it."""
    async with proxied(servers.redis_url) as proxy, manual(servers) as by_hand:
        monkeypatch.setattr(hubs, "Tail", lambda url, hub: Tail(proxy.url(url), hub))
        async with web(servers) as gateway, gateway.stream() as stream, Redis.from_url(servers.redis_url) as redis:
            await stream.until("ready")
            await by_hand.change()
            await stream.events(1)
            proxy.blackhole()
            await Revocations(redis, wire.CONTROL).add(Revocation.read({"sub": "1"}, 3600))
            await by_hand.change()
            assert (await stream.next()).name == "closed"
            proxy.heal()


@pytest.mark.parametrize(
    "message",
    [
        b'{"renew":"x","claims":[],"reply":"y"}',
        b'{"revoke":[1]}',
        b'{"revoke":{}}',
        b'{"renewal":"x","reply":[]}',
        b"[]",
        b"5",
        b"\xff",
        b"",
    ],
)
async def test_odd_messages_end_nobody(servers: Servers, message: bytes) -> None:
    """Whatever somebody else publishes where web processes talk, streams go on."""
    async with manual(servers) as by_hand, web(servers) as gateway, gateway.stream() as stream:
        await stream.until("ready")
        await by_hand.redis.publish(wire.CONTROL, message)
        await by_hand.redis.publish("bookings-changes", b'0 ["k3f9",1,"bookings","several",7,[],[["UPDATE",2,[1]]]]\n{}')
        await by_hand.change()
        await stream.events(1)
