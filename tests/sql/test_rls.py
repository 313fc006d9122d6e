"""Row-level security of the examples: a role and its claims see exactly the rows that the rule says, and nobody sees none."""

from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest

import sql
from gateway.bridge.listener import Connection
from gateway.migrator import Plan, migrate
from streams.catalog import load
from tests.sql.published import Published
from tests.sql.test_example import BOOK
from tests.support.servers import MAX_BYTES, Servers, fresh

PLAN = Plan(load("streams"), "armed", MAX_BYTES)
RULES = {
    "users": "id = {user} or {admin}",
    "services": "{anybody}",
    "bookings": "customer_id = {user} or (provider_id = {provider} and {serves}) or {admin}",
    "payments": "(select customer_id from bookings b where b.id = booking_id) = {user} or {admin}",
    "availability": "(provider_id = {provider} and {serves}) or {admin}",
    "notifications": "user_id = {user} or {admin}",
    "system_notices": "(public and {anybody}) or {admin}",
    "properties": "{anybody}",
    "saved_searches": "user_id = {user}",
    "property_alerts": "{user} = any (user_ids) or {admin}",
}


def who(user: object, roles: str = "", provider: object = None) -> dict[str, str]:
    """Returns what a rule needs to know about somebody; ids are numbers, or `null` where the claims name none."""
    return {
        "user": f"{user}::bigint",
        "provider": f"{user if provider is None else provider}::bigint",
        "serves": str("provider" in roles),
        "admin": str("admin" in roles),
        "anybody": "true",
    }


NOBODY = who("null") | {"anybody": "false"}
SOMEBODY = {
    '{"sub": "1", "role": "customer"}': who(1),
    '{"sub": 1, "roles": ["customer"]}': who(1),
    '{"sub": "9", "role": "provider"}': who(9, "provider"),
    '{"sub": "9", "role": "customer"}': who(9),
    '{"sub": "9", "roles": ["customer", "provider"]}': who(9, "provider"),
    '{"sub": "2", "role": "provider", "provider_id": "10"}': who(2, "provider", 10),
    '{"sub": "2", "role": "provider", "provider_id": 10}': who(2, "provider", 10),
    '{"sub": "9", "role": "provider", "provider_id": null}': who(9, "provider", "null"),
    '{"sub": "ada", "role": "provider", "provider_id": "10"}': who("null", "provider", 10),
    '{"sub": "13", "role": "admin"}': who(13, "admin"),
    '{"sub": "13", "roles": ["admin", "customer"]}': who(13, "admin"),
    '{"sub": "3", "role": "admin", "roles": ["customer"]}': who(3),
    '{"sub": "3", "role": "admin", "roles": null}': who(3),
    '{"sub": "3", "role": ["Admin", "administrator", ["admin"], null, 1]}': who(3),
    '{"sub": "3", "roles": {"admin": true}}': who(3),
    '{"sub": "ada", "role": "customer"}': who("null"),
    '{"sub": "01", "role": "customer"}': who("null"),
    '{"sub": "1 ", "role": "customer"}': who("null"),
    '{"sub": "1\\n", "role": "customer"}': who("null"),
    '{"sub": "-1", "role": "customer"}': who("null"),
    '{"sub": "1e0", "role": "customer"}': who("null"),
    '{"sub": 1.0, "role": "customer"}': who("null"),
    '{"sub": "999999999999999999999999999", "role": "customer"}': who("null"),
    '{"sub": "1 or true", "role": "customer"}': who("null"),
}
NONE = [
    None,
    "",
    "{}",
    "[]",
    "null",
    "true",
    "13",
    '"13"',
    '["13"]',
    '{"role": "admin"}',
    '{"roles": ["admin"], "provider_id": "9"}',
    '{"sub": "", "role": "admin"}',
    '{"sub": null, "role": "admin"}',
    '{"sub": true, "role": "admin"}',
    '{"sub": ["13"], "role": "admin"}',
    '{"sub": {"id": "13"}, "role": "admin"}',
    '{"Sub": "13", "role": "admin"}',
]
GARBAGE = [" ", "13 admin", "{", '{"sub": "13", "role": "admin"', '{"sub": "1"}{"sub": "13"}', '{"sub": "1\\u0000"}', "{'sub': '13'}"]


