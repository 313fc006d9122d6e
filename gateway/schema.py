"""Do this program and the schema in the database fit each other?

- A program needs the schema of its own release, or a newer one: `rowcast migrate` comes first, and the processes follow one by one.
- A newer schema serves the programs of the release before it too. A migration that cannot writes the oldest that can go on, by
  the newest migration that it has, to `rowcast.installed`, as `oldest program`.
"""

import asyncio

import asyncpg

import sql
from gateway.bridge.listener import Connection, connect

_SOON_SECONDS = 3.0


class SchemaError(Exception):
    """The schema in the database is of another release than this program."""


def newest() -> int:
    """Returns the number of the newest migration that this program has."""
    return sql.migrations()[-1][0]


async def check(connection: Connection) -> None:
    """Raises SchemaError where the two do not fit, and what Postgres says where there is no schema at all."""
    try:
        row = await connection.fetchrow(sql.statement("schema"))
    except asyncpg.InsufficientPrivilegeError:
        # A user that may read the log and nothing else.
        return
    assert row is not None
    if (row["number"] or 0) < newest():
        raise SchemaError(f"the database is at migration {row['number'] or 0}, and this Rowcast needs {newest()}: run `rowcast migrate`")
    if (row["oldest"] or 0) > newest():
        raise SchemaError(
            f"the database is at migration {row['number']}, which needs a newer Rowcast than this one, with migration {row['oldest']}:"
            " start the newer one"
        )


async def check_soon(url: str) -> None:
    """Raises SchemaError where the two do not fit; where Postgres does not say so soon, they may."""
    try:
        async with asyncio.timeout(_SOON_SECONDS):
            connection = await connect(url, "schema")
            try:
                await check(connection)
            finally:
                connection.terminate()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
        # Whoever has an id is served from Redis: a web process starts without Postgres.
        return
