"""⑨ Who may come in: so many attempts a minute from an address, so many open streams of a user and of an address.

- An attempt is counted before anything is verified, so that guessing costs us next to nothing.
- Refused are those who come; nobody is ended for them. A browser's EventSource is told when to come back, for after a 429 it never does.
"""

import random
from typing import Any

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response

from auth.principal import Principal
from gateway.fanout.admission import Admission, Place
from gateway.fanout.admission import TooMany as TooManyOpen
from gateway.fanout.frame import Cursor
from gateway.http import error
from gateway.http.query import last_event_id
from gateway.http.response import refusal

_RETRY_SECONDS = (15, 45)


class Gate:
    """Counts attempts in Redis, or in this process while Redis is away; 0 a minute is no limit."""

    def __init__(self, redis: "Redis", attempts_per_minute: int, admission: Admission) -> None:
        self._admission = admission
        self._item = RateLimitItemPerMinute(attempts_per_minute, namespace="rowcast") if attempts_per_minute else None
        if self._item is not None:
            # The address is for choosing the implementation: the connections are ours.
            pool: Any = redis.connection_pool
            shared = RedisStorage("async+redis://", implementation="redispy", key_prefix="rowcast:limits", connection_pool=pool)
            self._shared, self._own = FixedWindowRateLimiter(shared), FixedWindowRateLimiter(MemoryStorage())

    async def attempt(self, request: Request) -> None:
        """Counts an attempt. Raises TooMany."""
        if self._item is None:
            return
        address = error.address_of(request)
        try:
            allowed = await self._shared.hit(self._item, address)
        except (RedisError, OSError, TimeoutError):
            allowed = await self._own.hit(self._item, address)
        if not allowed:
            raise error.TooMany("too many attempts from this address", {"Retry-After": str(random.randint(*_RETRY_SECONDS))})

    async def enter(self, request: Request, principal: Principal) -> Place | None:
        """Counts a stream in, until its place is given up; None where nothing is limited. Raises TooMany."""
        try:
            return await self._admission.enter(principal.user_id, error.address_of(request))
        except TooManyOpen as many:
            raise error.TooMany(str(many), {"Retry-After": str(random.randint(*_RETRY_SECONDS))}) from many


def event_source(request: Request) -> bool:
    """Says whether this is a browser's own EventSource: it sends no Authorization, and never comes back after an error."""
    headers = request.headers
    return "authorization" not in headers and "sec-fetch-mode" in headers and "text/event-stream" in headers.get("accept", "")


def told_to_come_back(request: Request, problem: error.Problem) -> Response | None:
    """Returns what an EventSource gets instead of an error that would end it for ever; None for other clients."""
    if not event_source(request):
        return None
    error.note(request, problem)
    seconds = int(problem.headers.get("Retry-After", _RETRY_SECONDS[0]))
    # Under the id that it came with: else the browser would come back with another one.
    cursor = Cursor.parse(last_event_id(request))
    return refusal("overload" if problem.status == 429 else "unavailable", cursor, seconds * 1000 + random.randint(0, 1000))
