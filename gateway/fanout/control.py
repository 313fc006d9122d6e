"""⑦ What web processes tell each other beside events: revocations, newer tokens for streams that are open elsewhere, their ends, a census.

- Heard on the tail's connection. What was said while it was cut off is read again when it is back, before anything is sent.
- Anybody who can publish can say anything here: what is too large is not read, and what is not understood is left.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from enum import Enum
from functools import partial
from typing import Any, Protocol

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from auth.principal import Principal
from auth.revocation import Revocation, Revocations
from auth.token import TokenError, principal_of
from gateway import wire
from gateway.fanout.census import Census
from gateway.fanout.roster import Roster
from gateway.fanout.subscriber import State, Subscriber

_REPLY_SECONDS = 2
_REFRESH_SECONDS = 10.0
_MOST_BYTES = 65_536
"""Of a message: a token's claims are an eighth of it."""

log = structlog.get_logger()


class Renewal(Enum):
    """What became of a newer token for an open stream."""

    RENEWED = "renewed"
    UNKNOWN = "unknown"
    ANOTHERS = "anothers"


class End(Protocol):
    """Ends a subscriber's stream, for one of the known reasons."""

    def __call__(self, subscriber: Subscriber, reason: str) -> None: ...


class Control:
    """Acts on the streams of this process, and asks the others."""

    def __init__(self, redis: "Redis", revocations: Revocations, roster: Roster, end: End) -> None:
        self.revocations = revocations
        self.census = Census(redis, roster)
        self._redis = redis
        self._roster = roster
        self._end = end
        self._asked: dict[str, asyncio.Future[Renewal | bool]] = {}
        self._scan: asyncio.Handle | None = None

    async def revoke(self, revocation: Revocation) -> None:
        """Revokes tokens everywhere; here at once. Raises RedisError where the others cannot be told."""
        self.revocations.learn(revocation)
        self._end_revoked()
        await self.revocations.add(revocation)

    async def renew(self, connection: str, principal: Principal) -> Renewal:
        """Gives an open stream a newer token, in whatever process it is. `principal` has its claims. Raises RedisError."""
        for subscriber in self._named(connection):
            return self._renew(subscriber, principal)
        answer = await self._ask({"renew": connection, "claims": orjson.Fragment(principal.claims)})
        return answer if isinstance(answer, Renewal) else Renewal.UNKNOWN

    async def disconnect(self, connection: str) -> bool:
        """Ends an open stream, in whatever process it is, whose client may come back; False if nobody has it. Raises RedisError."""
        return self._disconnect(connection) or bool(await self._ask({"disconnect": connection}))

    async def run(self) -> None:
        """Looks every few seconds whether Redis knows what is revoked, until cancelled."""
        while True:
            await asyncio.sleep(_REFRESH_SECONDS)
            try:
                await self.refresh()
            except Exception as error:
                # That Redis is away the tail says.
                if not isinstance(error, RedisError | OSError):
                    log.exception("revocations cannot be read")

    async def refresh(self) -> None:
        """Catches up with what was said while nobody listened. Raises RedisError."""
        if await self.revocations.refresh():
            self._end_revoked()

    def take(self, data: bytes) -> Callable[[], Awaitable[None]] | None:
        """Acts on a message; what is still to be done for it, if anything, is returned. Raises ValueError for none of ours."""
        if len(data) > _MOST_BYTES:
            raise ValueError("too large for a message of ours")
        try:
            message: dict[str, Any] = orjson.loads(data)
            if "revoke" in message:
                self.revocations.learn(Revocation.decode(orjson.dumps(message["revoke"])))
                if self._scan is None:
                    # Once for all that were read in this turn: it looks at every stream.
                    self._scan = asyncio.get_running_loop().call_soon(self._end_revoked)
            elif "renew" in message:
                return self._renew_for(str(message["renew"]), principal_of(message["claims"], keep_claims=True), str(message["reply"]))
            elif "renewal" in message:
                self._answered(str(message["reply"]), Renewal(message["renewal"]))
            elif "disconnect" in message:
                tell = partial(self._tell, str(message["reply"]), disconnected=True)
                return tell if self._disconnect(str(message["disconnect"])) else None
            elif "disconnected" in message:
                self._answered(str(message["reply"]), True)
            elif "census" in message:
                return self.census.answer(message["census"], str(message["reply"]))
            elif "counted" in message:
                self.census.hear(str(message["counted"]))
        except (TypeError, AttributeError, LookupError, TokenError) as error:
            raise ValueError("not a message of ours") from error
        return None

    async def _ask(self, question: Mapping[str, Any]) -> Renewal | bool | None:
        """Returns what the process answers that has something to say; None if none says anything."""
        reply = secrets.token_hex(16)
        answer: asyncio.Future[Renewal | bool] = asyncio.get_running_loop().create_future()
        # Heard on the tail's connection: no other one is held while the others are asked.
        self._asked[reply] = answer
        try:
            await self._redis.publish(wire.CONTROL, orjson.dumps({**question, "reply": reply}))
            async with asyncio.timeout(_REPLY_SECONDS):
                return await answer
        except TimeoutError:
            return None
        finally:
            del self._asked[reply]

    def _answered(self, reply: str, answer: Renewal | bool) -> None:
        asked = self._asked.get(reply)
        if asked is not None and not asked.done():
            asked.set_result(answer)

    async def _tell(self, reply: str, **answer: Any) -> None:
        await self._redis.publish(wire.CONTROL, orjson.dumps({**answer, "reply": reply}))

    def _named(self, connection: str) -> Iterator[Subscriber]:
        for subscriber in self._roster.subscribers:
            if subscriber.connection == connection and subscriber.state is not State.ENDED:
                yield subscriber

    def _renew_for(self, connection: str, principal: Principal, reply: str) -> Callable[[], Awaitable[None]] | None:
        for subscriber in self._named(connection):
            return partial(self._tell, reply, renewal=self._renew(subscriber, principal).value)
        return None

    def _renew(self, subscriber: Subscriber, principal: Principal) -> Renewal:
        if principal.subject != subscriber.principal.subject:
            return Renewal.ANOTHERS
        if self.revocations.revoked(principal):
            self._end(subscriber, "revoked")
        elif not subscriber.renew(principal):
            self._end(subscriber, "forbidden")
        log.info("token renewed", connection=subscriber.connection, subject=principal.subject, state=subscriber.state.value)
        return Renewal.RENEWED

    def _disconnect(self, connection: str) -> bool:
        for subscriber in self._named(connection):
            self._end(subscriber, "admin")
            return True
        return False

    def _end_revoked(self) -> None:
        self._scan = None
        for subscriber in list(self._roster.subscribers):
            if subscriber.state is not State.ENDED and self.revocations.revoked(subscriber.principal):
                self._end(subscriber, "revoked")
