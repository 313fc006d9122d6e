"""Rights end: by revocation, by a newer token, by a row that moves. Nobody gets a byte of what they have no right to any more."""

import asyncio
import itertools
import random
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from redis.asyncio import Redis

from auth.revocation import Revocation, Revocations
from gateway import wire
from gateway.fanout import control
from gateway.fanout import hub as hubs
from gateway.fanout.tail import Tail
from tests.gateway.fanout.manual import manual
from tests.support import sse
from tests.support.gateway import Web, bridge, token, until, web
from tests.support.process import environment, rowcast
from tests.support.proxy import proxied
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]

_ADMIN = {"Authorization": f"Bearer {token(13, 'admin')}"}
_numbers = itertools.count()


async def _post(gateway: Web, path: str, headers: dict[str, str], body: bytes = b"") -> sse.Stream:
    answer = await sse.request(gateway.host, gateway.port, path, headers, method="POST", body=body)
    await answer.close()
    return answer


async def _revoke(gateway: Web, body: bytes) -> None:
    answer = await _post(gateway, "/admin/revocations", _ADMIN, body)
    assert answer.status == 204, answer.body


async def _open(gateway: Web, given: str, streams: str = "bookings") -> sse.Stream:
    stream = await gateway.request(f"/streams/{streams}", {"Authorization": f"Bearer {given}"})
    if stream.status != 200:
        await stream.close()
    return stream


@asynccontextmanager
async def _two(servers: Servers, **changes: Any) -> AsyncIterator[tuple[Web, Web]]:
    async with web(servers, **changes) as one, web(servers, **changes) as other:
        yield one, other


def _given(**claims: Any) -> str:
    return token(1, jti=f"token-{next(_numbers)}", **claims)


@pytest.mark.parametrize("by", ["sub", "jti", "issued_before"])
async def test_open_streams_end_everywhere(servers: Servers, by: str) -> None:
    """Streams with the token end in each process, whichever is told; it is refused from then on; others' streams go on."""
    revoked = token(1, jti="the one", iat=int(time.time()) - 100)
    bodies = {
        "sub": b'{"sub": "1"}',
        "jti": b'{"jti": "the one"}',
        "issued_before": b'{"sub": 1, "issued_before": %d}' % (time.time() - 50),
    }
    async with bridge(servers), _two(servers) as (one, other):
        streams = [await _open(each, revoked) for each in (one, other)]
        untouched = [await _open(each, token(2, jti="another", iat=int(time.time()))) for each in (one, other)]
        for stream in (*streams, *untouched):
            await stream.until("ready")
        await _revoke(one, bodies[by])
        for stream in streams:
            assert (await stream.next()).data == {"reason": "revoked"}
            with pytest.raises(EOFError):
                await stream.next()
            await stream.close()
        for each in (one, other):
            answer = await _open(each, revoked)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
            assert b"revoked" in answer.body
        if by != "sub":
            later = await _open(other, token(1, jti="a later one", iat=int(time.time())))
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
        await _revoke(gateway, b'{"sub": "1", "issued_before": 1}')
        assert (await stream.until("closed")).data == {"reason": "revoked"}


async def test_while_a_process_is_cut_off(servers: Servers) -> None:
    """A process that was cut off from Redis ends the streams when it is back, before it sends what was changed meanwhile."""
    async with (
        proxied(servers.redis_url) as proxy,
        manual(servers) as by_hand,
        web(servers) as one,
        web(replace(servers, redis_url=proxy.url(servers.redis_url))) as other,
        other.stream() as stream,
    ):
        await stream.until("ready")
        await by_hand.change()
        await stream.events(1)
        proxy.refuse = True
        proxy.cut()
        await until(lambda: not other.hub.tail.connected)
        await _revoke(one, b'{"sub": "1"}')
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


