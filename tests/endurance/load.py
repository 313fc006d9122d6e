"""Writers at a pace, over users and bookings enough: each remembers what Postgres has acknowledged, and counts what it refused.

- Each note names those whose booking it is. A client that receives another's name has received what it must not.
- Postgres may be away; whatever else a writer is told is an error of ours.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from tests.gateway.fanout.traffic import Connection, Traffic
from tests.support.servers import Servers

_USERS = """
    insert into public.users (name, email, role)
    select $1 || n, $1 || n || '@example.com', $1 from generate_series(1, $2::integer) n returning id"""
_INSERT = """
    insert into public.bookings (customer_id, provider_id, service_id, booking_date, start_time, end_time, notes)
    select customer, provider, 1 + n % 6, now(), now(), now() + interval '1 hour', $1::text || ' for ' || customer || ' and ' || provider
    from unnest($2::bigint[], $3::bigint[]) with ordinality as b (customer, provider, n)"""
_UPDATE = """
    update public.bookings set notes = $1::text || ' for ' || customer_id || ' and ' || provider_id, status = $3
    where id = any($2::bigint[])"""
_MOVE = """
    update public.bookings set notes = $1::text || ' for ' || $3::bigint || ' and ' || $4::bigint, customer_id = $3, provider_id = $4
    where id = $2"""
_SERVICE = "update public.services set description = $1::text where id = $2"
_DELETE = """
    delete from public.bookings where id in (
        select id from public.bookings where id > $1 order by id limit $2 for update skip locked)"""
_KINDS = {"several": 3.0, "one": 4.0, "insert": 2.0, "move": 2.0, "service": 0.2}
_STATUSES = ("pending", "confirmed", "in_progress")

AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)
"""What a writer is told when Postgres is not there."""


class Load(Traffic):
    """Traffic of `rate` changes a second over these users' bookings."""

    def __init__(self, customers: Sequence[int], providers: Sequence[int], bookings: Sequence[int], rate: float) -> None:
        super().__init__()
        self.customers, self.providers = customers, providers
        self.errors: Counter[str] = Counter()
        """What writers were told that is not Postgres being away."""
        self.times_away = 0
        self.bookings = bookings
        self._rate = rate
        self._due = 0.0

    @staticmethod
    async def prepare(connection: Connection, customers: int, providers: int, bookings: int, rate: float) -> "Load":
        """Makes users and bookings."""
        made = [row["id"] for row in await connection.fetch(_USERS, "customer", customers)]
        serving = [row["id"] for row in await connection.fetch(_USERS, "provider", providers)]
        # Who serves may book too.
        booking = made + serving
        whose = [(booking[n % len(booking)], serving[n % len(serving)]) for n in range(bookings)]
        rows = await connection.fetch(_INSERT + " returning id", "the beginning", [c for c, _ in whose], [p for _, p in whose])
        return Load(booking, serving, [row["id"] for row in rows], rate)

    @property
    def committed(self) -> int:
        """How many changes Postgres has acknowledged."""
        return self.acknowledged.total()

    async def write(self, servers: Servers, stop: asyncio.Event, pause: float = 0.0) -> None:
        """Commits transactions until stopped; connects again whenever Postgres has gone away."""
        while not stop.is_set():
            try:
                connection = await servers.connect(timeout=5, server_settings={"deadlock_timeout": "50ms", "application_name": "writer"})
                try:
                    while not stop.is_set():
                        await self.transaction(connection)
                        await asyncio.sleep(max(pause, self._due - time.monotonic()))
                finally:
                    connection.terminate()
            except AWAY:
                self.times_away += 1
            except asyncpg.PostgresError as error:
                self.errors[f"{type(error).__name__}: {error}"] += 1
            await asyncio.sleep(random.uniform(0.02, 0.1))

    async def _statement(self, connection: Connection, note: str) -> int:
        if random.random() < 0.18:
            await connection.execute(_DELETE, self.bookings[-1], random.randint(1, 3))
        status = random.choice(_STATUSES) if random.random() < 0.02 else "confirmed"
        customer, provider = random.choice(self.customers), random.choice(self.providers)
        one = random.choice(self.bookings)
        args: tuple[Any, ...]
        match random.choices(list(_KINDS), list(_KINDS.values()))[0]:
            case "several":
                statement, args = _UPDATE, (note, sorted(random.sample(self.bookings, random.randint(2, 6))), status)
            case "one":
                statement, args = _UPDATE, (note, [one], status)
            case "insert":
                number = random.randint(1, 3)
                statement, args = _INSERT, (note, random.sample(self.customers, number), [provider] * number)
            case "move":
                statement, args = _MOVE, (note, one, customer, provider)
            case _:
                statement, args = _SERVICE, (note, random.randint(1, 6))
        rows = int((await connection.execute(statement, *args)).split()[-1])
        # What was not written while Postgres was away is not made up for, but for a moment's worth. One in ten is taken back.
        self._due = max(self._due, time.monotonic() - 0.5) + 0.9 * rows / self._rate
        return rows

    async def open_for_long(self, servers: Servers, seconds: float) -> None:
        """Holds a transaction open, and commits it, unless Postgres has gone away meanwhile. It locks nobody's row."""
        note = f"note {next(self._numbers)}"
        connection = None
        try:
            connection = await servers.connect(timeout=5)
            transaction = connection.transaction()
            await transaction.start()
            await connection.execute(_INSERT, note, [self.customers[0]] * 3, [self.providers[0]] * 3)
            await asyncio.sleep(seconds)
            try:
                await transaction.commit()
            except BaseException:
                self.doubtful[note] = 3
                raise
            self.acknowledged[note] = 3
        except AWAY:
            self.times_away += 1
        except asyncpg.PostgresError as error:
            self.errors[f"{type(error).__name__}: {error}"] += 1
        finally:
            if connection is not None:
                connection.terminate()

    async def close(self, connection: Connection) -> None:
        """Writes the last change of each channel: whoever has it has all that came before, and nothing comes after."""
        note = f"note {next(self._numbers)}"
        turns = [self.providers[n % len(self.providers)] for n in range(len(self.customers))]
        async with connection.transaction():
            await connection.execute(_INSERT, note, self.customers, turns)
            await connection.execute(_SERVICE, note, 1)
        self.acknowledged[note] = len(self.customers) + 1

    def contradictions(self, notes: Counter[str]) -> list[str]:
        """Says where a log with these notes contradicts what was acknowledged; an empty list is right."""
        found = [f"{note}: {n} rows, {notes[note]} in the log" for note, n in self.acknowledged.items() if notes[note] != n]
        found += [f"{note}: half a transaction" for note, n in self.doubtful.items() if notes[note] not in (0, n)]
        known = self.acknowledged.keys() | self.doubtful.keys()
        return found + [f"{note}: was never committed" for note in notes if note.startswith("note ") and note not in known]


@asynccontextmanager
async def loaded(load: Load, servers: Servers, writers: int) -> AsyncIterator[None]:
    """Writes for as long as the block lasts."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(writers):
            group.create_task(load.write(servers, stop))
        try:
            yield
        finally:
            stop.set()
