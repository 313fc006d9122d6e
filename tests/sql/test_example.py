"""The example systems: their sample data, and the notifications that a booking writes."""

import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import pytest

import sql
from gateway.bridge.listener import Connection
from gateway.migrator import Plan, migrate
from streams.catalog import load
from tests.support.servers import MAX_BYTES, Servers, fresh

PLAN = Plan(load("streams"), "armed", MAX_BYTES)
OAK_VIEW = "123e4567-e89b-12d3-a456-426614174005"
TOLD = "select user_id, kind, title, body, booking_id, read from notifications where id > $1 order by id"
BOOK = """
    insert into bookings (id, customer_id, provider_id, service_id, booking_date, start_time, end_time)
    values ($1, $2, $3, 1, now(), now(), now() + interval '1 hour')
"""


@pytest.fixture
async def connection(servers: Servers) -> AsyncIterator[Connection]:
    """A connection to a database with the examples."""
    each = await servers.connect()
    yield each
    each.terminate()


@pytest.fixture
def empty(run_servers: Servers) -> Iterator[Servers]:
    """A database in which nothing was ever installed."""
    with fresh(run_servers, "template0") as each:
        yield each


async def values(connection: Connection, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    """Returns the rows of a query as plain tuples."""
    return [tuple(row) for row in await connection.fetch(query, *arguments)]


def warnings_of(connection: Connection) -> list[str]:
    """Returns the list that the server's warnings will go to."""
    told: list[str] = []
    connection.add_log_listener(lambda _, message: told.append(message.message))
    return told


async def test_sample_data(connection: Connection) -> None:
    """Users 1-8 are customers with two bookings each and a payment for each, 9-12 providers who are available, 13 the admin."""
    roles = await values(connection, "select id, role from users order by id")
    assert roles == [(n, "customer" if n <= 8 else "provider" if n <= 12 else "admin") for n in range(1, 14)]
    assert await values(connection, "select id from services order by id") == [(n,) for n in range(1, 7)]
    bookings = "select customer_id, count(*) from bookings where id in (select booking_id from payments) group by 1 order by 1"
    assert await values(connection, bookings) == [(n, 2) for n in range(1, 9)]
    assert await values(connection, "select distinct provider_id from availability order by 1") == [(n,) for n in range(9, 13)]
    assert await values(connection, "select public, count(*) from system_notices group by 1 order by 1") == [(False, 1), (True, 1)]
    assert await connection.fetchval("select count(distinct user_id) from notifications") == 13
    assert await values(connection, "select distinct user_id from saved_searches order by 1") == [(n,) for n in range(1, 9)]
    assert await connection.fetchval("select count(distinct city) from properties") == 4
    assert await connection.fetchval("select count(*) from property_alerts") == 0


async def test_next_ids(connection: Connection) -> None:
    """Whoever adds a row gives no id, and gets the next."""
    add = {
        "users (name, email, role) values ('New', 'new@example.com', 'customer')": 14,
        "services (name, category, price) values ('New', 'new', 1)": 7,
        "payments (booking_id, amount) values (1, 1)": 17,
        "system_notices (title) values ('New')": 3,
    }
    for statement, id in add.items():
        assert await connection.fetchval(f"insert into {statement} returning id") == id


async def test_seed_property(connection: Connection) -> None:
    """The listing of the seed, as JSON, has the seed's numbers digit by digit."""
    text = await connection.fetchval("select row_to_json(p)::text from properties p where id = $1", UUID(OAK_VIEW))
    assert '"name":"Oak View Apartments","city":"Austin","state":"TX","price":12500000,"units":120' in text
    assert '"latitude":30.2742,"longitude":-97.7400' in text
    assert json.loads(text)["created_at"].startswith("2023-02-01T00:00:00")


async def test_older_database(empty: Servers) -> None:
    """A database that has only the bookings of an earlier version gets what it lacks, and keeps what it has."""
    connection = await empty.connect()
    await connection.execute(sql.text("example/homeser.sql"))
    await connection.execute("update bookings set notes = 'mine' where id = 1")
    changed = await migrate(connection, PLAN, examples=True)
    assert [line for line in changed if "example tables" in line] == [
        "example tables: payments, availability, notifications, system_notices",
        "example tables: properties, saved_searches, property_alerts",
        "row-level security of the example tables",
    ]
    assert await connection.fetchval("select notes from bookings where id = 1") == "mine"
    assert await connection.fetchval("select count(*) from payments") == 16
    assert await migrate(connection, PLAN, examples=True) == []
    await connection.close()


@dataclass
class Notified:
    """A database, and the notifications since the last time."""

    connection: Connection
    last: int = 0

    async def since(self) -> list[tuple[Any, ...]]:
        found = await values(self.connection, TOLD, self.last)
        self.last = await self.connection.fetchval("select max(id) from notifications")
        return found


@pytest.fixture
async def notified(connection: Connection) -> Notified:
    """A database whose booking 1, of customer 1 with provider 9, is pending."""
    await connection.execute("update bookings set status = 'pending', provider_id = 9 where id = 1")
    each = Notified(connection)
    await each.since()
    return each


async def test_status_change(notified: Notified) -> None:
    """A change of status is told to the customer and to the provider, once, with the old and the new."""
    await notified.connection.execute("update bookings set status = 'in_progress' where id = 1")
    told = ("booking-status", "Booking in progress", "Booking 1 went from pending to in progress.", 1, False)
    assert await notified.since() == [(1, *told), (9, *told)]


async def test_status_stays(notified: Notified) -> None:
    """An update that leaves the status, or touches no row, tells nobody."""
    await notified.connection.execute("update bookings set notes = 'x', status = 'pending', customer_id = 2 where id = 1")
    await notified.connection.execute("update bookings set status = 'cancelled' where false")
    assert await notified.since() == []


async def test_rolled_back(notified: Notified) -> None:
    """A change that is rolled back was never told."""
    transaction = notified.connection.transaction()
    await transaction.start()
    await notified.connection.execute("update bookings set status = 'cancelled' where id = 1")
    assert len(await values(notified.connection, TOLD, notified.last)) == 2
    await transaction.rollback()
    assert await notified.since() == []


async def test_new_booking(notified: Notified) -> None:
    """A new booking is told to its provider; where there is none, to nobody, also when its status changes."""
    told = warnings_of(notified.connection)
    await notified.connection.execute(
        "insert into bookings (id, customer_id, provider_id, service_id, booking_date, start_time, end_time, notes)"
        " select n, 1, case n when 100 then 9 end, 1, now(), now(), now() + interval '1 hour', null from generate_series(100, 101) n"
    )
    assert await notified.since() == [(9, "booking-created", "New booking", "Booking 100 is new, and pending.", 100, False)]
    await notified.connection.execute("update bookings set status = 'confirmed' where id in (100, 101)")
    assert [(user, booking) for user, *_, booking, _ in await notified.since()] == [(1, 100), (9, 100), (1, 101)]
    assert told == []


async def test_customer_is_provider(notified: Notified) -> None:
    """Who is customer and provider of a booking is told once."""
    await notified.connection.execute(BOOK, 100, 9, 9)
    await notified.connection.execute("update bookings set status = 'confirmed' where id = 100")
    assert [(user, kind) for user, kind, *_ in await notified.since()] == [(9, "booking-created"), (9, "booking-status")]


async def test_many_at_once(notified: Notified) -> None:
    """A statement over many bookings tells of each that has changed, from its own old status."""
    expected = await values(
        notified.connection,
        "select u, format('Booking %s went from %s to cancelled.', id, status) from bookings, unnest(array[customer_id, provider_id]) u"
        " where id <= 10 order by id, u",
    )
    await notified.connection.execute("update bookings set status = 'cancelled' where id <= 10")
    assert [(user, body) for user, _, _, body, *_ in await notified.since()] == expected
    await notified.connection.execute("update bookings set status = 'cancelled'")
    assert len(await notified.since()) == 12


async def test_upserted_booking(notified: Notified) -> None:
    """Of an upsert's rows the new are told as new and the changed as changed."""
    await notified.connection.execute(
        "insert into bookings (id, customer_id, provider_id, service_id, booking_date, start_time, end_time, status)"
        " select n, 1, 9, 1, now(), now(), now() + interval '1 hour', 'cancelled' from unnest(array[1, 100]) n"
        " on conflict (id) do update set status = excluded.status"
    )
    assert sorted((user, kind, booking) for user, kind, _, _, booking, _ in await notified.since()) == [
        (1, "booking-status", 1),
        (9, "booking-created", 100),
        (9, "booking-status", 1),
    ]


async def test_deleted_booking(notified: Notified) -> None:
    """A booking that is deleted takes its payments with it and leaves its notifications, which name it in words."""
    await notified.connection.execute("update bookings set status = 'cancelled' where id = 1; delete from bookings where id = 1")
    assert [(body, booking) for *_, body, booking, _ in await notified.since()] == [("Booking 1 went from pending to cancelled.", None)] * 2
    assert await notified.connection.fetchval("select count(*) from payments where booking_id = 1") == 0


async def test_notifying_fails(notified: Notified) -> None:
    """Where notifications cannot be written the booking is changed all the same, and the log says what is wrong."""
    told = warnings_of(notified.connection)
    await notified.connection.execute("alter table notifications rename column body to text")
    await notified.connection.execute("update bookings set status = 'cancelled' where id = 1")
    await notified.connection.execute(BOOK, 100, 1, 9)
    assert await notified.connection.fetchval("select status from bookings where id = 1") == "cancelled"
    assert await notified.connection.fetchval("select count(*) from bookings where id = 100") == 1
    assert len(told) == 2
    assert all("notified" in text and '"body"' in text for text in told)


async def test_notified_user_is_locked(servers: Servers, notified: Notified) -> None:
    """Who changes a booking does not wait for who changes the email of its customer."""
    other = await servers.connect()
    await other.execute("begin; update users set email = 'other@example.com' where id = 1")
    await notified.connection.execute("set statement_timeout = '5s'; update bookings set status = 'cancelled' where id = 1")
    assert len(await notified.since()) == 2
    other.terminate()


async def test_writer_without_rights(connection: Connection) -> None:
    """Who may write bookings and listings and nothing else writes notifications and alerts by it, and cannot make others do so."""
    await connection.execute(
        "create role clerk; grant select, update on bookings, properties to clerk; grant create on schema public to clerk"
    )
    try:
        await connection.execute("create policy clerk on bookings for all to clerk using (true)")
        await connection.execute("create policy clerk on properties for all to clerk using (true)")
        before = await connection.fetchval("select count(*) from notifications")
        await connection.execute("set role clerk")
        await connection.execute("update bookings set status = 'cancelled' where id = 1; update properties set price = price + 1000")
        await connection.execute("create table mine (like bookings)")
        for name in ("notify_new_booking", "notify_booking_status_change", "alert_new_property", "alert_changed_property"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"create trigger mine after insert on mine for each statement execute function {name}()")
        await connection.execute("reset role")
        assert await connection.fetchval("select count(*) from notifications") == before + 2
        assert await connection.fetchval("select count(*) from property_alerts") == 12
    finally:
        await connection.execute("reset role; drop owned by clerk cascade; drop role clerk")
