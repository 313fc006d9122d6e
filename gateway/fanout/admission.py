"""⑨ How many streams a user, and an address, may have open, over all web processes: newcomers are refused, nobody is ended for them.

- Counts are in Redis, by process: those of a process that has died are not counted, once its sign of life has gone.
- Those who come at the same time are counted by one script; while Redis is away each process counts its own.
"""

import asyncio
import secrets
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.fanout.together import Together

_PREFIX = "rowcast:{0}:open:"
_ALIVE = "rowcast:{0}:web:"
_ALIVE_SECONDS = 15
_SIGN_SECONDS = 5.0
_COUNT_SECONDS = 86_400
_AT_ONCE = 64
_WHAT = ("", "user", "address")

log = structlog.get_logger()


class TooMany(Exception):
    """There are as many open streams as there may be; `of` is `user` or `address`."""

    def __init__(self, of: str) -> None:
        super().__init__(f"too many open streams of this {of}")
        self.of = of


class _Request(NamedTuple):
    """Somebody who comes (1) or leaves (-1); the number makes two of one user two."""

    user: str
    address: str
    change: int
    number: int


class Place:
    """What an open stream was counted as, until it is given up."""

    __slots__ = ("_address", "_admission", "_user")

    def __init__(self, admission: "Admission", user: str, address: str) -> None:
        self._admission: Admission | None = admission
        self._user = user
        self._address = address

    def give_up(self) -> None:
        """Counts one less; once, however often it is called."""
        admission, self._admission = self._admission, None
        if admission is not None:
            admission.leave(self._user, self._address)


class Admission:
    """Limits of 0 are none. `run` says that this process lives."""

    def __init__(self, redis: "Redis", per_user: int, per_address: int) -> None:
        self._redis = redis
        self._limits = (per_user, per_address)
        self._script: Any = redis.register_script(files(__package__).joinpath("admit.lua").read_text(encoding="utf-8"))
        self._process = secrets.token_hex(8)
        self._numbers = 0
        self._local: Counter[tuple[int, str]] = Counter()
        self._leaving: list[_Request] = []
        self._leave: asyncio.Task[None] | None = None
        self._ask = Together(self._admit, _AT_ONCE)
        self._abandoned: set[int] = set()
        # Whether Redis does not have what this process counts.
        self._adrift = True
        self._turn = asyncio.Lock()

    async def enter(self, user: str, address: str) -> Place | None:
        """Counts somebody in; None if nothing is limited. Raises TooMany."""
        if not any(self._limits):
            return None
        request = self._request(user, address, 1)
        try:
            answer = await self._ask.ask(request)
        except asyncio.CancelledError:
            # It may be counted in already, or be just about to.
            self._abandoned.add(request.number)
            raise
        if answer:
            raise TooMany(_WHAT[answer])
        return Place(self, user, address)

    def leave(self, user: str, address: str) -> None:
        """Counts somebody out."""
        self._count(user, address, -1)
        self._leaving.append(self._request(user, address, -1))
        if self._leave is None:
            self._leave = asyncio.create_task(self._let_leave())

    async def run(self) -> None:
        """Says that this process lives, until cancelled; counts anew where Redis has forgotten it."""
        while any(self._limits):
            try:
                if self._adrift or not await self._redis.set(_ALIVE + self._process, 1, ex=_ALIVE_SECONDS, xx=True):
                    await self._count_anew()
            except (RedisError, OSError):
                self._adrift = True
            await asyncio.sleep(_SIGN_SECONDS)

    def _request(self, user: str, address: str, change: int) -> _Request:
        self._numbers += 1
        return _Request(user, address, change, self._numbers)

    def _count(self, user: str, address: str, change: int) -> None:
        for key in ((1, user), (2, address)):
            self._local[key] += change
            if self._local[key] <= 0:
                del self._local[key]

    async def _admit(self, requests: Sequence[_Request]) -> Sequence[int]:
        async with self._turn:
            leaving, self._leaving = self._leaving, []
            try:
                answers = (await self._call([*leaving, *requests]))[len(leaving) :]
                for request, answer in zip(requests, answers, strict=True):
                    if not answer:
                        self._count(request.user, request.address, 1)
            except (RedisError, OSError):
                self._adrift = True
                answers = [self._alone(request) for request in requests]
        for request, answer in zip(requests, answers, strict=True):
            if request.number in self._abandoned and not answer:
                self.leave(request.user, request.address)
        # Those before have been asked for, or given up before.
        self._abandoned = {number for number in self._abandoned if number > requests[-1].number}
        return answers

    def _alone(self, request: _Request) -> int:
        for what, name in ((1, request.user), (2, request.address)):
            if 0 < self._limits[what - 1] <= self._local[what, name]:
                return what
        self._count(request.user, request.address, 1)
        return 0

    async def _let_leave(self) -> None:
        # After the turn in which the first left.
        await asyncio.sleep(0)
        self._leave = None
        async with self._turn:
            leaving, self._leaving = self._leaving, []
            try:
                if leaving:
                    await self._call(leaving)
            except (RedisError, OSError):
                self._adrift = True

    async def _call(self, requests: Sequence[_Request]) -> list[int]:
        keys = [key for each in requests for key in (f"{_PREFIX}user:{each.user}", f"{_PREFIX}address:{each.address}")]
        args = [self._process, _ALIVE, _COUNT_SECONDS, *self._limits, *(each.change for each in requests)]
        answers: list[int] = await self._script(keys=keys, args=args)
        return answers

    async def _count_anew(self) -> None:
        """Begins as another process: what was counted for this one dies with its sign of life."""
        async with self._turn:
            await self._count_as(secrets.token_hex(8))

    async def _count_as(self, process: str) -> None:
        self._process = process
        # Who has left is not counted any more.
        self._leaving.clear()
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.set(_ALIVE + process, 1, ex=_ALIVE_SECONDS)
        for (what, name), count in self._local.items():
            if self._limits[what - 1]:
                key = f"{_PREFIX}{_WHAT[what]}:{name}"
                pipeline.hincrby(key, process, count)
                pipeline.expire(key, _COUNT_SECONDS)
        await pipeline.execute()
        self._adrift = False
