"""④ Carries the log to Redis: appends to each channel's log and publishes, in one script a batch.

- Idempotent: the script knows the position. A reply that was lost is answered DUP the next time, a Redis that has forgotten
  EPOCH or GAP, and then the Postgres log is read again from where Redis stands.
- No retries below this: redis-py would repeat a command whose reply was lost, and that is decided here.
- While Redis takes one batch, Postgres reads the next, and its bytes are made here.
- Bounded: a batch is so many entries and so many bytes, whatever a transaction wrote.
"""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

import sql
from gateway import backoff, sentinel, wire
from gateway.bridge.listener import Connection
from streams.payload import Change, Shape, published

BATCH_ENTRIES = 500
BATCH_BYTES = 4_000_000
BEAT_SECONDS = 1.0
GIVE_WAY_SECONDS = 10.0
"""Without Redis for so long, a bridge lets another one try: the network may be its own."""
_REPLY_SECONDS = 5.0
_SILENT_SECONDS = 60.0
"""So long after the last word of its bridge a promoted server is taken for one that is there no more."""
_SEED_ENTRIES = 20_000
"""How much of the log a Redis that has lost everything gets back; older cursors are served from Postgres."""

log = structlog.get_logger()


def redis_client(url: str) -> "Redis":
    """Opens a client that never repeats a command by itself.

    It has no timeout of its own: redis-py's is an `asyncio.wait_for` around the write, which in Python 3.11 swallows a
    cancellation that comes as the write ends. Each call is timed where it is made.
    """
    return Redis.from_pool(sentinel.pool(url, retry=Retry(NoBackoff(), 0), socket_timeout=None, socket_connect_timeout=5, protocol=3))


@dataclass
class Place:
    """Where Redis stands: the life of its logs, and the last position they have."""

    epoch: str
    life: str
    position: int


@dataclass(frozen=True)
class Batch:
    """Keys and arguments of the append script, up to a last position."""

    last: int
    keys: list[str]
    args: list[str | bytes | int]


class EpochLost(Exception):
    """Redis knows positions of this epoch that Postgres does not: commits were lost."""

    def __init__(self, position: int) -> None:
        super().__init__(f"Redis is at position {position}, which Postgres never reached")
        self.position = position


class LeftBehind(Exception):
    """Another server of this cluster was promoted, and its log is being published: this one has been left behind."""

    def __init__(self, timeline: str, other: str) -> None:
        super().__init__(f"this server is on timeline {timeline}, and one on timeline {other} was promoted: lead DATABASE_URL there")


class RedisLost(Exception):
    """Redis was not reached for a while."""


