"""②–④ The bridge's life: listen, become the active one, drain, publish; and begin again when anything of it breaks.

- Listen first, then drain, then wait: what was committed while nobody listened is found by the drain.
- Loops live in one TaskGroup, so that a dead one ends the round loudly and the next round starts clean.
"""

import asyncio
import time
from datetime import timedelta

import asyncpg
import structlog
from redis.exceptions import RedisError

from gateway import backoff, schema, sentinel
from gateway.bridge import lease, life, retention
from gateway.bridge.lease import Wakefulness
from gateway.bridge.life import LogTruncated, Scattered
from gateway.bridge.listener import INDEXED, Listener, ListenerLost, connected, listening
from gateway.bridge.publisher import EpochLost, LeftBehind, Publisher, RedisLost, redis_client
from gateway.bridge.sequencer import Sequencer

_AWAKE_SECONDS = 0.2
"""How long after the last change the bridge stays awake."""
_POLL_SECONDS = 0.002
_MANY = 8
_REST_SECONDS = 0.002
_SETTLING_SECONDS = 0.05
_TICK_SECONDS = 0.5
"""The floor under a lost bell."""
_RECLAIM_SECONDS = 1.0
_GIVE_WAY_SECONDS = 1.0
"""Longer than a bridge that stands by waits between two looks at the lease."""

_RECOVERABLE = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    *(ListenerLost, Scattered, LeftBehind, LogTruncated, RedisError, RedisLost, OSError, TimeoutError),
)
_UNDEFINED = (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError)

log = structlog.get_logger()


class NotMigrated(Exception):
    """The database has no Rowcast schema: run `rowcast migrate`."""


class Bridge:
    """One bridge process. `notify` says how writers ring; `never` polls only."""

    def __init__(self, database_url: str, redis_url: str, *, notify: str, keep: timedelta, log_entries: int) -> None:
        self._database_url = database_url
        self._redis_url = redis_url
        self._notify = notify
        self._retention = keep
        # Over all rounds: each connection that breaks begins one.
        self._watch = retention.Watch()
        self._log_entries = log_entries

    async def run(self) -> None:
        """Works until it is cancelled. Raises NotMigrated and SchemaError; all else is logged and tried again."""
        failures = 0
        while True:
            started = time.monotonic()
            try:
                async with listening(self._database_url) as listener:
                    await schema.check(listener.connection)
                    await lease.acquire(listener)
                    # It may have stood by for long.
                    await schema.check(listener.connection)
                    log.info("this bridge is active")
                    # From the first: a session that shows nothing is ended.
                    watching = asyncio.create_task(listener.watch())
                    try:
                        await self.lead(listener, watching)
                    finally:
                        watching.cancel()
                        await asyncio.gather(watching, return_exceptions=True)
            except (*_RECOVERABLE, ExceptionGroup) as error:
                leaves = _leaves(error)
                if any(isinstance(leaf, _UNDEFINED) for leaf in leaves):
                    raise NotMigrated from error
                if not all(isinstance(leaf, _RECOVERABLE) for leaf in leaves):
                    raise
                failures = 0 if time.monotonic() - started > 10 else failures + 1
                pause = backoff.pause(failures, 0.1, 3.0)
                if any(isinstance(leaf, RedisLost) for leaf in leaves):
                    pause += _GIVE_WAY_SECONDS
                log.warning("bridge starts again", errors=", ".join(dict.fromkeys(map(repr, leaves))), retry_seconds=round(pause, 2))
                await asyncio.sleep(pause)

    async def lead(self, listener: Listener, watching: asyncio.Task[None]) -> None:
        """Does the active bridge's work until something of it breaks, or what watches over the listening connection ends."""
        url = self._database_url
        async with (
            Sequencer.open(url) as sequencer,
            connected(url, "publisher", command_timeout=30, **INDEXED) as reader,
            connected(url, "retention", command_timeout=30) as keeper,
            redis_client(self._redis_url) as redis,
        ):
            publisher = Publisher(reader, redis, self._log_entries)
            try:
                await life.check(keeper, publisher, sequencer.history, listener.history)
                async with asyncio.TaskGroup() as group:
                    group.create_task(_ended(watching))
                    group.create_task(publisher.run())
                    group.create_task(retention.keep(keeper, self._retention, self._watch))
                    group.create_task(sentinel.follow_on(redis.connection_pool))
                    group.create_task(self.sequence(listener, sequencer, publisher))
            except* EpochLost as lost:
                position = max(each.position for each in _leaves(lost) if isinstance(each, EpochLost))
                await life.begin_epoch(keeper, "commits were lost", position)

    async def sequence(self, listener: Listener, sequencer: Sequencer, publisher: Publisher) -> None:
        """Drains the outbox whenever the bell rings, a tick passes, or, while awake, every few milliseconds."""
        wakefulness = Wakefulness(listener, armed=self._notify == "armed")
        last_change = last_reclaim = time.monotonic()
        settling_pause = _POLL_SECONDS
        while True:
            listener.rung.clear()
            moved = await sequencer.step()
            now = time.monotonic()
            if moved:
                publisher.wake.set()
                last_change = now
                await wakefulness.wake()
                if now - last_reclaim > _RECLAIM_SECONDS:
                    await sequencer.reclaim()
                    last_reclaim = now
                # More has probably come meanwhile. Under load a moment's rest makes the next step worth its commit.
                await asyncio.sleep(_REST_SECONDS if moved > _MANY else 0)
                continue
            if wakefulness.awake and now - last_change > _AWAKE_SECONDS:
                await wakefulness.fall_asleep()
                continue
            if wakefulness.settling:
                await wakefulness.settle()
                if not wakefulness.settling:
                    continue
                # Somebody's transaction has been open for a while: look less and less often.
                settling_pause = min(_SETTLING_SECONDS, settling_pause * 1.2)
                await self._wait(listener.rung, settling_pause)
                continue
            settling_pause = _POLL_SECONDS
            await self._wait(listener.rung, _POLL_SECONDS if wakefulness.awake else _TICK_SECONDS)

    async def _wait(self, rung: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await rung.wait()
        except TimeoutError:
            pass


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.shield(task)


def _leaves(group: BaseException) -> list[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        return [leaf for each in group.exceptions for leaf in _leaves(each)]
    return [group]


async def run_until(bridge: Bridge, stop: asyncio.Event) -> None:
    """Runs the bridge until `stop` is set."""
    task = asyncio.create_task(bridge.run())
    waiter = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        waiter.cancel()
        # A TaskGroup of Python 3.11 that is ending for an error forgets a cancellation: say it until it is heard.
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=0.2)
