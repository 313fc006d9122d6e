"""How long the log is kept: by segments of a share of the retention, dropped whole."""

import asyncio
import time
from datetime import timedelta

import asyncpg
import structlog

import sql
from gateway.bridge import life
from gateway.bridge.listener import Connection

_SHARE = 8
"""A segment covers this share of the retention, so the log is kept for the retention and at most this much longer."""
_EVERY_SECONDS = 15.0
_HEADS_KEPT = 100_000

log = structlog.get_logger()


class Watch:
    """For how long this process has known the current segment: one that was opened while Postgres' clock was ahead never seems to age."""

    def __init__(self) -> None:
        self._segment: int | None = None
        self._since = 0.0

    def seconds(self, segment: int) -> float:
        """Takes the current segment's number."""
        if segment != self._segment:
            self._segment, self._since = segment, time.monotonic()
        return time.monotonic() - self._since


async def keep(connection: Connection, retention: timedelta, watch: Watch) -> None:
    """Opens and drops segments for as long as it is let; a drop that readers are in the way of is tried again."""
    while True:
        await tidy(connection, retention, watch)
        await life.look(connection)
        await asyncio.sleep(min(_EVERY_SECONDS, retention.total_seconds() / _SHARE))


async def tidy(connection: Connection, retention: timedelta, watch: Watch) -> None:
    """Does one round."""
    segment = await connection.fetchrow(sql.statement("segment_age"))
    age = 0.0 if segment is None else max(segment["age"], watch.seconds(segment["segment"]))
    if segment is not None and segment["entries"] > 0 and age >= retention.total_seconds() / _SHARE:
        log.info("segment opened", segment=await connection.fetchval("select rowcast.open_segment()"))
    try:
        dropped = await connection.fetchval("select rowcast.drop_segments($1)", retention)
    except asyncpg.LockNotAvailableError:
        log.info("segments are being read and stay for now")
    else:
        if dropped:
            log.info("segments dropped", segments=dropped)
    head = await connection.fetchrow(sql.statement("head"))
    if head is not None:
        await connection.execute(sql.statement("prune_head"), head["position"] - _HEADS_KEPT)
