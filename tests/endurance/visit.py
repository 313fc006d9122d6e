"""The ways in which a stream is opened, listened to and left, each with how often it happens."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping

import orjson

from tests.endurance.visitor import Visitors, Who, in_time, named, reset
from tests.support.gateway import token

_GARBAGE = (
    "0",
    "-1",
    "null",
    "undefined",
    "1_000",
    "١٢٣",
    "k3f9a012-5",
    "k3f9a012-99999999999999999999",
    "00000000-0",
    "abcdefgh-1-bookings",
    "' or 1=1 --",
    "x" * 5000,
)
_QUERIES = (
    ("bookings", "?status=eq.confirmed"),
    ("bookings", "?format=diff"),
    ("bookings", "?format=cloudevents&status=in.(pending,confirmed)&id=gt.5"),
    ("bookings,services", "?bookings.status=neq.cancelled&services.price=gt.50"),
    ("services", "?format=supabase&name=ilike.*clean*"),
)
_EVERYTHING = Who("changes", 13, ["admin"])
_OFFERS = "services"


async def finish(visitors: Visitors) -> None:
    """Listens, and closes."""
    async with visitors.stream(visitors.somebody()) as stream:
        await visitors.first(stream)
        await visitors.read(stream, random.uniform(0.1, 6))
        await stream.close()


async def cut(visitors: Visitors) -> None:
    """Listens, or does not even wait for that, and resets."""
    async with visitors.stream(visitors.somebody()) as stream:
        if random.random() < 0.7:
            await visitors.read(stream, random.uniform(0, 4))
        reset(stream)


async def close_half(visitors: Visitors) -> None:
    """Says that it will say nothing more, and goes on listening: the stream ends."""
    async with visitors.stream(visitors.somebody()) as stream:
        await visitors.first(stream)
        stream._writer.write_eof()
        heard = await visitors.read(stream, 60)
        assert heard.ended, "a connection that was closed on one side stays open"


async def come_back(visitors: Visitors) -> None:
    """Leaves and comes back with its id, some times."""
    who, since = visitors.somebody(), ""
    for _ in range(random.randint(2, 6)):
        async with visitors.stream(who, since=since) as stream:
            first = await visitors.first(stream)
            assert not since or first.data["status"] == "resumed", f"{first.data} after {since}"
            since = (await visitors.read(stream, random.uniform(0, 2))).last_id or first.id
            reset(stream)


async def come_late(visitors: Visitors) -> None:
    """Comes with an id that somebody had at some time, perhaps long ago."""
    since = random.choice(visitors.ids) if visitors.ids else "earliest"
    async with visitors.stream(visitors.somebody(), since=since if random.random() < 0.9 else "earliest") as stream:
        await visitors.first(stream)
        await visitors.read(stream, random.uniform(0, 4))


async def come_with_garbage(visitors: Visitors) -> None:
    """Comes with what is no id, or one of the future: it is told so."""
    since = random.choice(_GARBAGE)
    if visitors.ids and random.random() < 0.3:
        since = f"{random.choice(visitors.ids).split('-')[0]}-{10**12}"
    async with visitors.stream(visitors.somebody(), since=since) as stream:
        first = await visitors.first(stream)
        assert first.data["status"] == "reset", f"{first.data} after {since[:40]}"
        await visitors.read(stream, random.uniform(0, 2))


async def take_snapshot(visitors: Visitors) -> None:
    """Gets its rows, and listens on."""
    who = visitors.somebody()
    async with visitors.stream(who, query="?snapshot=1") as stream:
        await visitors.first(stream)
        await visitors.read(stream, random.choice((0.05, 2.0, 5.0)))


async def filter(visitors: Visitors) -> None:
    """Listens through a filter, or in another format."""
    streams, query = random.choice(_QUERIES)
    async with visitors.stream(visitors.somebody()._replace(streams=streams, roles=["customer"]), query=query) as stream:
        await visitors.first(stream)
        await visitors.read(stream, random.uniform(0.5, 6))
        await stream.close()


async def stop_reading(visitors: Visitors) -> None:
    """Asks for everything and takes nothing for a while: it is brought up to date after it, or was cut off."""
    async with visitors.stream(_EVERYTHING, receive_buffer=4096) as stream:
        stream.may_tear = True
        await visitors.first(stream)
        await asyncio.sleep(random.choice((2.0, 10.0, 20.0, 50.0)))
        heard = await visitors.read(stream, random.uniform(0, 10))
        visitors.did["slow readers that were cut off"] += heard.ended


async def be_revoked(visitors: Visitors) -> None:
    """Has its token revoked, or all of its user's: the stream ends, and the token is refused."""
    who, id = Who(_OFFERS, random.randint(1000, 10**9), []), named()
    begun, given = time.time(), token(who.sub, None, 30, jti=id)
    async with visitors.stream(who, given=given) as stream:
        await visitors.first(stream)
        await visitors.revoke(random.choice(({"jti": id}, {"sub": str(who.sub)})))
        await visitors.closed(stream, "revoked", begun, 30)
    deadline = time.monotonic() + 30
    while True:
        again = await visitors.answer(f"/streams/{who.streams}", {"Authorization": f"Bearer {given}"})
        if again.status == 401:
            break
        # The other web process may hear of it a moment later.
        assert again.status in (429, 503) or time.monotonic() < deadline, f"a revoked token gets {again.status}"


