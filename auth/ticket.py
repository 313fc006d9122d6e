"""One-time tickets for an EventSource, which can send no header: half a minute, one use over all web processes, one origin.

- A browser comes back with the same address, whose ticket is spent: the pass that it got as a cookie with the first answer lets it in,
  with that ticket, at that address, from that origin, for
  somewhat longer than a stream may live, and anew whenever it comes back; until the token expires.
- Redis has hashes of tickets and passes, and the token's claims; never a ticket, a pass or a token.
"""

import hashlib
import secrets
import time
from dataclasses import dataclass, replace
from typing import Any

import orjson
from redis.asyncio import Redis

from auth.principal import Principal
from auth.token import TokenError, TokenExpired, Verifier, principal_of

TICKET_SECONDS = 30
_MAX_LENGTH = 128


@dataclass(frozen=True)
class Redeemed:
    """Whom a ticket speaks for, and the pass to come back with, for so many seconds."""

    principal: Principal
    password: str
    seconds: int


class Tickets:
    """Issues and redeems them. Both raise RedisError where Redis is away. A pass lives for `pass_seconds`, and anew with each use."""

    def __init__(self, redis: "Redis", pass_seconds: float) -> None:
        self._redis = redis
        self._pass_seconds = pass_seconds

    async def issue(self, principal: Principal, origin: str) -> str:
        """Returns a ticket for somebody whose claims are kept, good for requests of an origin (empty: of none)."""
        ticket = secrets.token_urlsafe(32)
        value = orjson.dumps({"claims": orjson.Fragment(principal.claims), "key": principal.key, "origin": origin})
        await self._redis.set(_key("ticket", ticket), value, ex=TICKET_SECONDS)
        return ticket

    async def redeem(self, verifier: Verifier, ticket: str, password: str, origin: str, path: str) -> Redeemed:
        """Lets a ticket in once, and again, at the same path, with the pass that its first use gave. Raises TokenError.

        What a key has let in that `verifier` does not know any more is refused.
        """
        if not 0 < len(ticket) <= _MAX_LENGTH or len(password) > _MAX_LENGTH:
            raise TokenError("the ticket is not valid")
        value = await self._redis.getdel(_key("ticket", ticket))
        if value is not None:
            password = secrets.token_urlsafe(32)
        elif password:
            value = await self._redis.get(_key("pass", f"{ticket}.{password}.{path}"))
        if value is None:
            raise TokenError("the ticket is not valid, or not any more")
        kept_origin, key, claims = _read(value)
        if kept_origin != origin:
            raise TokenError("the ticket is for another origin")
        if not verifier.knows(key):
            raise TokenError("the ticket's key is not known any more")
        principal = replace(principal_of(claims, keep_claims=True), key=key)
        seconds = int(min(principal.expires_at - time.time(), self._pass_seconds))
        if seconds <= 0:
            raise TokenExpired
        await self._redis.set(_key("pass", f"{ticket}.{password}.{path}"), value, ex=seconds)
        return Redeemed(principal, password, seconds)


def _read(value: bytes | str) -> tuple[str, str, dict[str, Any]]:
    """Reads what is kept of a ticket: origin, key, claims. Raises TokenError for what is none of ours."""
    try:
        match orjson.loads(value):
            case {"origin": str(origin), "key": str(key), "claims": {"sub": _, "exp": _} as claims}:
                return origin, key, claims
    except ValueError:
        pass
    raise TokenError("the ticket is not valid")


def cookie_of(ticket: str) -> str:
    """Returns the name of the cookie for a ticket's pass: several streams of a page have one each."""
    return f"__Secure-rowcast-{hashlib.sha256(ticket.encode()).hexdigest()[:12]}"


def _key(kind: str, secret: str) -> str:
    return f"rowcast:{{0}}:{kind}:{hashlib.sha256(secret.encode()).hexdigest()}"
