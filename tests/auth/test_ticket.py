"""Tickets: one use, one origin, one address, one key; and the pass that lets a browser come back."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from redis.asyncio import Redis

from auth.key import shared_secret
from auth.ticket import Redeemed, Tickets
from auth.token import TokenError, Verifier, sign
from tests.support.servers import Servers

SECRET = "a secret for tickets that is long enough, not one byte more"
VERIFIER = Verifier(shared_secret(SECRET))
APP = "https://app.example"


@pytest.fixture
async def tickets(servers: Servers) -> AsyncIterator[Tickets]:
    async with Redis.from_url(servers.redis_url) as redis:
        yield Tickets(redis, 100)


async def _issue(tickets: Tickets, ttl: float = 3600) -> str:
    given = sign(shared_secret(SECRET), {"sub": "1", "role": "customer", "exp": int(time.time() + ttl)})
    return await tickets.issue(VERIFIER.verify(given, keep_claims=True), APP)


async def _redeem(
    tickets: Tickets, ticket: str, password: str = "", verifier: Verifier = VERIFIER, origin: str = APP, path: str = "/a"
) -> Redeemed:
    return await tickets.redeem(verifier, ticket, password, origin, path)


async def test_once(tickets: Tickets) -> None:
    """Of many who come with it at once one is let in, as its user."""
    ticket = await _issue(tickets)
    answers = await asyncio.gather(*(_redeem(tickets, ticket) for _ in range(20)), return_exceptions=True)
    (redeemed,) = [answer for answer in answers if isinstance(answer, Redeemed)]
    assert (redeemed.principal.subject, redeemed.principal.roles) == ("1", frozenset({"customer"}))
    assert sum(isinstance(answer, TokenError) for answer in answers) == 19


async def test_again_with_its_pass(tickets: Tickets) -> None:
    """The pass lets in as often as it is shown, with its ticket, at its address, from its origin, and nothing else does."""
    ticket, other = await _issue(tickets), await _issue(tickets)
    first = await _redeem(tickets, ticket)
    for _ in range(3):
        assert (await _redeem(tickets, ticket, first.password)).password == first.password
    for password, origin, path in (("x", APP, "/a"), (first.password, "https://evil.example", "/a"), (first.password, APP, "/b")):
        with pytest.raises(TokenError):
            await _redeem(tickets, ticket, password, origin=origin, path=path)
    assert (await _redeem(tickets, other)).password != first.password
    with pytest.raises(TokenError):
        await _redeem(tickets, other, first.password)


async def test_its_key_is_gone(tickets: Tickets) -> None:
    """Whoever changes the key ends the tickets and passes that came of it."""
    ticket, unused = await _issue(tickets), await _issue(tickets)
    first = await _redeem(tickets, ticket)
    after = Verifier(shared_secret("another secret that is long enough, and nobody knows"))
    for each, password in ((ticket, first.password), (unused, "")):
        with pytest.raises(TokenError, match="key"):
            await _redeem(tickets, each, password, after)


async def test_how_long_a_pass_lives(tickets: Tickets) -> None:
    """For as long as it was set up, or as the token where that is less."""
    assert (await _redeem(tickets, await _issue(tickets))).seconds == 100
    assert 0 < (await _redeem(tickets, await _issue(tickets, 50))).seconds <= 50


async def test_redis_has_nothing_to_show(servers: Servers, tickets: Tickets) -> None:
    """Neither ticket nor pass is in Redis, only what they hash to."""
    ticket = await _issue(tickets)
    first = await _redeem(tickets, ticket)
    redis: Any = Redis.from_url(servers.redis_url)
    async with redis:
        keys = await redis.keys("*")
        everything = b" ".join([*keys, *[await redis.get(key) for key in keys]])
    assert ticket.encode() not in everything
    assert first.password.encode() not in everything
