"""Nobody gets a byte of what they may not see: whatever they ask for, and while rights are given and taken under load."""

import asyncio
import random
import re
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gateway.fanout.judge import Judge
from gateway.fanout.subscriber import State
from streams.catalog import Catalog, load
from streams.stream import Stream
from tests.support import sse
from tests.support.gateway import Web, bridge, gateway, token, until, web
from tests.support.servers import Servers

GUARDED = Catalog([replace(each, rls=each.name == "bookings") for each in load("streams").values()])
"""With row-level security asked before each booking is told of."""
TAKING = (
    "create table public.taken (customer_id bigint primary key)",
    "grant select on public.taken to authenticated",
    "create policy untaken on public.bookings as restrictive for select to authenticated"
    " using (not exists (select from public.taken t where t.customer_id = bookings.customer_id))",
)
"""Whoever is in this table may see none of their bookings."""


@dataclass
class _User:
    """Somebody who comes and goes, always with the last id, and all that came to them."""

    number: int
    received: list[str] = field(default_factory=list)
    statuses: list[str] = field(default_factory=list)
    refused: int = 0
    last_id: str | None = None

    async def come_and_go(self, door: Web, end: asyncio.Event) -> None:
        while not end.is_set():
            since = {"Last-Event-ID": self.last_id} if self.last_id else {}
            # Now and then with a token that gives no right to bookings any more.
            role = random.choice(["customer", "customer", "customer", "provider"])
            stream = await door.request("/streams/bookings", {"Authorization": f"Bearer {token(self.number, role)}"} | since)
            if role == "provider":
                assert stream.status == 403, stream.body
                self.refused += 1
                continue
            assert stream.status == 200, stream.body
            await self._listen(stream)

    async def _listen(self, stream: sse.Stream) -> None:
        try:
            async with asyncio.timeout(random.uniform(0.05, 0.6)):
                async for event in stream:
                    self.received.append(event.raw)
                    if event.name == "ready":
                        self.statuses.append(event.data["status"])
                    self.last_id = event.id
        except TimeoutError:
            pass
        finally:
            stream.abort()


def _enough(users: list[_User]) -> bool:
    """Says whether something came, some went on where they had been, and some were refused, so that the test means something."""
    canaries = sum(text.count("canary") for user in users for text in user.received)
    resumed = sum(user.statuses.count("resumed") for user in users)
    return canaries > 10 and resumed > 20 and sum(user.refused for user in users) > 5


async def _flip(servers: Servers, users: list[_User], rounds: int, most: int) -> None:
    """Takes rights, writes what must not be seen meanwhile, overwrites it, gives the rights back; and lets bookings change hands.

    So many times, and then until it was enough, up to `most`.
    """
    connection = await servers.connect()
    for number in range(most):
        if number >= rounds and _enough(users):
            break
        who, other = (user.number for user in random.sample(users, 2))
        await connection.execute("insert into taken values ($1)", who)
        await connection.execute("update bookings set notes = $2 where customer_id = $1", who, f"secret-{who}-{number}")
        await asyncio.sleep(random.uniform(0, 0.05))
        await connection.execute("update bookings set notes = $2 where customer_id = $1", who, f"canary-{who}-{number}")
        await connection.execute("delete from taken")
        moved = random.randint(1, 16)
        await connection.execute("update bookings set customer_id = $1, notes = $2 where id = $3", other, f"canary-{other}-{number}", moved)
    await connection.close()


async def _flipped(servers: Servers, rounds: int, most: int = 2000) -> list[_User]:
    users = [_User(number) for number in range(1, 9)]
    connection = await servers.connect()
    for statement in TAKING:
        await connection.execute(statement)
    await connection.close()
    async with bridge(servers), web(servers, GUARDED) as door:
        end = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for user in users:
                group.create_task(user.come_and_go(door, end))
            await until(lambda: all(user.statuses for user in users))
            await _flip(servers, users, rounds, most)
            end.set()
    return users


async def test_rights_that_flip(servers: Servers, pytestconfig: pytest.Config) -> None:
    """However rights, owners and tokens change, live and replayed: no canary of another, and nothing written meanwhile."""
    users = await _flipped(servers, 400 if pytestconfig.getoption("--long") else 30)
    for user in users:
        text = " ".join(user.received)
        assert set(re.findall(r"canary-(\d+)-", text)) <= {str(user.number)}
        assert "secret" not in text
    assert _enough(users)


