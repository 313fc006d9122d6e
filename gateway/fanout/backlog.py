"""⑧ What lies after a cursor: from Redis while Redis has all of it, else from the Postgres log.

- A page is complete up to `through` or it is not given: a hole in Redis is seen by the chain of `previous` positions.
- Redis is a cache. Whatever is odd about it (another life, a shorter log, no answer) means: ask Postgres.
- A Redis that is behind what this process has seen already (emptied and being filled again, or a replica that was promoted)
  is odd too: what it lacks will be published again, but not to those who have it.
"""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway import wire
from gateway.fanout.archive import Archive, ArchiveUnavailable
from gateway.wire import Entry

PAGE_ENTRIES = 200
PAGE_BYTES = 128_000


class BacklogUnavailable(Exception):
    """Neither Redis nor Postgres can say what lies after a cursor."""


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in order of position, complete up to `through`; `more` says that a further page may have some.

    `lost` says why the history after the cursor cannot be completed, and then there are no entries.
    `source` is redis or postgres.
    """

    epoch: str
    entries: Sequence[Entry]
    through: int
    more: bool
    source: str
    lost: str | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the log; `life` is that of Redis, where Redis said it."""

    epoch: str
    position: int
    life: str = ""


class Backlog:
    """Reads pages for subscribers that join, and for a tail that has missed something."""

    def __init__(self, redis: "Redis", archive: Archive) -> None:
        self._redis = redis
        self._archive = archive
        self._read: Any = redis.register_script(files(__package__).joinpath("read.lua").read_text(encoding="utf-8"))
        self._epoch = ""
        self._life = ""

    async def head(self) -> Head:
        """Returns the end of the log. Raises BacklogUnavailable if nobody knows it."""
        try:
            answer = await cast("Awaitable[list[bytes | None]]", self._redis.hmget(wire.META, "epoch", "position", "life"))
            epoch, position, life = answer
            if epoch is not None and position is not None and life is not None:
                return Head(epoch.decode(), int(position), life.decode())
        except (RedisError, OSError):
            pass
        try:
            bounds = await self._archive.bounds()
        except ArchiveUnavailable as error:
            raise BacklogUnavailable from error
        return Head(bounds.epoch, bounds.head)

    async def read(self, channels: Sequence[str], epoch: str, after: int, limit: int = PAGE_ENTRIES, *, known: int = 0) -> Page:
        """Returns what the channels had after a position; the log that is read reaches at least to `known`.

        Raises BacklogUnavailable if nobody knows.
        """
        try:
            page = await self._from_redis(channels, epoch, after, known, limit)
        except (RedisError, OSError, ValueError):
            page = None
        if page is not None:
            return page
        try:
            return await self._from_archive(channels, epoch, after, limit)
        except ArchiveUnavailable as error:
            raise BacklogUnavailable from error

    async def earliest(self) -> Head:
        """Returns the position before the oldest that is kept. Raises BacklogUnavailable if Postgres does not answer."""
        try:
            bounds = await self._archive.bounds()
        except ArchiveUnavailable as error:
            raise BacklogUnavailable from error
        return Head(bounds.epoch, max(bounds.earliest - 1, bounds.after_position))

    async def _from_redis(self, channels: Sequence[str], epoch: str, after: int, known: int, limit: int) -> Page | None:
        for _ in range(2):
            prefix = wire.log_prefix(self._epoch, self._life)
            keys = [wire.META, *(prefix + channel for channel in channels)]
            answer = await self._read(keys=keys, args=[self._epoch, self._life, after, limit, PAGE_BYTES // len(channels)])
            if not answer:
                return None
            self._epoch, self._life = answer[0].decode(), answer[1].decode()
            if len(answer) == 7:
                break
        else:
            return None
        position, floor = int(answer[2]), int(answer[3])
        if self._epoch != epoch or max(after, known) > position:
            return None
        entries: list[Entry] = []
        through, more = position, False
        for channel, raw, newest, cut in zip(channels, answer[4], answer[5], answer[6], strict=True):
            complete = after
            for _, fields in raw:
                previous = int(fields[1])
                if previous > complete:
                    return None
                entry = wire.decode(channel, previous, fields[3])
                entries.append(entry)
                complete = entry.position
            if not raw and not newest and after < floor:
                return None
            if cut:
                more = True
                through = min(through, complete)
        entries = [entry for entry in entries if entry.position <= through]
        entries.sort(key=lambda entry: (entry.position, entry.stream))
        return Page(epoch, entries, through, more, "redis")

    async def _from_archive(self, channels: Sequence[str], epoch: str, after: int, limit: int) -> Page:
        page = await self._archive.read(channels, after, limit)
        bounds = page.bounds
        lost = None
        if bounds.epoch != epoch or after < bounds.after_position:
            lost = "epoch"
        elif after > bounds.head:
            lost = "future"
        elif after < bounds.earliest - 1:
            lost = "retention"
        if lost:
            return Page(bounds.epoch, (), bounds.head, False, "postgres", lost)
        return Page(epoch, page.entries, page.through, page.through < bounds.head, "postgres")
