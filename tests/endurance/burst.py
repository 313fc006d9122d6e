"""Large transactions between the small ones: many rows at once, and as many old ones gone at once, so that the tables do not grow."""

import asyncio
import itertools
import random
from contextlib import suppress

import asyncpg

from tests.endurance.load import Load
from tests.support.servers import Servers

_INSERT = """
    insert into public.bookings (customer_id, provider_id, service_id, booking_date, start_time, end_time, notes)
    select customer, provider, 1 + n % 6, now(), now(), now() + interval '1 hour', $1::text || ' for ' || customer || ' and ' || provider
    from (
        select n, customers[1 + n % cardinality(customers)] as customer, providers[1 + n % cardinality(providers)] as provider
        from (values ($2::bigint[], $3::bigint[])) w (customers, providers), generate_series(1, $4::integer) n
    ) b"""
_PRUNE = """
    delete from public.bookings where id in (
        select id from public.bookings where id > $1 and id not in (select id from public.bookings order by id desc limit $2)
        for update skip locked)"""
_KEPT = 200
"""Bookings that come and go."""


async def bursts(load: Load, servers: Servers, stop: asyncio.Event, last: int, pause: tuple[float, float], rows: tuple[int, int]) -> None:
    """Writes so many rows in a transaction, and takes away in another what is too much, after each pause, until stopped.

    Bookings up to the `last` stay.
    """
    connection = await servers.connect(server_settings={"application_name": "writer"})
    try:
        for number in itertools.count(1):
            with suppress(TimeoutError):
                async with asyncio.timeout(random.uniform(*pause)):
                    await stop.wait()
            if stop.is_set():
                return
            note, count = f"note burst {number}", random.randint(*rows)
            customers = random.sample(load.customers, random.randint(1, len(load.customers)))
            with suppress(asyncpg.DeadlockDetectedError):
                await connection.execute(_INSERT, note, customers, load.providers, count)
                load.acknowledged[note] = count
                await connection.execute(_PRUNE, last, _KEPT)
    finally:
        connection.terminate()