async def test_control_nothing_is_judged(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were row-level security not asked, the same users would see what was written while they had no right."""

    async def all_of_it(self: Judge, subscriber: Any, page: Any) -> Any:
        return page

    monkeypatch.setattr(Judge, "judged", all_of_it)
    users = await _flipped(servers, 10)
    assert any("secret" in text for user in users for text in user.received)


NAMES = ("bookings-changes-2", "bookings-changes", "bookings-changes-{user_id}", "bookings-2", "changes-2", "rowcast:{0}:head")
"""What channels and keys are called, and no stream."""
QUERIES = (
    *("customer_id=eq.2", "customer_id=neq.1", "not.customer_id=eq.1", "customer_id=in.(1,2)", "or=(customer_id.eq.2)"),
    *("user_id=2", "sub=2", "channel=bookings-changes-2", "bookings.customer_id=eq.2", "provider_id=eq.9", "notes=like.*canary*"),
    *("select=*", "lastEventId=bookings-changes-2", "provider_id=9", "role=admin", "format=raw&sub=2", "snapshot=1&customer_id=eq.2"),
)
"""What asks for somebody else's rows, whether it is understood or not."""


async def _change(servers: Servers, customer: int, note: str) -> None:
    connection = await servers.connect()
    await connection.execute("update bookings set notes = $2 where customer_id = $1", customer, note)
    await connection.close()


async def _probe(servers: Servers) -> str:
    """Asks for another user's rows in every way; returns all that came."""
    mine = {"Authorization": f"Bearer {token(1)}"}
    async with gateway(servers) as door, AsyncExitStack() as stack:
        await _change(servers, 2, "canary of before")
        theirs = await stack.enter_async_context(door.stream("bookings", 2, since="earliest"))
        ids = [event.id for event in await theirs.events(2)]
        asked = [(f"/streams/bookings?{query}", mine) for query in QUERIES]
        asked += [("/streams/bookings,services", mine | {"Last-Event-ID": since}) for since in (*ids, "earliest")]
        answers = [await door.request(path, headers) for path, headers in asked]
        told = [answer.body.decode() for answer in answers if answer.status != 200]
        streams = [answer for answer in answers if answer.status == 200]
        assert len(streams) > 3
        witness = await stack.enter_async_context(door.stream("bookings", 1))
        await until(lambda: all(each.state is State.LIVE for each in door.hub.roster.subscribers))
        await _change(servers, 2, "canary of now")
        await theirs.events(2)
        await _change(servers, 1, "canary-less, the end")
        # Who hears the same channel is told in the same turn, if at all.
        while "the end" not in (await witness.next()).raw:
            pass
        for subscriber in list(door.hub.roster.subscribers):
            door.hub.end(subscriber, "admin")
        for stream in streams:
            told += [event.raw async for event in stream]
            stream.abort()
    return " ".join(told)


async def test_probing(servers: Servers) -> None:
    """Neither filters nor parameters, nor ids of another's events, nor errors, bring a byte of another's rows."""
    text = await _probe(servers)
    assert "the end" in text
    assert "canary of" not in text


async def test_control_a_channel_too_many(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were another's channel among those that somebody hears, the same search would find it."""
    channels = Stream.channels

    def too_many(self: Stream, owner: Any) -> tuple[str, ...]:
        return (*channels(self, owner), "bookings-changes-2") if self.name == "bookings" else channels(self, owner)

    monkeypatch.setattr(Stream, "channels", too_many)
    assert "canary of" in await _probe(servers)


@pytest.mark.parametrize("name", NAMES)
async def test_names_that_are_no_streams(servers: Servers, name: str) -> None:
    """What is a channel of somebody's, and what is nothing at all, is answered alike: there is no such stream."""
    mine = {"Authorization": f"Bearer {token(1)}"}
    async with web(servers) as door:
        nothing = await door.request("/streams/nonesuch", mine)
        answer = await door.request(f"/streams/{name}", mine)
        assert answer.status == nothing.status == 404
        assert answer.body.replace(name.encode(), b"nonesuch") == nothing.body