async def renew(visitors: Visitors) -> None:
    """Gives its stream a newer token, at whatever web process, and outlives the older one."""
    who, seconds = visitors.somebody(), 15
    async with visitors.stream(who, given=token(who.sub, None, seconds, roles=list(who.roles))) as stream:
        first = await visitors.first(stream)
        newer = {"Authorization": f"Bearer {token(who.sub, None, 40, roles=list(who.roles))}"}
        begun = time.monotonic()
        answer = await visitors.answer(f"/streams/connections/{first.data['connection']}/token", newer, method="POST")
        if answer.status == 204 and time.monotonic() - begun < seconds / 2:
            heard = await visitors.read(stream, seconds + 3, "closed")
            assert heard.event is None, f"a renewed stream is {heard.event}"
        else:
            # The stream has gone, or its process was too busy to say so.
            assert answer.status in (204, 404, 503), answer.body


async def expire(visitors: Visitors) -> None:
    """Stays until its token has expired."""
    who = visitors.somebody()
    given = token(who.sub, None, random.uniform(3, 6), roles=list(who.roles))
    stream = await visitors.ask(f"/streams/{who.streams}", {"Authorization": f"Bearer {given}"})
    try:
        # Where the machine is busy it has expired before it was looked at.
        assert stream.status in (200, 401, 429, 503), stream.body
        if stream.status == 200:
            await visitors.closed(stream, "expired", time.time(), 60)
    finally:
        stream.abort()


async def use_ticket(visitors: Visitors) -> None:
    """Gets a ticket and comes with it, twice: once too often."""
    who, begun, seconds = visitors.somebody(), time.time(), 12
    bearer = {"Authorization": f"Bearer {token(who.sub, None, seconds, roles=list(who.roles))}"}
    answer = await visitors.answer("/auth/ticket", bearer, method="POST")
    in_time(begun, seconds)
    assert answer.status == 200, answer.body
    path = f"/streams/{who.streams}?ticket={orjson.loads(answer.body)['ticket']}"
    for expected in (200, 401):
        stream = await visitors.ask(path, {})
        try:
            if stream.status == 401:
                in_time(begun, seconds)
            assert stream.status in (expected, 429, 503), f"{stream.status} instead of {expected}: {stream.body!r}"
            if stream.status == 200:
                await visitors.read(stream, random.uniform(0, 1))
        finally:
            stream.abort()


async def administer(visitors: Visitors) -> None:
    """Looks at the whole, and ends a stream of its own."""
    for path in ("connections", "state"):
        answer = await visitors.administer("GET", path)
        assert answer.status in (200, 503), answer.body
    if visitors.ids:
        answer = await visitors.administer("GET", f"explain?sub=2&stream=bookings&id={random.choice(visitors.ids)}")
        assert answer.status in (200, 503), answer.body
    async with visitors.stream(visitors.somebody()) as stream:
        first = await visitors.first(stream)
        answer = await visitors.administer("DELETE", f"connections/{first.data['connection']}")
        if answer.status == 204:
            heard = await visitors.read(stream, 60, "reconnect")
            assert heard.event is not None or heard.ended, "a stream that an admin has ended goes on"


async def be_refused(visitors: Visitors) -> None:
    """Asks for what it does not get."""
    who = visitors.somebody()
    good = {"Authorization": f"Bearer {token(who.sub, None, 30, roles=list(who.roles))}"}
    path, headers, expected = random.choice(
        (
            ("services", {}, 401),
            ("services", {"Authorization": "Bearer x.y.z"}, 401),
            ("services", {"Authorization": f"Bearer {token(1, None, -30)}"}, 401),
            ("nothing", good, 404),
            ("changes", good, 403),
            ("services?colour=eq.red", good, 400),
            ("services?price=gt.dear", good, 400),
        )
    )
    answer = await visitors.answer(f"/streams/{path}", headers)
    assert answer.status in (expected, 429, 503), f"{path} gets {answer.status} instead of {expected}"
    await visitors.answer("/streams/services", good, method="HEAD")


async def dawdle(visitors: Visitors) -> None:
    """Sends half a request, and waits until it is sent away, or goes itself."""
    _, writer = await asyncio.open_connection("127.0.0.1", random.choice(visitors.ports))
    try:
        writer.write(b"GET /streams/services HTTP/1.1\r\nHost: "[: random.randint(0, 40)])
        await asyncio.sleep(random.uniform(1, 15))
    finally:
        writer.transport.abort()


VISITS: Mapping[str, tuple[float, Callable[[Visitors], Awaitable[None]]]] = {
    "closed (FIN)": (4, finish),
    "cut (RST)": (4, cut),
    "closed by half": (2, close_half),
    "resumed again and again": (4, come_back),
    "came with an old id": (3, come_late),
    "came with garbage": (2, come_with_garbage),
    "took a snapshot": (3, take_snapshot),
    "filtered": (3, filter),
    "did not read": (2, stop_reading),
    "revoked": (1.5, be_revoked),
    "renewed": (1, renew),
    "expired": (1.5, expire),
    "came with a ticket": (2, use_ticket),
    "admins": (0.5, administer),
    "refused": (2, be_refused),
    "half a request": (1, dawdle),
}
