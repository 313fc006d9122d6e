"""Alerts of the listings: one for each important change, to exactly those whose saved searches match it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import astuple, dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.bridge.listener import Connection
from tests.sql.test_example import OAK_VIEW, values, warnings_of
from tests.support.servers import Servers

BARTON_CREEK = "123e4567-e89b-12d3-a456-426614174000"
ALERTS = "select kind, price, old_price, status, old_status, user_ids from property_alerts order by id"


@pytest.fixture
async def connection(servers: Servers) -> AsyncIterator[Connection]:
    """A connection to a database with the examples."""
    each = await servers.connect()
    yield each
    each.terminate()


@dataclass(frozen=True)
class Property:
    """A listing, as far as searches look at it."""

    city: str
    state: str
    price: int
    units: int
    status: str


@dataclass(frozen=True)
class Search:
    """What one user looks for: None, and an empty city or state, is any."""

    user_id: int
    city: str | None
    state: str | None
    min_price: int | None
    max_price: int | None
    min_units: int | None
    max_units: int | None

    def matches(self, property: Property) -> bool:
        return (
            (not self.city or self.city == property.city)
            and (not self.state or self.state == property.state)
            and (self.min_price is None or self.min_price <= property.price)
            and (self.max_price is None or self.max_price >= property.price)
            and (self.min_units is None or self.min_units <= property.units)
            and (self.max_units is None or self.max_units >= property.units)
        )


def expected_alert(searches: list[Search], old: Property | None, new: Property) -> tuple[Any, ...] | None:
    """Returns kind, price, old price, status, old status and users of a change's alert, or None where there is none."""
    if old is not None and (old.price, old.status) == (new.price, new.status):
        return None
    users = {s.user_id for s in searches if s.matches(new) or (old is not None and s.matches(old))}
    if not users:
        return None
    price = old.price if old is not None and old.price != new.price else None
    status = old.status if old is not None and old.status != new.status else None
    kind = "created" if old is None else "status" if status else "price"
    return kind, new.price, price, new.status, status, sorted(users)


_cities, _states = st.sampled_from(["Austin", "Dallas", "O'Fallon", ""]), st.sampled_from(["TX", "OR", ""])
_prices, _units = st.sampled_from([0, 1, 2, 3, 2**63 - 1]), st.sampled_from([0, 1, 2, 2**31 - 1])
_properties = st.builds(Property, _cities, _states, _prices, _units, st.sampled_from(["available", "pending", "sold"]))
_searches = st.builds(
    Search,
    st.integers(1, 5),
    st.none() | _cities,
    st.none() | _states,
    st.none() | _prices | st.just(-1),
    st.none() | _prices,
    st.none() | _units | st.just(-1),
    st.none() | _units,
)
_rows = st.dictionaries(st.integers(1, 5), _properties, min_size=1)
_INSERT = """
    insert into properties (id, name, city, state, price, units, status)
    select ('00000000-0000-0000-0000-00000000000' || n)::uuid, 'x', city, state, price, units, status
    from unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::int[], $6::text[]) x (n, city, state, price, units, status)
"""
_UPSERT = _INSERT + (
    "on conflict (id) do update set city = excluded.city, state = excluded.state, price = excluded.price,"
    " units = excluded.units, status = excluded.status"
)
_UPDATE = """
    update properties p set city = x.city, state = x.state, price = x.price, units = x.units, status = x.status
    from unnest($1::int[], $2::text[], $3::text[], $4::bigint[], $5::int[], $6::text[]) x (n, city, state, price, units, status)
    where p.id = ('00000000-0000-0000-0000-00000000000' || x.n)::uuid
"""


