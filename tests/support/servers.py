"""One Postgres and one Valkey per run; a database from the template for each test."""

import asyncio
import atexit
import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from redis import Redis

from gateway import embedded
from gateway.bridge.listener import Connection
from gateway.migrator import Plan, migrate
from streams.catalog import load

MAX_BYTES = 262_144
FAST = {"fsync": "off", "full_page_writes": "off", "max_connections": "200", "shared_buffers": "128MB"}
"""A test's data need not outlive the machine; a crash of Postgres alone loses nothing with these."""

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Servers:
    """The addresses of a test: a database of its own, and the run's Redis, emptied."""

    database_url: str
    redis_url: str

    async def connect(self, **options: Any) -> Connection:
        connection: Connection = await asyncpg.connect(self.database_url, **options)
        return connection


def with_database(url: str, name: str) -> str:
    """Returns an address with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


async def prepare(url: str) -> None:
    """Migrates a database, with the example tables."""
    connection = await asyncpg.connect(url)
    await migrate(connection, Plan(load("streams"), "armed", MAX_BYTES), examples=True)
    await connection.close()


async def _prepare_template(url: str) -> None:
    await _command(url, "create database template_rowcast")
    await prepare(with_database(url, "template_rowcast"))


@contextmanager
def running(directory: Path) -> Iterator[Servers]:
    """Starts the run's servers, with the template migrated and filled with the examples."""
    with ExitStack() as stack:
        servers = stack.enter_context(embedded.start(directory, settings=FAST))
        # pytest may end without tearing its fixtures down, and nobody starts in this directory again.
        atexit.register(stack.close)
        assert servers.database_url
        assert servers.redis_url
        asyncio.run(_prepare_template(servers.database_url))
        yield Servers(servers.database_url, servers.redis_url)


async def _command(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def fresh(run: Servers, template: str = "template_rowcast") -> Iterator[Servers]:
    """Makes a database from the template, empties Redis, and drops the database afterwards."""
    name = f"test_{next(_numbers)}"
    asyncio.run(_command(run.database_url, f"create database {name} template {template}"))
    with Redis.from_url(run.redis_url) as redis:
        redis.flushall()
    try:
        yield Servers(with_database(run.database_url, name), run.redis_url)
    finally:
        asyncio.run(_command(run.database_url, f"drop database {name} with (force)"))
