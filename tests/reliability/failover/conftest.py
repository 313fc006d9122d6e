"""A Postgres with a standby, made from a copy, for each test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.reliability.failover.pair import Pair, made, pair
from tests.support.servers import Servers


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the example tables, stopped."""
    return made(tmp_path_factory.mktemp("template"))


@pytest_asyncio.fixture
async def both(run_servers: Servers, template: Path, tmp_path: Path) -> AsyncIterator[Pair]:
    """A primary and its standby, and an empty Redis."""
    async with Redis.from_url(run_servers.redis_url) as redis:
        await redis.flushall()
    async with pair(template, tmp_path, run_servers.redis_url) as each:
        yield each
