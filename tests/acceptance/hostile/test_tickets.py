"""A ticket opens one stream, once, soon, for who asked for it; its cookie opens the same address again."""

import asyncio
from collections.abc import Mapping
from urllib.parse import quote

import pytest
from redis.asyncio import Redis

from tests.acceptance.hostile.client import APP, OTHER, ask, auth, bearer, blaming, issue, keys, opened, refused, told
from tests.acceptance.hostile.maker import ADMIN, hs, now
from tests.support.gateway import Web, until
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]

TICKETS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "empty": ("ticket=", (401,)),
    "no value": ("ticket", (401,)),
    "garbage": ("ticket=nonsense", (401,)),
    "star": ("ticket=*", (401,)),
    "NUL": ("ticket=%00", (400, 401)),
    "line break": ("ticket=%0d%0aX-Injected:1", (400, 401)),
    "not UTF-8": ("ticket=%ff%fe", (400, 401)),
    "lone surrogate": ("ticket=%ed%a0%80", (400, 401)),
    "very long": ("ticket=" + "x" * 15000, (401,)),
    "blanks": ("ticket=+++", (401,)),
    "path": ("ticket=../../rowcast", (401,)),
    "name of a key": ("ticket={key}", (401,)),
    "a token": ("ticket={token}", (401,)),
    "JSON": ("ticket=%7B%22sub%22:%221%22%7D", (401,)),
    "two good ones": ("ticket={ticket}&ticket={second}", (400,)),
    "the same twice": ("ticket={ticket}&ticket={ticket}", (400,)),
    "garbage and a good one": ("ticket=x&ticket={ticket}", (400,)),
    "good and one letter": ("ticket={ticket}x", (401,)),
    "cut": ("ticket={cut}", (401,)),
    "other letters": ("ticket={swapped}", (401,)),
    "as a list": ("ticket[]={ticket}", (400, 401)),
    "in upper case": ("TICKET={ticket}", (400, 401)),
}
"""Query strings that are no good ticket."""


@pytest.mark.parametrize("name", TICKETS)
async def test_bad_ticket(gate: Web, site: Servers, name: str) -> None:
    """What is not exactly one good ticket opens nothing, and is not repeated."""
    before = await keys(site)
    ticket, second = await issue(gate), await issue(gate)
    key = next(iter(await keys(site) - before)).decode()
    words = {"ticket": ticket, "second": second, "cut": ticket[:-1], "swapped": ticket.swapcase(), "key": quote(key), "token": hs()}
    text, statuses = TICKETS[name]
    answer = await ask(gate, f"/streams/bookings?{text.format_map(words)}", f"Origin: {APP}")
    refused(answer, *statuses, secrets=(ticket, second, words["token"]))
    assert "x-injected" not in answer.headers


FROM: Mapping[str, tuple[str | None, tuple[str, ...]]] = {
    "another that is named": (APP, (f"Origin: {OTHER}",)),
    "a foreign one": (APP, ("Origin: https://canary.example",)),
    "null": (APP, ("Origin: null",)),
    "none": (APP, ()),
    "own": (APP, ("Origin: http://127.0.0.1:{port}",)),
    "the right Referer and a foreign origin": (APP, ("Origin: https://canary.example", f"Referer: {APP}/")),
    "issued without, used by a foreign one": (None, ("Origin: https://canary.example",)),
    "issued to null, used by a foreign one": ("null", ("Origin: https://canary.example",)),
    "two": (APP, (f"Origin: {APP}", "Origin: https://canary.example")),
}
"""For whom a ticket was issued, and who comes with it."""


@pytest.mark.parametrize("name", FROM)
async def test_ticket_from_another_origin(gate: Web, name: str) -> None:
    """A ticket is good for the origin that asked for it, and for no other."""
    origin, lines = FROM[name]
    ticket = await issue(gate, origin)
    answer = await ask(gate, f"/streams/bookings?ticket={ticket}", *(line.replace("{port}", str(gate.port)) for line in lines))
    refused(answer, 400, 401, 403, secrets=(ticket,))


async def test_ticket_is_good_once(gates: Mapping[str, Web]) -> None:
    """Of many who come with one ticket at once, to two processes, one gets the stream; whoever comes later gets none."""
    both = [gates["secret"], gates["second"]]
    for _ in range(3):
        ticket = await issue(both[0])
        path = f"/streams/bookings?ticket={ticket}"
        answers = await asyncio.gather(*(ask(both[n % 2], path, f"Origin: {APP}") for n in range(30)))
        assert sorted(answer.status for answer in answers) == [200] + [401] * 29
        for answer in answers:
            assert not told(answer, ticket) or answer.status == 200
        for each in both:
            refused(await ask(each, path, f"Origin: {APP}"), 401, secrets=(ticket,))
    await until(lambda: not any(each.hub.roster.subscribers for each in both))