@pytest.fixture
async def connection(servers: Servers) -> AsyncIterator[Connection]:
    """A connection to examples in which there are alerts, a booking without a provider, and one of a provider's own."""
    each = await servers.connect()
    await each.execute("update properties set price = price + 1000; update bookings set status = 'cancelled' where id < 9")
    await each.execute(BOOK, 100, 1, None)
    await each.execute(BOOK, 101, 9, 10)
    await each.execute(
        "insert into payments (booking_id, amount) values (100, 1), (101, 1); insert into saved_searches (user_id) values (13)"
    )
    yield each
    each.terminate()


async def seen(connection: Connection, table: str, claims: str | None, role: str = "authenticated") -> list[str]:
    """Returns the keys that a role sees with these claims; None leaves the setting alone."""
    async with connection.transaction():
        await connection.execute(f"set local role {role}")
        if claims is not None:
            await connection.execute("select set_config('request.jwt.claims', $1, true)", claims)
        return [row[0] for row in await connection.fetch(f"select id::text from {table} order by id")]


async def allowed(connection: Connection, table: str, somebody: dict[str, str]) -> list[str]:
    """Returns the keys that the rule gives somebody, asked by a superuser, who sees every row."""
    return [row[0] for row in await connection.fetch(f"select id::text from {table} where {RULES[table].format(**somebody)} order by id")]


@pytest.mark.parametrize("table", RULES)
async def test_somebody_sees_what_the_rule_says(connection: Connection, table: str) -> None:
    """For any claims the rows that are seen are those of the rule, and never an error."""
    for claims, somebody in SOMEBODY.items():
        assert (claims, await seen(connection, table, claims)) == (claims, await allowed(connection, table, somebody))
    counts = {len(await allowed(connection, table, somebody)) for somebody in SOMEBODY.values()}
    assert counts != {0}
    assert len(await seen(connection, table, '{"sub": "13", "role": "admin"}')) > 0


@pytest.mark.parametrize("table", RULES)
async def test_nobody_sees_nothing(connection: Connection, table: str) -> None:
    """Claims that are absent, empty or without a subject show no row and are no error; what is no JSON is an error."""
    assert await connection.fetchval(f"select count(*) from {table}") > 0
    assert await allowed(connection, table, NOBODY) == []
    for claims in NONE:
        assert (claims, await seen(connection, table, claims)) == (claims, [])
    for claims in GARBAGE:
        with pytest.raises(asyncpg.DataError):
            await seen(connection, table, claims)


@pytest.mark.parametrize("table", RULES)
async def test_negative_control(connection: Connection, table: str) -> None:
    """Without row-level security, and with a policy that admits all, everybody sees everything: the rules above are its doing."""
    total = await connection.fetchval(f"select count(*) from {table}")
    assert len(await seen(connection, table, '{"sub": "ada"}')) < total or table in ("services", "properties")
    await connection.execute(f"create policy all_of_it on {table} for select to authenticated using (true)")
    assert len(await seen(connection, table, None)) == total
    await connection.execute(f"drop policy all_of_it on {table}; alter table {table} disable row level security")
    assert len(await seen(connection, table, None)) == total


@pytest.mark.parametrize("table", RULES)
async def test_rights(connection: Connection, table: str) -> None:
    """`authenticated` reads and does not write, `anon` does neither, whatever they claim."""
    for statement in (f"delete from {table}", f"update {table} set id = id", f"insert into {table} default values", f"truncate {table}"):
        async with connection.transaction():
            await connection.execute("set local role authenticated")
            await connection.execute("""select set_config('request.jwt.claims', '{"sub": "13", "role": "admin"}', true)""")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await seen(connection, table, '{"sub": "13", "role": "admin"}', role="anon")


async def test_claims_are_read_once(connection: Connection) -> None:
    """The claims are read once a query: no policy calls a function for each row."""
    for table in RULES:
        async with connection.transaction():
            await connection.execute("""select set_config('request.jwt.claims', '{"sub": "1"}', true); set local role authenticated""")
            plan = "\n".join(row[0] for row in await connection.fetch(f"explain (verbose) select id from {table}"))
        filters = [line for line in plan.splitlines() if "Filter:" in line]
        assert "InitPlan" in plan
        assert [line for line in filters if "current_setting" in line or "rls." in line] == []


