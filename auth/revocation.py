"""Which tokens are revoked: of a subject up to a time, or one by its id. In Redis for as long as a token may live, and in each process.

- Asked in memory: a connect costs no question, and whoever is open is found when one is pushed.
- What Redis has forgotten, those who know it write there again: it is a cache, and a right that was taken stays taken.
"""

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

import orjson
import structlog
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from auth.principal import Principal
from auth.token import LEEWAY_SECONDS

_KEY = "rowcast:{0}:revocations"
_MAX_NAME = 128
_AT_ONCE = 1_000

log = structlog.get_logger()


class RevocationError(Exception):
    """What is to be revoked is not understood; says why."""


@dataclass(frozen=True)
class Revocation:
    """Of all tokens of `subject` issued up to `before`, or of the one whose id is `token_id`; until `until`. In seconds since 1970."""

    subject: str = ""
    token_id: str = ""
    before: float = 0.0
    until: float = 0.0

    @staticmethod
    def read(asked: Any, lifetime_seconds: float) -> "Revocation":
        """Reads `{"sub": …}`, `{"jti": …}` or `{"sub": …, "issued_before": …}`. Raises RevocationError."""
        if not isinstance(asked, dict) or not asked:
            raise RevocationError("name what is to be revoked: sub or jti")
        if unknown := sorted(set(asked) - {"sub", "jti", "issued_before"}):
            raise RevocationError(f"unknown: {str(unknown[0])[:40]}")
        if ("sub" in asked) == ("jti" in asked):
            raise RevocationError("name either sub or jti")
        if "jti" in asked and "issued_before" in asked:
            raise RevocationError("issued_before goes with sub")
        now = time.time()
        name = asked.get("sub", asked.get("jti"))
        name = str(name) if isinstance(name, int) and not isinstance(name, bool) else name
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME or not name.isprintable():
            raise RevocationError("sub and jti are names")
        before = asked.get("issued_before", now)
        if isinstance(before, bool) or not isinstance(before, int | float) or not 0 < before <= now + 60:
            raise RevocationError("issued_before is a time in seconds since 1970, and not to come")
        # A token may be valid for its leeways longer, and issued just before.
        until = max(now, before) + lifetime_seconds + 3 * LEEWAY_SECONDS
        return Revocation(token_id=name, until=until) if "jti" in asked else Revocation(subject=name, before=before, until=until)

    def encode(self) -> bytes:
        """Returns it as Redis has it: a copy, for what orjson returns holds on to 4 kB however short it is, and these are kept."""
        return bytes(memoryview(orjson.dumps((self.subject, self.token_id, self.before, self.until))))

    @staticmethod
    def decode(data: bytes) -> "Revocation":
        """Raises ValueError for what is none."""
        match orjson.loads(data):
            case [str(subject), str(token_id), (int() | float()) as before, (int() | float()) as until]:
                return Revocation(subject, token_id, float(before), float(until))
        raise ValueError("not a revocation")


class Revocations:
    """Those that are known here. `channel` is where other processes hear of new ones."""

    def __init__(self, redis: "Redis", channel: str) -> None:
        self._redis = redis
        self._channel = channel
        self._subjects: dict[str, Revocation] = {}
        self._tokens: dict[str, Revocation] = {}
        self._written: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._subjects) + len(self._tokens)

    def revoked(self, principal: Principal) -> bool:
        """Says whether somebody's token is revoked. One without a time of issue is revoked with its subject."""
        if not self._subjects and not self._tokens:
            return False
        of_subject = self._subjects.get(principal.subject)
        return (of_subject is not None and principal.issued_at <= of_subject.before) or (
            bool(principal.token_id) and principal.token_id in self._tokens
        )

    def learn(self, revocation: Revocation) -> None:
        """Takes one in; of a subject the latest counts, and each as long as the longest."""
        self._written[revocation.encode()] = revocation.until
        known = self._tokens if revocation.token_id else self._subjects
        name = revocation.token_id or revocation.subject
        before = known.get(name, revocation)
        known[name] = Revocation(
            revocation.subject, revocation.token_id, max(before.before, revocation.before), max(before.until, revocation.until)
        )

    async def add(self, revocation: Revocation) -> None:
        """Writes one down and tells all processes. Raises RedisError."""
        self.learn(revocation)
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.zadd(_KEY, {revocation.encode(): revocation.until})
        pipeline.publish(self._channel, orjson.dumps({"revoke": orjson.Fragment(revocation.encode())}))
        await pipeline.execute()

    async def refresh(self) -> bool:
        """Learns what Redis has, tells it what it has not, and forgets what is over. True if there was anything new. Raises RedisError."""
        now = time.time()
        for known in (self._subjects, self._tokens):
            for name in [name for name, each in known.items() if each.until < now]:
                del known[name]
        self._written = {data: until for data, until in self._written.items() if until >= now}
        there = set(cast("list[bytes]", await self._redis.zrangebyscore(_KEY, now, "+inf")))
        await self._tell(self._written.keys() - there, now)
        new = there - self._written.keys()
        for number, data in enumerate(new):
            if number % _AT_ONCE == 0:
                # A hundred thousand take a second, and others have their turn.
                await asyncio.sleep(0)
            try:
                self.learn(Revocation.decode(data))
            except (ValueError, TypeError):
                # Somebody else writes here.
                self._written[data] = now
        return bool(new)

    async def _tell(self, missing: Collection[bytes], now: float) -> None:
        """Writes down what Redis has not, and takes away what is over. A Redis that takes no writes can be learned from all the same."""
        try:
            await self._redis.zremrangebyscore(_KEY, "-inf", now)
            if missing:
                await self._redis.zadd(_KEY, {data: self._written[data] for data in missing})
        except ResponseError as error:
            log.warning("revocations cannot be written down", error=type(error).__name__)