async def test_ticket_has_half_a_minute(gate: Web, site: Servers) -> None:
    """A ticket that is half a minute old is none: its key in Redis ends by itself, and with it the ticket."""
    before = await keys(site)
    ticket = await issue(gate)
    async with Redis.from_url(site.redis_url) as redis:
        (key,) = await keys(site) - before
        assert 0 < await redis.pttl(key) <= 30_000
        await redis.pexpire(key, 1)

        async def gone() -> bool:
            return not await redis.exists(key)

        await until(gone)
    refused(await ask(gate, f"/streams/bookings?ticket={ticket}", f"Origin: {APP}"), 401, secrets=(ticket,))


async def test_ticket_of_a_token_that_expires(gate: Web) -> None:
    """A ticket lives no longer than the token that it was issued for."""
    token = hs(exp=now(3))
    made = await ask(gate, "/auth/ticket", bearer(token), f"Origin: {APP}", method="POST")
    assert made.status == 200, made.body

    async def over() -> bool:
        return (await ask(gate, "/streams", bearer(token))).status == 401

    await until(over)
    refused(await ask(gate, f"/streams/bookings?ticket={made.problem['ticket']}", f"Origin: {APP}"), 401)


async def test_ticket_gives_no_more_than_its_token(gate: Web) -> None:
    """A ticket stands in an address: it opens a stream of its user, and makes no session, ticket, revocation or renewal."""
    wrong: dict[str, str] = {}
    async with opened(gate, "/streams/services", auth(hs(None, **ADMIN))) as stream:
        renewal = f"/streams/connections/{(await stream.next()).data['connection']}/token"
        for path in ("/auth/ticket", "/auth/session", "/admin/revocations", renewal):
            ticket = await issue(gate, **ADMIN)
            answer = await ask(gate, f"{path}?ticket={ticket}", f"Origin: {APP}", method="POST", body=b'{"sub": "canary"}')
            with blaming(wrong, path):
                refused(answer, 400, 401, 403, secrets=(ticket,))
    ticket = await issue(gate)
    refused(await ask(gate, f"/streams/changes?ticket={ticket}", f"Origin: {APP}"), 403, secrets=(ticket,))
    assert not wrong


async def test_reconnect_cookie_is_of_one_address(gate: Web) -> None:
    """The cookie that a ticket's stream sets opens the same address from the same origin again, and nothing else."""
    ticket, another = await issue(gate), await issue(gate, sub="2")
    path = f"/streams/bookings?ticket={ticket}"
    async with opened(gate, path, {"Origin": APP}) as stream:
        cookie = stream.headers["set-cookie"].split(";")[0]
        parts = {each.strip().lower() for each in stream.headers["set-cookie"].split(";")[1:]}
        assert {"httponly", "secure"} <= parts
    wrong: dict[str, str] = {}
    for address, *lines in (
        (path,),
        (path, "Origin: https://canary.example"),
        (path, f"Origin: {OTHER}"),
        (path, "Origin: null"),
        (f"/streams/payments?ticket={ticket}", f"Origin: {APP}"),
        (f"/streams/bookings,payments?ticket={ticket}", f"Origin: {APP}"),
        (f"/streams?ticket={ticket}", f"Origin: {APP}"),
        ("/streams/bookings?ticket=nonsense", f"Origin: {APP}"),
        ("/streams/bookings", f"Origin: {APP}"),
        ("/streams", f"Origin: {APP}"),
    ):
        answer = await ask(gate, address, f"Cookie: {cookie}", *lines)
        with blaming(wrong, f"{address.split('?')[0]} {lines}"):
            refused(answer, 401, 403, secrets=(ticket,))
    with blaming(wrong, "a cookie that was changed"):
        refused(await ask(gate, path, f"Cookie: {cookie[:-2]}xx", f"Origin: {APP}"), 401, 403, secrets=(ticket,))
    async with opened(gate, f"/streams/notifications?ticket={another}", {"Origin": APP, "Cookie": cookie}):
        pass  # somebody else's ticket in the same browser is not hindered by it
    assert not wrong
