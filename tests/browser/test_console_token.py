"""The console's token while a stream is open: a newer one, one of somebody else, one in a link."""

import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Route, expect

from tests.browser.console import REFUSED, UNREACHABLE, WITHIN_MS, Console, base_of, console, note
from tests.support.gateway import Web, gateway, token, until
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest_asyncio.fixture(loop_scope="package")
async def web(servers: Servers) -> AsyncIterator[Web]:
    """A bridge and a web process with the console."""
    async with gateway(servers, console=True) as each:
        yield each


async def opened(each: Console) -> None:
    """Opens the bookings of customer 1."""
    await each.use(token())
    await each.choose("bookings")
    await each.connect()


async def reopened(each: Console, web: Web, ends_at: int) -> None:
    """Waits until the stream is there again, and sees that its token is the one that ends then."""
    await expect(each.rows("resumed")).to_have_count(1, timeout=WITHIN_MS)
    await each.state("CONNECTED")
    (subscriber,) = web.hub.roster.subscribers
    assert subscriber.principal.expires_at == ends_at


async def test_after_a_renewal(web: Web, profile: BrowserContext) -> None:
    """A stream that was renewed and is ended comes back with the newer token."""
    async with console(profile, base_of(web.port)) as each:
        await opened(each)
        longer = int(time.time()) + 5400
        await each.use(token(exp=longer))
        await expect(each.part("why")).to_have_text("The open stream goes on with the newer token.", timeout=WITHIN_MS)
        (subscriber,) = web.hub.roster.subscribers
        web.hub.end(subscriber, "max-age")
        await reopened(each, web, longer)


async def test_while_it_comes_back(web: Web, profile: BrowserContext) -> None:
    """A newer token that is pasted while the stream is away is the one that it comes back with."""
    await profile.clock.install()
    async with console(profile, base_of(web.port)) as each:
        await opened(each)
        (subscriber,) = web.hub.roster.subscribers
        web.hub.end(subscriber, "max-age", 600_000)
        await each.state("RECONNECTING")
        await expect(each.part("why")).to_contain_text("Comes back in 10 min.")
        longer = int(time.time()) + 5400
        await each.use(token(exp=longer))
        await expect(each.part("why")).to_contain_text("with the newer token")
        await each.page.clock.fast_forward(600_000)
        await reopened(each, web, longer)


async def test_while_it_is_asked(web: Web, profile: BrowserContext) -> None:
    """A newer token that is pasted while the stream is asked for with the one before is given to it when it is there."""
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    async with console(profile, base_of(web.port)) as each:
        await each.page.route("**/streams/bookings", hold)
        await each.use(token())
        await each.choose("bookings")
        await each.button("Connect").click()
        await until(lambda: held)
        longer = int(time.time()) + 5400
        await each.use(token(exp=longer))
        await expect(each.page.locator("#streams input")).to_have_count(7)
        await held[0].continue_()
        await each.state("CONNECTED")
        await until(lambda: [one.principal.expires_at for one in web.hub.roster.subscribers] == [longer])


@pytest.mark.parametrize("other", [token("2"), "no token"], ids=["another user's", "none at all"])
async def test_of_somebody_else(web: Web, profile: BrowserContext, other: str) -> None:
    """A stream is closed, in words, when the token in the page is no more of the user who opened it."""
    async with console(profile, base_of(web.port), REFUSED) as each:
        await opened(each)
        await each.use(other)
        await each.state("DISCONNECTED")
        await expect(each.part("why")).to_have_text("This is no token of the same user: the stream that was open is closed.")
        await until(lambda: not web.hub.roster.subscribers)


async def test_a_renewal_that_fails(servers: Servers, web: Web, profile: BrowserContext) -> None:
    """A renewal that does not get there is told, and the stream goes on."""

    async def cut(route: Route) -> None:
        await route.abort()

    async with console(profile, base_of(web.port), UNREACHABLE) as each:
        await opened(each)
        await each.page.route("**/streams/connections/**", cut)
        await each.use(token(ttl=5400))
        await expect(each.part("problem")).to_contain_text("cannot be reached")
        await each.state("CONNECTED")
        await note(servers, "it goes on")
        await each.row("→ it goes on")


async def test_a_link_where_it_is_open(servers: Servers, web: Web, profile: BrowserContext) -> None:
    """A link with a token that is opened where the console is already connects too, and leaves nothing in the address."""
    base = base_of(web.port)
    async with console(profile, base) as each:
        for streams, text in (("bookings", "one"), ("bookings,services", "two")):
            await each.page.goto(f"{base}/console#token={token()}&streams={streams}")
            await expect(each.part("curl")).to_contain_text(f"/streams/{streams}'", use_inner_text=False, timeout=WITHIN_MS)
            await each.state("CONNECTED")
            assert each.page.url == f"{base}/console"
            await each.row("fresh") if text == "one" else await expect(each.rows("fresh")).to_have_count(2, timeout=WITHIN_MS)
            await note(servers, text)
            await each.row(f"→ {text}")
        assert [address for address in each.watch.addresses if address.endswith("/console")] == [f"{base}/console"]