def test_alerts_reach_who_is_watching(servers: Servers) -> None:
    """Whatever is searched for and whatever changes: each important change is one alert, to whom a plain reading of their searches says."""
    loop = asyncio.new_event_loop()
    connection: Connection = loop.run_until_complete(servers.connect())

    async def work(searches: list[Search], first: dict[int, Property], updated: dict[int, Property], upserted: dict[int, Property]) -> None:
        await connection.execute("delete from saved_searches; delete from properties")
        await connection.executemany(
            "insert into saved_searches (user_id, city, state, min_price, max_price, min_units, max_units)"
            " values ($1, $2, $3, $4, $5, $6, $7)",
            [astuple(search) for search in searches],
        )
        now: dict[int, Property] = {}
        for statement, rows in ((_INSERT, first), (_UPDATE, updated), (_UPSERT, upserted)):
            changed = {n: row for n, row in rows.items() if statement != _UPDATE or n in now}
            expected = {n: expected_alert(searches, now.get(n), row) for n, row in changed.items()}
            now |= changed
            await connection.execute("delete from property_alerts")
            columns = zip(*[(n, row.city, row.state, row.price, row.units, row.status) for n, row in rows.items()], strict=True)
            await connection.execute(statement, *columns)
            found = await connection.fetch(
                "select property_id, kind, price, old_price, status, old_status, user_ids from property_alerts order by property_id"
            )
            assert [(int(each[0].hex[-1]), *each[1:]) for each in map(tuple, found)] == [
                (n, *alert) for n, alert in sorted(expected.items()) if alert is not None
            ]

    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(st.lists(_searches, max_size=12), _rows, _rows, _rows)
    def judge(searches: list[Search], first: dict[int, Property], updated: dict[int, Property], upserted: dict[int, Property]) -> None:
        async def rolled_back() -> None:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await work(searches, first, updated, upserted)
            finally:
                await transaction.rollback()

        loop.run_until_complete(rolled_back())

    try:
        judge()
    finally:
        loop.run_until_complete(connection.close())
        loop.close()


async def test_alert_of_price_and_status(connection: Connection) -> None:
    """A new price and a new status in one statement are one alert, which has both."""
    await connection.execute("update properties set status = 'pending', price = 9800000 where id = $1", UUID(BARTON_CREEK))
    assert await values(connection, ALERTS) == [("status", 9_800_000, 10_000_000, "pending", "available", [1, 3, 7, 8])]


async def test_alert_of_what_leaves_a_search(connection: Connection) -> None:
    """Who was watching a listing is told that it has become too dear, and then no more."""
    for price in (15_000_001, 15_000_002):
        await connection.execute("update properties set price = $2 where id = $1", UUID(OAK_VIEW), price)
    assert await values(connection, ALERTS) == [
        ("price", 15_000_001, 12_500_000, "available", None, [1, 2, 7, 8]),
        ("price", 15_000_002, 15_000_001, "available", None, [2, 7, 8]),
    ]


async def test_unimportant_update(connection: Connection) -> None:
    """An update of anything but price and status alerts nobody, nor does one to the same price and status."""
    for change in (
        "name = 'x'",
        "updated_at = now()",
        "city = 'Dallas', units = 1, latitude = null",
        "price = price, status = status",
        "id = gen_random_uuid()",
    ):
        await connection.execute(f"update properties set {change}")
    assert await values(connection, ALERTS) == []


async def test_nobody_is_watching(connection: Connection) -> None:
    """Where nobody is watching there is no alert, and deleting a listing leaves the alerts of it."""
    await connection.execute("delete from saved_searches where user_id <> 2")
    await connection.execute("update properties set price = price + 1000")
    assert await values(connection, "select distinct city, user_ids from property_alerts") == [("Austin", [2])]
    before = await connection.fetchval("select count(*) from property_alerts")
    await connection.execute("delete from properties")
    assert await connection.fetchval("select count(*) from property_alerts") == before


async def test_alerting_fails(connection: Connection) -> None:
    """Where alerts cannot be written the listing is changed all the same, and the log says what is wrong."""
    told = warnings_of(connection)
    await connection.execute("alter table saved_searches rename column min_units to least_units")
    await connection.execute("update properties set price = 1 where id = $1", UUID(OAK_VIEW))
    new = uuid4()
    await connection.execute("insert into properties (id, name, city, state, price, units) values ($1, 'x', 'Austin', 'TX', 1, 1)", new)
    assert await connection.fetchval("select count(*) from properties where price = 1 and id = any ($1)", [new, UUID(OAK_VIEW)]) == 2
    assert len(told) == 2
    assert all("alerted" in text and "min_units" in text for text in told)


async def test_matching_is_probes(connection: Connection) -> None:
    """Among many searches those that match are found by the index alone, also those for any city or state."""
    await connection.execute(
        "insert into saved_searches (user_id, city, state, min_price) select n, nullif('City ' || n % 200, 'City 7'), 'S' || n % 20, n"
        " from generate_series(1, 20000) n"
    )
    await connection.execute("analyze saved_searches")
    plan = "\n".join(row[0] for row in await connection.fetch("explain select * from watching('City 7', 'S7', 8000000, 49)"))
    assert "saved_searches_match" in plan
    assert "Seq Scan" not in plan
