"""⑨ How many streams a user, and an address, may have open, over all web processes: newcomers are refused, nobody is ended for them.

- Counts are in Redis, by process: those of a process that has died are not counted, once its sign of life has gone.
- Those who come at the same time are counted by one script; while Redis is away each process counts its own.
"""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, NamedTuple

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

_PREFIX = "rowcast:{0}:open:"
_ALIVE = "rowcast:{0}:web:"
_ALIVE_SECONDS = 15
_SIGN_SECONDS = 5.0
_COUNT_SECONDS = 86_400
_AT_ONCE = 64
_ANEW_AT_ONCE = 500
_CALL_SECONDS = 1.0
_FINISH_SECONDS = 3.0
_REST_SECONDS = 0.02
"""Between two questions: alone each costs a connect 130 of its 600 µs, and those who are counted together also join together. Who
comes alone does not wait."""
_WHAT = ("", "user", "address")

log = structlog.get_logger()


class TooMany(Exception):
    """There are as many open streams as there may be; `of` is `user` or `address`."""

    def __init__(self, of: str) -> None:
        super().__init__(f"too many open streams of this {of}")
        self.of = of


class _Request(NamedTuple):
    """Somebody who comes (1), and waits for an answer, or leaves (-1)."""

    user: str
    address: str
    change: int
    answer: "asyncio.Future[int] | None" = None


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
        self._local: Counter[tuple[int, str]] = Counter()
        self._waiting: list[_Request] = []
        self._counting: asyncio.Task[None] | None = None
        # Whether Redis does not have what this process counts.
        self._adrift = True
        self._turn = asyncio.Lock()
        self._asked_at = 0.0

    async def enter(self, user: str, address: str) -> Place | None:
        """Counts somebody in; None if nothing is limited. Raises TooMany."""
        if not any(self._limits):
            return None
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._ask(_Request(user, address, 1, answer))
        try:
            found = await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and not answer.result():
                # Counted in, in the moment in which it was given up.
                self.leave(user, address)
            raise
        if found:
            raise TooMany(_WHAT[found])
        return Place(self, user, address)

    def leave(self, user: str, address: str) -> None:
        """Counts somebody out."""
        self._count(user, address, -1)
        self._ask(_Request(user, address, -1))

    async def run(self) -> None:
        """Says that this process lives, until cancelled; counts anew where Redis has forgotten it."""
        while any(self._limits):
            try:
                if self._adrift or not await self._redis.set(_ALIVE + self._process, 1, ex=_ALIVE_SECONDS, xx=True):
                    await self._count_anew()
            except (RedisError, OSError):
                self._adrift = True
            await asyncio.sleep(min(_SIGN_SECONDS, 1.0) if self._adrift else _SIGN_SECONDS)

    async def finish(self) -> None:
        """Waits until those who have left are counted out, in at most some seconds; nobody comes or leaves afterwards."""
        if self._counting is not None:
            await asyncio.wait({self._counting}, timeout=_FINISH_SECONDS)

    def _ask(self, request: _Request) -> None:
        self._waiting.append(request)
        if self._counting is None:
            self._counting = asyncio.create_task(self._work())

    async def _work(self) -> None:
        """Counts those who wait, many at once who have come while those before them were counted."""
        try:
            while self._waiting:
                if (rest := self._asked_at + _REST_SECONDS - time.monotonic()) > 0:
                    await asyncio.sleep(rest)
                self._asked_at = time.monotonic()
                async with self._turn:
                    some, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                    answers = await self._answers(some)
                for request, answer in zip(some, answers, strict=True):
                    if request.answer is None or request.answer.done():
                        if request.answer is not None and not answer:
                            # Gone before it was answered.
                            self.leave(request.user, request.address)
                    else:
                        request.answer.set_result(answer)
        finally:
            self._counting = None

    async def _answers(self, requests: Sequence[_Request]) -> Sequence[int]:
        if self._adrift:
            # `run` tries Redis; nobody else waits for it.
            return [self._alone(request) for request in requests]
        try:
            async with asyncio.timeout(_CALL_SECONDS):
                answers: Sequence[int] = await self._call(requests)
        except Exception as error:
            # Whatever it is, those who wait are answered.
            if not isinstance(error, RedisError | OSError | TimeoutError):
                log.exception("open streams cannot be counted")
            self._adrift = True
            return [self._alone(request) for request in requests]
        for request, answer in zip(requests, answers, strict=True):
            if request.change > 0 and not answer:
                self._count(request.user, request.address, 1)
        return answers

    def _alone(self, request: _Request) -> int:
        """Answers without Redis."""
        if request.change > 0:
            for what, name in ((1, request.user), (2, request.address)):
                if 0 < self._limits[what - 1] <= self._local[what, name]:
                    return what
            self._count(request.user, request.address, 1)
        return 0

    def _count(self, user: str, address: str, change: int) -> None:
        for key in ((1, user), (2, address)):
            self._local[key] += change
            if self._local[key] <= 0:
                del self._local[key]

    async def _call(self, requests: Sequence[_Request]) -> list[int]:
        keys = [key for each in requests for key in (f"{_PREFIX}user:{each.user}", f"{_PREFIX}address:{each.address}")]
        args = [self._process, _ALIVE, _COUNT_SECONDS, *self._limits, *(each.change for each in requests)]
        answers: list[int] = await self._script(keys=keys, args=args)
        return answers

    async def _count_anew(self) -> None:
        """Begins as another process: what was counted for the one before dies with its sign of life."""
        async with self._turn:
            # Until all is there; who comes meanwhile waits for no longer than a call may take.
            self._adrift = True
            process = secrets.token_hex(8)
            async with asyncio.timeout(_CALL_SECONDS):
                await self._redis.set(_ALIVE + process, 1, ex=_ALIVE_SECONDS)
                # At once: newcomers would be refused for what is counted twice.
                await self._redis.delete(_ALIVE + self._process)
            self._process = process
            # Who has left up to this moment is not in what is counted now, and is not to be counted out of it.
            self._waiting = [request for request in self._waiting if request.change > 0]
            counts = [(f"{_PREFIX}{_WHAT[what]}:{name}", n) for (what, name), n in self._local.items() if self._limits[what - 1]]
            for start in range(0, len(counts), _ANEW_AT_ONCE):
                pipeline = self._redis.pipeline(transaction=False)
                for key, count in counts[start : start + _ANEW_AT_ONCE]:
                    pipeline.hincrby(key, self._process, count)
                    pipeline.expire(key, _COUNT_SECONDS)
                async with asyncio.timeout(_CALL_SECONDS):
                    await pipeline.execute()
            self._adrift = False
