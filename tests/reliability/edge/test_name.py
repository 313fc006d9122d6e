"""Names that do not resolve, a password that changes, keys that cannot be fetched: streams go on, and what was missed comes."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import jwt
import pytest

from auth.jwks import Jwks, UnknownKey
from gateway.bridge import bridge as bridges
from gateway.bridge import lease
from gateway.bridge import publisher as publishers
from gateway.embedded import ValkeyServer
from gateway.fanout import archive as archives
from gateway.fanout import tail as tails
from gateway.fanout.repair import Repair
from tests.auth.jwks.issuer import Clock, Endpoint, jwk
from tests.auth.pem import private_key
from tests.gateway.fanout.traffic import go_on, written
from tests.reliability.edge.load import Load, loaded, redis_at, staying
from tests.support.gateway import Web, bridge, until, web
from tests.support.ledger import reading
from tests.support.servers import Servers


class Names:
    """Names of this machine that resolve, or do not, or take for ever."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self.asked = 0
        self.answering = threading.Event()
        self.answering.set()

    def look_up(self, host: Any, *args: Any, **options: Any) -> Any:
        if not str(host).endswith(".example"):
            return _look_up(host, *args, **options)
        self.asked += 1
        self.answering.wait(60)
        if any(str(host).startswith(word) for word in self.lost):
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return _look_up("127.0.0.1", *args, **options)


_look_up = socket.getaddrinfo
PARTS = ("bridge", "web")


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    found = Names()
    monkeypatch.setattr(socket, "getaddrinfo", found.look_up)
    yield found
    found.answering.set()


def _named(url: str, name: str) -> str:
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{name}.example:{parts.port}"))


async def _lose_everything(servers: Servers) -> None:
    """Ends all connections to Postgres and Redis that are not the test's own."""
    connection = await servers.connect()
    await connection.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'rowcast %' and datname = current_database()"
    )
    await connection.close()
    async with redis_at(servers.redis_url) as redis:
        for kind in ("pubsub", "normal"):
            await redis.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


async def _nameless(servers: Servers, names: Names, within: float = 20) -> Load:
    """All connections are lost while no name resolves."""
    theirs, own = (Servers(_named(servers.database_url, f"{who}-postgres"), _named(servers.redis_url, f"{who}-redis")) for who in PARTS)
    async with bridge(theirs), web(own) as gateway, loaded(servers, staying(gateway), within) as load:
        names.lost.update(PARTS)
        await _lose_everything(servers)
        asked = names.asked
        await until(lambda: names.asked > asked + 3 and not gateway.hub.tail.connected)
        names.lost.discard("bridge")
        await written(servers)
        names.lost.clear()
        await go_on(load.readers)
    return load


async def test_names_do_not_resolve(servers: Servers, names: Names) -> None:
    """Bridge and web lose all their connections while DNS fails, and go on where they were when it works again."""
    load = await _nameless(servers, names)
    assert load.faults == []
    assert (load.statuses, load.resets) == ({("fresh",)}, [])


