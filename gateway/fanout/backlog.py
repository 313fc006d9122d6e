"""⑧ What lies after a cursor: from Redis while Redis has all of it, else from the Postgres log.

- A page is complete up to `through` or it is not given: a hole in Redis is seen by the chain of `previous` positions.
- Redis is a cache. Whatever is odd about it (another life, a shorter log, no answer) means: ask Postgres.
- A Redis that is behind what this process has seen already (emptied and being filled again, or a replica that was promoted)
  is odd too: what it lacks will be published again, but not to those who have it.
"""

from collections.abc import Sequence

from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.fanout.archive import Archive, ArchivePage, ArchiveUnavailable, Bounds
from gateway.fanout.page import PAGE_ENTRIES, Head, Page
from gateway.fanout.recent import Recent
from gateway.fanout.together import Together

_REPLAYS = 4
"""Replays from Postgres that are asked for at a time; those who want the same one share it."""
_Replay = tuple[tuple[str, ...], int, int]
"""Channels, the position after which, and how many positions at most."""


class BacklogUnavailable(Exception):
    """Neither Redis nor Postgres can say what lies after a cursor."""


class Backlog:
    """Reads pages for subscribers that join, and for a tail that has missed something."""

    def __init__(self, redis: "Redis", archive: Archive) -> None:
        self._recent = Recent(redis)
        self._archive = archive
        self._heads = Together(self._ask_head)
        self._bounds = Together(self._ask_bounds)
        self._replays = Together(self._replay, lanes=_REPLAYS)

    async def head(self) -> Head:
        """Returns the end of the log. Raises BacklogUnavailable if nobody knows it."""
        return await self._heads.ask(None)

    async def read(
        self, channels: Sequence[str], epoch: str, after: int, limit: int = PAGE_ENTRIES, *, known: int = 0, alone: bool = False
    ) -> Page:
        """Returns what the channels had after a position; the log that is read reaches at least to `known`.

        With `alone` others who ask are not waited for. Raises BacklogUnavailable if nobody knows.
        """
        try:
            page = await self._recent.read(channels, epoch, after, known, limit, alone=alone)
        except (RedisError, OSError, ValueError):
            page = None
        if page is not None:
            return page
        try:
            return await self._from_archive(channels, epoch, after, limit, alone)
        except ArchiveUnavailable as error:
            raise BacklogUnavailable from error

    async def earliest(self) -> Head:
        """Returns the position before the oldest that is kept. Raises BacklogUnavailable if Postgres does not answer."""
        bounds = await self._bounds.ask(None)
        return Head(bounds.epoch, max(bounds.earliest - 1, bounds.after_position))

    async def latest(self) -> Head:
        """Returns the end of the log in Postgres, wherever Redis is. Raises BacklogUnavailable if Postgres does not answer."""
        bounds = await self._bounds.ask(None)
        return Head(bounds.epoch, bounds.head)

    async def archive_alive(self) -> bool:
        """Says whether Postgres answers."""
        return await self._archive.alive()

    async def _from_archive(self, channels: Sequence[str], epoch: str, after: int, limit: int, alone: bool) -> Page:
        replay = (tuple(channels), after, limit)
        page = (await self._replay([replay]))[0] if alone else await self._replays.ask(replay)
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

    async def _replay(self, asked: Sequence[_Replay]) -> Sequence[ArchivePage]:
        return [await self._archive.read(*each) for each in asked]

    async def _ask_head(self, asked: Sequence[None]) -> Sequence[Head]:
        try:
            head = await self._recent.head()
        except (RedisError, OSError, ValueError):
            head = None
        if head is None:
            bounds = await self._bounds.ask(None)
            head = Head(bounds.epoch, bounds.head)
        return [head]

    async def _ask_bounds(self, asked: Sequence[None]) -> Sequence[Bounds]:
        try:
            return [await self._archive.bounds()]
        except ArchiveUnavailable as error:
            raise BacklogUnavailable from error
