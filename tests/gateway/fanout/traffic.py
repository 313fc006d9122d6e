"""Writers of the example tables, what Postgres has acknowledged to them, and a gateway with clients while they write."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeAlias

import asyncpg

from gateway.task import ended
from tests.support.gateway import Web, bridge_of, until, web
from tests.support.ledger import Ledger, Reader, agreed, reading
from tests.support.servers import Servers

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_INSERT = """
    insert into public.bookings (customer_id, provider_id, service_id, booking_date, start_time, end_time, notes)
    select $2, $3, 1 + n % 6, now(), now(), now() + interval '1 hour', $1 from generate_series(1, $4) n"""
_UPDATE = "update public.bookings set notes = $1, status = 'confirmed' where id = any($2)"
_MOVE = "update public.bookings set notes = $1, customer_id = $3, provider_id = $4 where id = $2"
_SERVICE = "update public.services set description = $1 where id = $2"
_DELETE = """
    delete from public.bookings
    where id = (select id from public.bookings where id > 16 order by id limit 1 for update skip locked)"""


RESTLESS = (0.0, 1.2)
NERVOUS = (0.0, 0.05)
"""Mostly cut while it is still joining."""


class Traffic:
    """What was committed, by note: each transaction writes its own into every row that it changes."""

    def __init__(self) -> None:
        self.acknowledged: Counter[str] = Counter()
        self.doubtful: Counter[str] = Counter()
        """The commit was sent and not answered: all of it happened, or nothing."""
        self.taken_back: set[str] = set()
        self._numbers = itertools.count(1)

    def faults(self, ledger: Ledger) -> list[str]:
        """Says where the log contradicts what was acknowledged; an empty list is right."""
        found = [f"{note}: {n} rows, {ledger.notes[note]} in the log" for note, n in self.acknowledged.items() if ledger.notes[note] != n]
        found += [f"{note}: half a transaction" for note, n in self.doubtful.items() if ledger.notes[note] not in (0, n)]
        found += [f"{note}: was taken back" for note in self.taken_back if ledger.notes[note]]
        return found

    async def write(self, servers: Servers, stop: asyncio.Event, pause: float) -> None:
        """Commits transactions until stopped; connects again whenever Postgres has gone away."""
        while not stop.is_set():
            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                connection = await servers.connect(timeout=5, server_settings={"deadlock_timeout": "20ms"})
                try:
                    while not stop.is_set():
                        await self.transaction(connection)
                        await asyncio.sleep(random.uniform(0, 2 * pause))
                finally:
                    connection.terminate()
            await asyncio.sleep(0.02)

    async def transaction(self, connection: Connection) -> None:
        """One transaction of one statement or several, of one row or several; one in ten is taken back."""
        note, rows = f"note {next(self._numbers)}", 0
        transaction = connection.transaction()
        await transaction.start()
        try:
            for _ in range(random.choice((1, 1, 2, 3))):
                rows += await self._statement(connection, note)
        except asyncpg.DeadlockDetectedError:
            await transaction.rollback()
            self.taken_back.add(note)
            return
        if random.random() < 0.1:
            await transaction.rollback()
            self.taken_back.add(note)
            return
        try:
            await transaction.commit()
        except BaseException:
            self.doubtful[note] = rows
            raise
        self.acknowledged[note] = rows

    async def _statement(self, connection: Connection, note: str) -> int:
        user, provider = random.randint(1, 12), random.randint(9, 12)
        one = random.randint(1, 16)
        choice: list[tuple[str, tuple[Any, ...]]] = [
            (_UPDATE, (note, sorted(random.sample(range(1, 17), random.randint(1, 4))))),
            (_UPDATE, (note, [one])),
            (_INSERT, (note, user, provider, random.randint(1, 3))),
            (_MOVE, (note, one, user, provider)),
            (_SERVICE, (note, random.randint(1, 6))),
        ]
        if random.random() < 0.1:
            await connection.execute(_DELETE)
        statement, args = random.choice(choice)
        return int((await connection.execute(statement, *args)).split()[-1])


@asynccontextmanager
async def writing(servers: Servers, writers: int = 3, pause: float = 0.01) -> AsyncIterator[Traffic]:
    """Writes for as long as the block lasts."""
    traffic, stop = Traffic(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(writers):
            group.create_task(traffic.write(servers, stop, pause))
        try:
            yield traffic
        finally:
            stop.set()


def restless(web: Web) -> list[Reader]:
    """Readers of one stream and of several, some of them customer and provider of the same booking, and one that stays."""
    readers = [Reader(web, "bookings", user, RESTLESS) for user in range(1, 9)]
    readers += [Reader(web, "provider-bookings", user, RESTLESS) for user in range(9, 13)]
    readers += [Reader(web, "bookings,services", user, RESTLESS) for user in range(1, 5)]
    readers += [Reader(web, "bookings,provider-bookings", user, RESTLESS) for user in range(9, 13)]
    readers += [Reader(web, "bookings,provider-bookings,services", user, NERVOUS) for user in (9, 10)]
    return [*readers, Reader(web, "bookings,provider-bookings,services", 12), Reader(web, "services", 1)]


def audience(web: Web) -> list[Reader]:
    """Readers that hold on to their connection, of one stream and of several."""
    return [
        *(Reader(web, "bookings", user) for user in range(1, 5)),
        Reader(web, "provider-bookings", 9),
        Reader(web, "bookings,provider-bookings,services", 11),
        Reader(web, "services", 1),
    ]


@asynccontextmanager
async def under_load(bridge_servers: Servers, web_servers: Servers) -> AsyncIterator[list[Reader]]:
    """Runs a gateway with clients and writers; afterwards everybody has everything, on the connection that they opened first.

    A bridge that does not live through the block ends it with its error.
    """
    async with asyncio.TaskGroup() as group, web(web_servers) as gateway, reading(readers := audience(gateway)):
        bridge = group.create_task(bridge_of(bridge_servers).run())
        async with writing(web_servers, writers=2) as traffic:
            await go_on(readers)
            yield readers
            await go_on(readers)
        ledger, faults = await agreed(web_servers, readers)
        assert faults == []
        assert [(reader.statuses, reader.resets) for reader in readers] == [(["fresh"], [])] * len(readers)
        assert traffic.faults(ledger) == []
        await ended([bridge])


async def go_on(readers: list[Reader]) -> None:
    """Waits until events arrive again."""
    before = len(readers[-1].lines)
    await until(lambda: len(readers[-1].lines) > before + 2)


async def written(servers: Servers, entries: int = 30) -> None:
    """Waits until so many more changes have a position."""
    connection = await servers.connect()

    async def head() -> int:
        return int(await connection.fetchval("select max(position) from rowcast.head"))

    try:
        target = await head() + entries

        async def reached() -> bool:
            return await head() >= target

        await until(reached)
    finally:
        await connection.close()
