"""How long the log is kept: by segments of a share of the retention, dropped whole."""

import asyncio
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


async def keep(connection: Connection, retention: timedelta) -> None:
    """Opens and drops segments for as long as it is let; a drop that readers are in the way of is tried again."""
    while True:
        await tidy(connection, retention)
        await life.look(connection)
        await asyncio.sleep(min(_EVERY_SECONDS, retention.total_seconds() / _SHARE))


async def tidy(connection: Connection, retention: timedelta) -> None:
    """Does one round."""
    segment = await connection.fetchrow(sql.statement("segment_age"))
    if segment is not None and segment["entries"] > 0 and segment["age"] >= retention.total_seconds() / _SHARE:
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
