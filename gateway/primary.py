"""①⑧ From DATABASE_URL to a connection; where it names several hosts, to the one that is the primary.

- `postgresql://user@a:5432,b:5432/db`: as libpq has it, each in turn; but a machine that has gone says nothing, so the next one is asked
  a second later, and whichever is first serves.
- A standby has the log, not the order to come: unless `target_session_attrs` says otherwise, only a primary will do.
- An address of one host is left to asyncpg as it is.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

_NEXT_SECONDS = 1.0
_EACH = ("any", "primary", "read-write", "standby", "read-only")
"""What each host can be asked alone; `prefer-standby` compares them."""
_PASSED_OVER = (
    OSError,
    asyncpg.CannotConnectNowError,
    asyncpg.PostgresConnectionError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.TooManyConnectionsError,
)


def hosts(url: str) -> list[str]:
    """Returns an address for each of the hosts that one names."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user, at, names = authority.rpartition("@")
    return [f"{scheme}{separator}{user}{at}{name}{slash}{path}" for name in names.split(",")]


async def connect(url: str, *, timeout: float, **options: Any) -> Any:
    """Opens a connection within so many seconds. Raises what `asyncpg.connect` raises."""
    addresses = hosts(url)
    if len(addresses) == 1 or not _one_by_one(url):
        return await asyncpg.connect(url, timeout=timeout, **options)
    if "target_session_attrs=" not in url:
        options = {"target_session_attrs": "primary"} | options
    async with asyncio.timeout(timeout):
        return await _first(addresses, options)


def _one_by_one(url: str) -> bool:
    return "target_session_attrs=" not in url or any(f"target_session_attrs={each}" in url for each in _EACH)


async def _first(addresses: Sequence[str], options: dict[str, Any]) -> Any:
    """Returns the first connection that will do."""
    waiting = list(addresses)
    trying: set[asyncio.Task[Any]] = set()
    fault: BaseException = OSError("no host")
    try:
        while waiting or trying:
            if waiting:
                trying.add(asyncio.create_task(asyncpg.connect(waiting.pop(0), **options)))
            done, trying = await asyncio.wait(trying, timeout=_NEXT_SECONDS if waiting else None, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                error = each.exception()
                if error is None:
                    done.discard(each)
                    trying |= done
                    return each.result()
                fault = error
                if not isinstance(fault, _PASSED_OVER):
                    raise fault
    finally:
        for each in trying:
            each.cancel()
            each.add_done_callback(_drop)
    raise fault


def _drop(task: asyncio.Task[Any]) -> None:
    """Closes what has connected too late."""
    if not task.cancelled() and task.exception() is None:
        task.result().terminate()