async def test_redis_forgets(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was revoked stays so when Redis has lost it: a process that knows writes it there again, for those that start later."""
    monkeypatch.setattr(control, "_REFRESH_SECONDS", 0.05)
    async with bridge(servers), web(servers) as gateway, Redis.from_url(servers.redis_url) as redis:
        await _revoke(gateway, b'{"jti": "lost"}')
        await redis.flushall()
        await until(lambda: redis.exists("rowcast:{0}:revocations"))
        async with web(servers) as later:
            await until(lambda: len(later.app.state.revocations) == 1)
            assert (await _open(later, token(1, jti="lost"))).status == 401


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


async def _renew(gateway: Web, connection: str, given: str) -> int:
    return (await _post(gateway, f"/streams/connections/{connection}/token", {"Authorization": f"Bearer {given}"})).status


async def test_a_newer_token(servers: Servers) -> None:
    """A stream goes on past the end of its first token, whichever process is asked; another user's token changes nothing."""
    async with manual(servers) as by_hand, _two(servers, heartbeat="200ms") as (one, other):
        streams = [await _open(one, _given(ttl=3)) for _ in range(3)]
        readies = [await stream.until("ready") for stream in streams]
        connections = [ready.data["connection"] for ready in readies]
        assert await _renew(one, connections[0], _given()) == 204
        assert await _renew(other, connections[1], _given()) == 204
        assert await _renew(other, connections[2], token(2)) == 403
        assert await _renew(one, connections[2], token(2)) == 403
        assert await _renew(one, "0" * 16, _given()) == 404
        assert await _renew(other, connections[2], "nonsense") == 401
        assert (await streams[2].until("closed")).data == {"reason": "expired"}
        await streams[2].close()
        await by_hand.change()
        for stream in streams[:2]:
            await stream.events(1)
            await stream.close()


@pytest.mark.parametrize(
    ("claims", "streams"), [({"role": None}, "bookings"), ({"role": "provider"}, "bookings"), ({"provider_id": "8"}, "availability")]
)
async def test_a_newer_token_with_other_rights(servers: Servers, claims: dict[str, Any], streams: str) -> None:
    """A stream does not go on with rights that are not those that it began with."""
    async with bridge(servers), web(servers) as gateway:
        stream = await gateway.open(streams, 1, None, roles=["customer", "provider"])
        ready = await stream.until("ready")
        assert await _renew(gateway, ready.data["connection"], token(1, **claims)) == 204
        assert (await stream.until("closed")).data == {"reason": "forbidden"}
        await stream.close()


# Many users, at random


@dataclass
class User:
    """A user, the tokens they had, and all that came to them."""

    number: int
    given: str = ""
    token_id: str = ""
    revoked: set[str] = field(default_factory=set)
    received: list[str] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    connections: int = 0

    def new_token(self) -> None:
        self.token_id = f"{self.number}-{next(_numbers)}"
        self.given = token(self.number, jti=self.token_id)


async def _listen(user: User, gateways: tuple[Web, ...], until_cut: float) -> None:
    """Opens a stream, reads it for a while, comes back: with another token where the last was revoked."""
    stream = await _open(random.choice(gateways), user.given)
    if stream.status != 200:
        assert stream.status == 401, stream.body
        assert user.token_id in user.revoked
        user.new_token()
        return
    user.connections += 1
    mine = user.token_id
    try:
        async with asyncio.timeout(until_cut):
            async for event in stream:
                # The other process may hear of it a moment later, and say so at once.
                if mine in user.endings and not event.control:
                    user.late.append(event.raw)
                user.received.append(event.raw)
                if event.name == "closed":
                    assert event.data["reason"] == "revoked"
                    user.endings.append(mine)
    except TimeoutError:
        pass
    finally:
        stream.abort()


async def _come_and_go(user: User, gateways: tuple[Web, ...], end: asyncio.Event) -> None:
    while not end.is_set():
        await _listen(user, gateways, random.uniform(0.2, 3))


async def _flip(servers: Servers, users: list[User], gateways: tuple[Web, ...], seconds: float) -> int:
    """Moves bookings from user to user, each with its owner's canary, and revokes tokens; returns how many were revoked."""
    connection = await servers.connect()
    revoked = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(20):
            owner = random.choice(users).number
            await connection.execute(
                "update bookings set customer_id = $1, notes = $2 where id = $3", owner, f"canary-{owner}-x", random.randint(5000, 5299)
            )
        user = random.choice(users)
        mine = user.token_id
        user.revoked.add(mine)
        await _revoke(random.choice(gateways), b'{"jti": "%b"}' % mine.encode())
        revoked += 1
    await connection.close()
    return revoked


async def test_many_users(servers: Servers, pytestconfig: pytest.Config) -> None:
    """200 users, whose tokens are revoked and whose rows move at random, while they come and go: nothing of one reaches another.

    Nothing comes after `closed`, no token is taken after it was revoked, and all streams with one have ended.
    """
    users = [User(1000 + number) for number in range(200)]
    for user in users:
        user.new_token()
    connection = await servers.connect()
    await connection.execute(
        "insert into users (id, name, email, role) select 1000 + n, 'user', n || '@example.org', 'customer' from generate_series(0, 199) n"
    )
    await connection.execute(
        "insert into bookings (id, customer_id, service_id, booking_date, start_time, end_time, notes)"
        " select 5000 + n, 1000 + n % 200, 1, now(), now(), now() + interval '1 hour', 'canary-' || 1000 + n % 200 || '-x'"
        " from generate_series(0, 299) n"
    )
    await connection.close()
    async with bridge(servers), _two(servers) as gateways:
        end = asyncio.Event()
        listening = [asyncio.create_task(_come_and_go(user, gateways, end)) for user in users]
        revoked = await _flip(servers, users, gateways, 60 if pytestconfig.getoption("--long") else 6)

        def ended() -> bool:
            given = {s.principal.token_id for each in gateways for s in each.hub.roster.subscribers if s.state.value != "ended"}
            return not given & {each for user in users for each in user.revoked}

        await until(ended)
        end.set()
        await asyncio.gather(*listening)
    assert revoked > 5
    assert sum(len(user.endings) for user in users) > 2
    assert sum("canary" in text for user in users for text in user.received) > 50
    for user in users:
        found = set(re.findall(r"canary-(\d+)-", " ".join(user.received)))
        assert found <= {str(user.number)}, f"user {user.number} has seen {found}"
        assert user.late == []


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


async def test_renewals_hold_nothing(servers: Servers) -> None:
    """However many ask for streams that are nowhere, others are served meanwhile."""
    async with bridge(servers), web(servers) as gateway:
        given = token(2)
        asking = [asyncio.create_task(_renew(gateway, f"{number:016x}", given)) for number in range(100)]
        async with gateway.stream(since="earliest") as stream:
            await stream.until("ready")
            assert not all(each.done() for each in asking)
        assert await asyncio.gather(*asking) == [404] * 100