async def test_control_what_was_missed_is_not_read(servers: Servers, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """Went web processes on from where Redis is then, the check would see what was missed."""
    repair = Repair.run

    async def forgetful(self: Repair) -> None:
        if not self._roster.epoch:
            await repair(self)
        self._roster.arrive(self._roster.channels.values(), (await self._backlog.latest()).position)

    monkeypatch.setattr(Repair, "run", forgetful)
    assert any("missing" in fault for fault in (await _nameless(servers, names, within=3)).faults)


async def test_a_name_takes_for_ever(servers: Servers, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the name of Postgres hangs, who wants a replay waits and is told to come back, and what is live goes on for all others."""
    monkeypatch.setattr(archives, "_TIMEOUT_SECONDS", 1.0)
    own = Servers(_named(servers.database_url, "postgres"), servers.redis_url)
    async with bridge(servers), web(own) as gateway, loaded(servers, staying(gateway)) as load:
        names.answering.clear()
        await _lose_everything(servers)
        asked = names.asked
        waiting = [asyncio.create_task(gateway.open("bookings", user, since="earliest")) for user in range(1, 9)]
        await until(lambda: names.asked > asked)
        for _ in range(3):
            await go_on(load.readers)
        for stream in [await each for each in waiting]:
            assert b'"unavailable"' in stream.body
        names.answering.set()
        async with gateway.stream("bookings", 1, since="earliest") as stream:
            assert (await stream.next()).data["status"] == "resumed"
    assert load.faults == []
    assert load.statuses == {("fresh",)}


async def _rotate(servers: Servers, old: ValkeyServer, own: Servers, later: Servers) -> Load:
    """Changes Redis's password under load and ends all connections; a bridge and a web process with the new one take over."""
    async with redis_at(old.url) as admin, bridge(own), web(own) as first, loaded(servers, staying(first)) as load:
        await admin.config_set("requirepass", "another password")
        try:
            for kind in ("pubsub", "normal"):
                await admin.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
            await until(lambda: not first.hub.tail.connected)
            async with bridge(later), web(later) as second, reading(others := staying(second)):
                await written(servers)
                await go_on(others)
                await go_on(others)
        finally:
            await admin.config_set("requirepass", old.password)
        await go_on(load.readers)
    return load


async def test_password_is_changed(
    servers: Servers, old_and_new: tuple[ValkeyServer, ValkeyServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has the new password takes over; streams of a process with the old one stay, and are brought up to date when it may connect."""
    monkeypatch.setattr(tails, "SILENCE_SECONDS", 0.6)
    monkeypatch.setattr(publishers, "GIVE_WAY_SECONDS", 0.3)
    monkeypatch.setattr(bridges, "_GIVE_WAY_SECONDS", 0.5)
    monkeypatch.setattr(lease, "_RETRY_SECONDS", 0.02)
    old, _ = old_and_new
    later = Servers(servers.database_url, old.url.replace(old.password, "another%20password"))
    load = await _rotate(servers, old, Servers(servers.database_url, old.url), later)
    assert load.faults == []
    assert load.statuses == {("fresh",)}


def _signed(kid: str) -> dict[str, str]:
    claims = {"sub": "1", "role": "customer", "exp": 2_000_000_000}
    return {"Authorization": f"Bearer {jwt.encode(claims, private_key('p256'), 'ES256', headers={'kid': kid})}"}


@asynccontextmanager
async def _hanging(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Web, Endpoint]]:
    """A gateway whose issuer has stopped to answer, when it is time to ask again."""
    clock, endpoint = Clock(), Endpoint()
    monkeypatch.setattr("auth.jwks.time", clock)
    await endpoint.start()
    endpoint.publish(jwk("p256", "known"))
    try:
        async with web(servers, jwks_url=endpoint.url, jwt_secret=None, max_token_lifetime="36500d") as gateway:
            stream = await gateway.request("/streams/bookings", _signed("known"))
            assert stream.status == 200, stream.body
            stream.abort()
            endpoint.may_answer.clear()
            clock.now += 1000
            yield gateway, endpoint
            endpoint.may_answer.set()
    finally:
        await endpoint.stop()


async def test_keys_cannot_be_fetched(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the issuer hangs, tokens of keys that are known open streams; one of an unknown key waits, and keeps nobody waiting."""
    async with _hanging(servers, monkeypatch) as (gateway, endpoint):
        endpoint.asked.clear()
        unknown = asyncio.create_task(gateway.request("/streams/bookings", _signed("unknown")))
        await endpoint.asked.wait()
        for _ in range(5):
            stream = await gateway.request("/streams/bookings", _signed("known"))
            assert (await stream.next()).name == "ready"
            stream.abort()
        assert not unknown.done()
        endpoint.may_answer.set()
        assert (await unknown).status == 401


async def test_control_keys_that_are_old_are_not_used(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were keys given up when they are old, nobody would come in while the issuer hangs."""
    find = Jwks.find

    def forgetful(self: Jwks, given: str) -> Any:
        if self.stale:
            raise UnknownKey
        return find(self, given)

    monkeypatch.setattr(Jwks, "find", forgetful)
    async with _hanging(servers, monkeypatch) as (gateway, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await gateway.request("/streams/bookings", _signed("known"))
