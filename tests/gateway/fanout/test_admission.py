"""How many streams a user and an address may have open: over all processes, whatever becomes of one, and while Redis is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from gateway.fanout import admission
from gateway.fanout.admission import Admission, Place, TooMany
from gateway.task import ended
from tests.support.gateway import until
from tests.support.proxy import proxied
from tests.support.servers import Servers


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process shows that it lives many times a second."""
    monkeypatch.setattr(admission, "_SIGN_SECONDS", 0.05)


@asynccontextmanager
async def process(url: str, per_user: int = 3, per_address: int = 0) -> AsyncIterator[Admission]:
    """A web process's counting."""
    async with Redis.from_url(url, socket_timeout=1, protocol=3) as redis:
        each = Admission(redis, per_user, per_address)
        running = asyncio.create_task(each.run())
        try:
            yield each
        finally:
            await ended([running])


async def enter(where: Admission, user: str = "1", address: str = "a") -> Place:
    place = await where.enter(user, address)
    assert place is not None
    return place


async def fits(where: Admission, user: str = "1", address: str = "a") -> bool:
    """Whether another one is let in; who is leaves again."""
    try:
        (await enter(where, user, address)).give_up()
    except TooMany:
        return False
    return True


async def test_of_a_user_over_two_processes(servers: Servers) -> None:
    """A user's streams are counted together, others' are not; who leaves makes room, once."""
    async with process(servers.redis_url) as one, process(servers.redis_url) as other:
        places = [await enter(one), await enter(other), await enter(one)]
        for where in (one, other):
            with pytest.raises(TooMany, match="user"):
                await where.enter("1", "b")
            assert await fits(where, "2")
        for _ in range(3):
            places[1].give_up()
        await until(lambda: fits(one))
        places.append(await enter(one))
        assert not await fits(other)


async def test_of_an_address(servers: Servers) -> None:
    """An address's streams are counted whoever they are of."""
    async with process(servers.redis_url, per_user=0, per_address=2) as one:
        for user in ("1", "2"):
            await enter(one, user)
        with pytest.raises(TooMany, match="address"):
            await one.enter("3", "a")
        assert await fits(one, "3", "b")


async def test_many_at_once(servers: Servers) -> None:
    """Of a hundred that come to two processes at the same time as many are let in as may be."""
    async with process(servers.redis_url, 7) as one, process(servers.redis_url, 7) as other:
        answers = await asyncio.gather(*(where.enter("1", "a") for _ in range(50) for where in (one, other)), return_exceptions=True)
        assert sum(isinstance(answer, Place) for answer in answers) == 7
        assert sum(isinstance(answer, TooMany) for answer in answers) == 93


async def test_no_limit_asks_nobody() -> None:
    """Without limits nothing is counted, and Redis is not asked."""
    async with process("redis://127.0.0.1:1", 0, 0) as one:
        assert await one.enter("1", "a") is None