class Publisher:
    """Publishes the log from where Redis stands."""

    def __init__(self, connection: Connection, redis: "Redis", log_entries: int) -> None:
        self.wake = asyncio.Event()
        self._connection = connection
        self._redis = redis
        self._log_entries = log_entries
        self._place: Place | None = None
        self._torn = ""
        self._beaten = -math.inf
        self._answered_at = 0.0
        self._shapes: dict[int, Shape] = {}
        self._append: Any = redis.register_script(_script("append.lua"))
        self._begin: Any = redis.register_script(_script("begin.lua"))
        self._beat: Any = redis.register_script(_script("beat.lua"))

    async def run(self) -> None:
        """Publishes for as long as it is let: at once when woken, and looks and says how far it is every second.

        Raises RedisLost.
        """
        failures = 0
        self._answered_at = time.monotonic()
        while True:
            self.wake.clear()
            try:
                await self.drain()
                if time.monotonic() - self._beaten >= BEAT_SECONDS:
                    await self.beat()
                failures = 0
                pause = max(0.0, self._beaten + BEAT_SECONDS - time.monotonic())
            except (RedisError, OSError) as error:
                if time.monotonic() - self._answered_at > GIVE_WAY_SECONDS:
                    raise RedisLost from error
                failures += 1
                self._place = None
                pause = backoff.pause(failures, 0.05, 2.0)
                log.warning("redis is not there", error=type(error).__name__, retry_seconds=pause)
                await asyncio.sleep(pause)
                continue
            try:
                async with asyncio.timeout(pause):
                    await self.wake.wait()
            except TimeoutError:
                pass

    async def drain(self) -> None:
        """Publishes everything that the log has, and beats while that takes long."""
        while await self._drain(self._place or await self.begin()):
            pass

    async def _drain(self, place: Place) -> bool:
        """Publishes from a place; False at the head of the log, True if Redis is no longer where it was taken to be."""
        position = place.position
        under_way: asyncio.Task[None] | None = None
        try:
            while True:
                rows = await self._connection.fetch(sql.statement("read_log"), position, BATCH_ENTRIES, BATCH_BYTES)
                batch = await self.batch(place, [Change.read(row) for row in rows], [row["shape"] for row in rows]) if rows else None
                if under_way is not None:
                    await under_way
                    under_way = None
                    if self._place is not place or place.position != position:
                        return True
                    if time.monotonic() - self._beaten >= BEAT_SECONDS:
                        await self.beat()
                if batch is None:
                    return False
                position = batch.last
                under_way = asyncio.create_task(self.send(place, batch))
        finally:
            if under_way is not None:
                under_way.cancel()
                await asyncio.gather(under_way, return_exceptions=True)

    async def begin(self) -> Place:
        """Finds out where Redis stands, or begins a new life of its logs near the head of the Postgres log.

        Raises EpochLost if Redis is ahead of Postgres in the same epoch, and LeftBehind.
        """
        bounds = await self._connection.fetchrow(sql.statement("bounds"))
        assert bounds is not None
        start = max(bounds["earliest"] - 1, bounds["after_position"], bounds["position"] - _SEED_ENTRIES)
        self._place = await self._ask(bounds["epoch"], start, bounds["position"], end_life=self._torn)
        # What is in Redis was committed before: only a head that is read after it can be said to be behind it.
        head = await self._connection.fetchrow(sql.statement("head"))
        assert head is not None
        if head["epoch"] != bounds["epoch"]:
            # Another bridge has begun one in between: nothing of it goes out under this one's name.
            self._place = None
            return await self.begin()
        if self._place.position > head["position"]:
            raise EpochLost(self._place.position)
        if self._place.position < start or wire.version_of(self._place.life) != wire.VERSION:
            # Too far behind: what lies between would be pushed out again anyway. Or of another release: a life is of one version.
            self._place = await self._ask(bounds["epoch"], start, bounds["position"], end_life=self._place.life)
        log.info("publishing", epoch=self._place.epoch, life=self._place.life, position=self._place.position)
        return self._place

    async def history(self) -> str:
        """Returns whose log this is: which cluster, and which of its timelines."""
        row = await self._connection.fetchrow(sql.statement("history"))
        assert row is not None
        return str(row[0])

    def forget(self) -> None:
        """Asks Redis anew before anything is published: another epoch has begun."""
        self._place = None

    async def _ask(self, epoch: str, start: int, head: int, end_life: str = "") -> Place:
        cluster, timeline = (await self.history()).split("/")
        args = [epoch, wire.new_life(), start, wire.META_TTL_SECONDS, end_life, cluster, timeline, _SILENT_SECONDS, head]
        life, position = await self._call(self._begin, keys=[wire.META], args=args)
        if not life:
            raise LeftBehind(timeline, position.decode())
        return Place(epoch, life.decode(), int(position))

    async def batch(self, place: Place, changes: list[Change], shapes: list[int]) -> Batch:
        """Returns what Redis is told of consecutive changes, or of the first of them where all are too much for one script."""
        keys: dict[str, int] = {}
        prefix = wire.log_prefix(place.epoch, place.life)
        last = changes[-1].position
        args: list[str | bytes | int] = [place.epoch, place.life, changes[0].position, last, self._log_entries, wire.LOG_TTL_SECONDS]
        size = 0
        for change, number in zip(changes, shapes, strict=True):
            shape = self._shapes.get(number) or await self._shape(number)
            for delivery in published(change, shape):
                key = keys.setdefault(prefix + delivery.channel, len(keys) + 1)
                payload = wire.encode(place.epoch, change, delivery)
                size += len(payload)
                args += (key, change.position, delivery.channel, payload)
            if size > 2 * BATCH_BYTES:
                # One row may be several events, and Redis does nothing else while the script runs.
                last = args[3] = change.position
                break
        return Batch(last, [wire.META, *keys], args)

    async def send(self, place: Place, batch: Batch) -> None:
        """Appends and publishes a batch; on GAP, EPOCH or TORN nothing, and the next round begins again."""
        answer, position = await self._call(self._append, batch.keys, batch.args)
        if answer == b"OK":
            place.position = batch.last
        elif answer == b"DUP":
            # Redis may be further than this batch: another bridge was quicker.
            place.position = int(position)
        else:
            log.warning("redis has lost the log", answer=answer.decode(), position=position.decode())
            self._place = None
            if answer == b"TORN":
                # A restore that was not of one moment, or somebody wrote here: only another life can go on.
                self._torn = place.life

    async def beat(self) -> None:
        """Says how far Redis is, and how far behind."""
        self._beaten = time.monotonic()
        place = self._place
        if place is None:
            return
        head = await self._connection.fetchrow(sql.statement("head"))
        assert head is not None
        if head["epoch"] != place.epoch:
            self._place = None
            return
        lag = await self._connection.fetchval(sql.statement("lag"), place.position) or 0.0
        beat = wire.Beat(place.epoch, place.life, place.position, head["position"], round(lag, 3))
        args = [place.epoch, place.life, wire.MARK_SECONDS, wire.META_TTL_SECONDS, wire.HEAD, beat.encode(), place.position]
        if not await self._call(self._beat, keys=[wire.META], args=args):
            self._place = None

    async def _call(self, script: Any, keys: Sequence[str], args: Sequence[Any]) -> Any:
        async with asyncio.timeout(_REPLY_SECONDS):
            answer = await script(keys=keys, args=args)
        self._answered_at = time.monotonic()
        return answer

    async def _shape(self, number: int) -> Shape:
        row = await self._connection.fetchrow(sql.statement("shape"), number)
        assert row is not None
        shape = self._shapes[number] = Shape.decode(row["relation"], row["streams"])
        return shape


def _script(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