async def test_nobody_has_no_identity(connection: Connection) -> None:
    """For policies of a user's own: nobody is no user, no provider, and has no role, whatever the claims name."""
    for claims in NONE:
        await connection.execute("select set_config('request.jwt.claims', $1, false)", claims or "")
        row = await connection.fetchrow("select rls.subject(), rls.user_id(), rls.provider_id(), rls.has_role('admin')")
        assert row is not None
        assert (claims, *row) == (claims, None, None, None, False)


async def test_claims_end_with_the_transaction(connection: Connection) -> None:
    """A connection that goes back to the pool carries nobody's claims, and an empty setting is nobody."""
    assert await seen(connection, "bookings", '{"sub": "1"}') != []
    assert await connection.fetchval("select current_setting('request.jwt.claims', true)") == ""
    assert await seen(connection, "bookings", None) == []


@pytest.fixture
def empty(run_servers: Servers) -> Iterator[Servers]:
    """A database in which nothing was ever installed."""
    with fresh(run_servers, "template0") as each:
        yield each


@pytest.fixture
async def kept(empty: Servers) -> AsyncIterator[Connection]:
    """A database that belongs to a role `keeper`, who is no superuser and has migrated it."""
    connection = await empty.connect()
    database = await connection.fetchval("select current_database()")
    await connection.execute(f"create role keeper; grant all on database {database} to keeper; alter schema public owner to keeper")
    await connection.execute("set role keeper")
    try:
        yield connection
    finally:
        connection.terminate()
        again = await empty.connect()
        await again.execute("drop owned by keeper cascade; drop role keeper")
        await again.close()


async def test_owner_is_no_superuser(empty: Servers, kept: Connection) -> None:
    """An owner who is no superuser writes as ever: foreign keys, notifications, alerts, capture; what they serve sees by the rules."""
    await migrate(kept, PLAN, examples=True)
    assert await migrate(kept, PLAN, examples=True) == []
    told = await kept.fetchval("select count(*) from notifications")
    await kept.execute("update bookings set status = 'cancelled' where id in (1, 2); update properties set price = price + 1000")
    assert await kept.fetchval("select count(*) from notifications") == told + 4
    assert await kept.fetchval("select count(*) from property_alerts") == 12
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await kept.execute("insert into payments (booking_id, amount) values (1000, 1)")
    await kept.execute("insert into payments (booking_id, amount) values (1, 1); delete from bookings where id = 1")
    assert await kept.fetchval("select count(*) from payments where booking_id = 1") == 0
    changes = [change.op for change in await Published(empty, kept).changes()]
    assert changes.count("D") >= 1
    assert "F" not in changes
    await kept.execute("reset role")
    assert await seen(kept, "bookings", '{"sub": "1"}') == ["9"]


async def test_another_owner(connection: Connection) -> None:
    """Who comes to own a table of the examples sees what their claims allow, and without claims nothing."""
    forced = "select bool_and(relrowsecurity and relforcerowsecurity) from pg_class where relname = any ($1) and relkind = 'r'"
    assert await connection.fetchval(forced, list(RULES))
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("create role heir; grant usage on schema public, rls to heir; grant create on schema public to heir")
    await connection.execute("alter table bookings owner to heir; set local role heir")
    assert await connection.fetch("select from bookings") == []
    await transaction.rollback()


async def test_roles_cannot_be_made(kept: Connection) -> None:
    """Who may not create the roles, where they are missing, is told what to run, and nothing is half done."""
    transaction = kept.transaction()
    await transaction.start()
    await kept.execute("reset role; alter role anon rename to somebody_else; set local role keeper")
    with pytest.raises(asyncpg.InsufficientPrivilegeError, match="role anon, and keeper may not create it: run `create role anon nologin`"):
        await kept.execute(sql.text("rls.sql"))
    await transaction.rollback()
    assert await kept.fetchval("select to_regnamespace('rls') is null")


async def test_roles_are_made_where_they_are_missing(connection: Connection) -> None:
    """Where the roles are missing, who may create them does, and they cannot log in."""
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute("alter role anon rename to somebody_else; alter role authenticated rename to anybody_else")
    await connection.execute("drop schema rls cascade")
    await connection.execute(sql.text("rls.sql"))
    roles = await connection.fetch(
        "select rolname, rolcanlogin, rolsuper, rolbypassrls from pg_roles where rolname in ('anon', 'authenticated')"
    )
    assert [tuple(row) for row in roles] == [("anon", False, False, False), ("authenticated", False, False, False)]
    await transaction.rollback()