@pytest.mark.usefixtures("quick")
async def test_a_process_dies(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process that has died had counted is not counted any more when its sign of life is gone."""
    monkeypatch.setattr(admission, "_ALIVE_SECONDS", 1)
    async with process(servers.redis_url) as one:
        async with process(servers.redis_url) as dying:
            for _ in range(3):
                await enter(dying)
            assert not await fits(one)
        await until(lambda: fits(one))


@pytest.mark.usefixtures("quick")
async def test_redis_forgets(servers: Servers) -> None:
    """A process whose counts Redis has lost writes them there again."""
    async with process(servers.redis_url) as one, process(servers.redis_url) as other, Redis.from_url(servers.redis_url) as redis:
        for _ in range(3):
            await enter(one)
        await redis.flushall()

        async def known() -> bool:
            return not await fits(other)

        await until(known)
        assert not await fits(one)


@pytest.mark.parametrize("dead", [True, False])
@pytest.mark.usefixtures("quick")
async def test_nobody_is_counted_twice(servers: Servers, dead: bool) -> None:
    """Once a process has counted anew there is as much room as before; did it not say that who it was is dead (control), there is less."""
    async with (
        proxied(servers.redis_url) as proxy,
        process(servers.redis_url, 2) as other,
        process(proxy.url(servers.redis_url), 2) as one,
    ):
        if not dead:
            one._redis.delete = lambda *_: asyncio.sleep(0, 0)  # type: ignore[method-assign]
        await until(lambda: not one._adrift)
        await enter(one)
        proxy.refuse = True
        proxy.cut()
        tried: list[Any] = []
        counting = one._count_anew

        async def count() -> None:
            try:
                await counting()
            except BaseException as error:
                tried.append(error)
                raise

        one._count_anew = count  # type: ignore[method-assign]
        # More than once in vain.
        await until(lambda: len(tried) > 2)
        proxy.heal()
        await until(lambda: not one._adrift and not other._adrift)
        if dead:
            await enter(other)
        assert not await fits(other)


@pytest.mark.parametrize("call", ["set", "delete"])
@pytest.mark.usefixtures("quick")
async def test_leaves_as_it_is_counted_anew(servers: Servers, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Who leaves while a process begins to count anew is counted out once."""
    async with process(servers.redis_url) as one, Redis.from_url(servers.redis_url) as redis:
        await until(lambda: not one._adrift)
        leaving, _ = await enter(one), await enter(one)
        asked = getattr(one._redis, call)

        async def as_it_leaves(*args: Any, **options: Any) -> Any:
            leaving.give_up()
            return await asked(*args, **options)

        monkeypatch.setattr(one._redis, call, as_it_leaves)
        former, one._adrift = one._process, True
        await until(lambda: one._process != former and not one._adrift and not one._waiting and one._counting is None)
        assert await redis.hget("rowcast:{0}:open:user:1", one._process) == b"1"


async def test_redis_says_nothing(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who come while Redis hangs wait once, not one batch behind the other: then the process counts alone."""
    monkeypatch.setattr(admission, "_CALL_SECONDS", 0.2)
    async with proxied(servers.redis_url) as proxy, process(proxy.url(servers.redis_url), 500) as one:
        await enter(one)
        proxy.blackhole()
        async with asyncio.timeout(20):
            places = await asyncio.gather(*(enter(one) for _ in range(400)))
        assert len(places) == 400
        proxy.heal()


async def _sign_is_lost(redis_url: str) -> None:
    """Redis has forgotten that anybody lives."""
    async with Redis.from_url(redis_url) as redis:
        async for key in redis.scan_iter("rowcast:{0}:web:*"):
            await redis.delete(key)


@pytest.mark.parametrize("bound", [0.2, None])
@pytest.mark.usefixtures("quick")
async def test_redis_says_nothing_as_it_is_counted_anew(servers: Servers, monkeypatch: pytest.MonkeyPatch, bound: float | None) -> None:
    """Who comes meanwhile waits for no longer than a question may take; without that bound (control) for as long as Redis is silent."""
    monkeypatch.setattr(admission, "_CALL_SECONDS", bound)
    began = asyncio.Event()
    async with proxied(servers.redis_url) as proxy, Redis.from_url(proxy.url(servers.redis_url)) as redis:
        one = Admission(redis, 500, 0)
        set_sign = redis.set

        async def asked(*args: Any, **options: Any) -> Any:
            if not options.get("xx"):
                # The first word of a count that begins.
                proxy.blackhole()
                began.set()
            return await set_sign(*args, **options)

        running = asyncio.create_task(one.run())
        try:
            await until(lambda: not one._adrift)
            monkeypatch.setattr(redis, "set", asked)
            await _sign_is_lost(servers.redis_url)
            await began.wait()
            coming = asyncio.create_task(enter(one))
            if bound is not None:
                await coming
            else:
                assert not (await asyncio.wait({coming}, timeout=1))[0]
        finally:
            await ended([running, coming])
            await one.finish()
        proxy.heal()


async def test_the_last_who_leave(servers: Servers) -> None:
    """At the end those who have just left are counted out, and nothing asks Redis afterwards; before it (control) they are not."""
    async with Redis.from_url(servers.redis_url) as redis:
        one = Admission(redis, 3, 0)
        running = asyncio.create_task(one.run())
        await until(lambda: not one._adrift)
        place = await enter(one)
        # However long the look takes, nobody is counted meanwhile.
        async with one._turn:
            place.give_up()
            await ended([running])
            assert await redis.hgetall("rowcast:{0}:open:user:1")
            assert one._counting is not None
        await one.finish()
        assert not await redis.hgetall("rowcast:{0}:open:user:1")
        assert one._counting is None


@pytest.mark.usefixtures("quick")
async def test_redis_is_away(servers: Servers) -> None:
    """Each process counts its own meanwhile; what changed then is counted when Redis is back."""
    async with proxied(servers.redis_url) as proxy, process(proxy.url(servers.redis_url)) as one, process(servers.redis_url) as other:
        first = await enter(one)
        proxy.refuse = True
        proxy.cut()
        places = [await enter(one), await enter(one)]
        assert not await fits(one)
        first.give_up()
        assert await fits(one)
        proxy.heal()
        places.append(await enter(one))

        async def counted() -> bool:
            return not await fits(other)

        await until(counted)
        for place in places:
            place.give_up()
        await until(lambda: fits(other))
