"""For tests without an event loop: asks Postgres and Valkey, and waits."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import redis


def query(url: str | None, *statements: str) -> Any:
    """Runs statements on one connection and returns the value of the last."""

    async def fetch() -> Any:
        connection = await asyncpg.connect(url, timeout=10)
        try:
            return [await connection.fetchval(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return asyncio.run(fetch())


def valkey(url: str | None, *command: str) -> Any:
    """Runs one command."""
    assert url is not None
    with redis.Redis.from_url(url, decode_responses=True, socket_timeout=10) as client:
        return client.execute_command(*command)


def until(condition: Callable[[], object], log: Path | None = None, within: float = 90) -> None:
    """Waits for a condition; if it does not come true, the log says why."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, log.read_text() if log else f"the condition did not come true within {within:.0f} s"
        time.sleep(0.05)
