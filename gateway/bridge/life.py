"""③ Before the first step: is this still the log that was published? If not, another epoch begins.

- An epoch lives on one timeline of one cluster. A promoted server may lack what the one before has told, and nobody can know: Redis
  knows what it was given itself, and replays come from Postgres. So what follows is told under another name.
- All connections of a bridge lead to one server: while an address is being moved to another one, some may still lead to the old one.
- Where a log was restored, truncated, or is behind Redis, commits are missing from it, or entries.
"""

from collections.abc import Awaitable, Callable

import structlog
from redis.exceptions import RedisError

import sql
from gateway.bridge.listener import Connection
from gateway.bridge.publisher import EpochLost, Publisher

log = structlog.get_logger()


class Scattered(Exception):
    """The connections lead to different servers."""


class LogTruncated(Exception):
    """Entries that are to be kept are gone from the log."""


async def check(connection: Connection, publisher: Publisher, *others: Callable[[], Awaitable[str]]) -> None:
    """Begins another epoch if this log is not the one that was published. Raises Scattered, LeftBehind, and what asyncpg raises.

    `others` say of the bridge's other connections whose history they see.
    """
    life = await connection.fetchrow(sql.statement("cluster"))
    assert life is not None
    if {await each() for each in (publisher.history, *others)} != {life["history"]}:
        raise Scattered
    position, reason = life["position"], None
    if not life["same_cluster"]:
        reason = "restored"
    elif not life["same_timeline"]:
        reason = "failover"
    elif not await connection.fetchval(sql.statement("whole")):
        reason = "the log was truncated"
    try:
        await publisher.begin()
    except EpochLost as lost:
        position, reason = lost.position, "restored" if reason == "restored" else "commits were lost"
    except (RedisError, OSError):
        # It will say so when it is there.
        pass
    if reason is not None:
        await begin_epoch(connection, reason, position)
        publisher.forget()


async def begin_epoch(connection: Connection, reason: str, position: int) -> None:
    """Begins another life of the log, above a position that was told."""
    epoch = await connection.fetchval("select rowcast.begin_epoch($1, $2)", reason, position)
    log.error("a new epoch begins", reason=reason, epoch=epoch)


async def look(connection: Connection) -> None:
    """Looks whether the log has what it should. Raises LogTruncated."""
    if not await connection.fetchval(sql.statement("whole")):
        raise LogTruncated
