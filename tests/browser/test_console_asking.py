"""What the console asks for admins: how often, for whom, and which answers are taken; time is the test's."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, Route, expect

from tests.browser.console import REFUSED, WITHIN_MS, Console, base_of, console, note
from tests.support.gateway import Web, gateway, token, until
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest_asyncio.fixture(loop_scope="package")
async def web(servers: Servers) -> AsyncIterator[Web]:
    """A bridge and a web process with the console."""
    async with gateway(servers, console=True) as each:
        yield each


async def later(page: Page, seconds: int) -> None:
    """Lets time pass in a page whose clock is the test's; what it asks for then has been asked when this returns."""
    await page.clock.run_for(seconds * 1000)
    await page.evaluate("fetch('/livez').then(answer => answer.text())")


def asked(each: Console) -> int:
    """Returns how often the page has asked for what is for admins."""
    return len([address for address in each.watch.addresses if "/admin/" in address])


async def test_no_admin(web: Web, profile: BrowserContext) -> None:
    """Who is no admin sees nothing of what is for admins, and it is not asked for, as it is again and again for an admin."""
    await profile.clock.install()
    async with console(profile, base_of(web.port)) as each:
        await each.use(token("13", "admin"))
        await expect(each.part("views")).to_be_visible()
        await each.page.get_by_role("tab", name="State").click()
        await expect(each.part("components")).to_contain_text("postgres")
        before = asked(each)
        await later(each.page, 60)
        assert asked(each) > before
        await each.use(token("1", "customer"))
        await expect(each.part("views")).to_be_hidden()
        await expect(each.part("events-panel")).to_be_visible()
        await expect(each.part("state-panel")).to_be_hidden()
        before = asked(each)
        await later(each.page, 60)
        assert asked(each) == before


async def test_too_often(web: Web, profile: BrowserContext) -> None:
    """What is looked at is asked for every ten seconds, later where the gateway has had too much, and not while nobody sees it."""

    async def too_many(route: Route) -> None:
        await route.fulfill(status=429, headers={"Retry-After": "60"})

    await profile.clock.install()
    async with console(profile, base_of(web.port), REFUSED) as each:
        await each.page.route("**/admin/state", too_many)
        await each.use(token("13", "admin"))
        await each.page.get_by_role("tab", name="State").click()
        await expect(each.part("state-note")).to_contain_text("Too many at once")
        await later(each.page, 30)
        assert asked(each) == 1
        await later(each.page, 40)
        assert asked(each) == 2
        await each.page.unroute("**/admin/state")
        await later(each.page, 70)
        await expect(each.part("state-note")).to_be_empty()
        before = asked(each)
        for _ in range(6):
            await later(each.page, 10)
        assert 4 <= asked(each) - before <= 7
        await each.page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
        before = asked(each)
        await later(each.page, 60)
        assert asked(each) == before


async def test_what_has_the_focus(web: Web, profile: BrowserContext) -> None:
    """The list of connections goes on while it has the focus, and stays while a button in it has, which somebody may be about to press."""
    await profile.clock.install()
    async with console(profile, base_of(web.port)) as each, web.stream("bookings", 2):
        await each.use(token("13", "admin"))
        await each.page.get_by_role("tab", name="Connections").click()
        rows, told = each.page.locator("#connections tbody tr"), each.part("connections-note")
        await expect(rows).to_have_count(1)
        await each.part("connections").focus()
        async with web.stream("services", 3):
            await later(each.page, 15)
            await expect(rows).to_have_count(2)
            await rows.locator("button").first.focus()
            async with web.stream("services", 4):
                await later(each.page, 15)
                await expect(told).to_contain_text("3 connections")
                await expect(rows).to_have_count(2)
                await each.part("connections").focus()
                await later(each.page, 15)
                await expect(rows).to_have_count(3)


async def test_answers_in_another_order(servers: Servers, web: Web, profile: BrowserContext) -> None:
    """An answer that comes when something else is asked, or another event is looked at, is not taken for the answer to that."""
    answer, late = asyncio.Event(), 0

    async def slowly(route: Route) -> None:
        nonlocal late
        await answer.wait()
        await route.fulfill(json={"verdict": "late", "because": "slow", "steps": []})
        late += 1

    async with console(profile, base_of(web.port)) as each:
        await each.page.route("**/admin/explain?sub=2&**", slowly)
        await each.use(token("13", "admin"))
        await each.choose("changes")
        await each.connect()
        await note(servers, "one")
        await note(servers, "two")
        await (await each.row("→ one")).click()
        await each.page.get_by_role("tab", name="Explain").click()
        for user in ("2", "1"):
            await each.part("explain-sub").fill(user)
            await each.button("Explain").click()
        await expect(each.part("verdict")).to_contain_text("delivered", timeout=WITHIN_MS)
        answer.set()
        await until(lambda: late == 1)
        await each.page.evaluate("fetch('/livez').then(answer => answer.text())")
        await expect(each.part("verdict")).to_contain_text("delivered")
        answer.clear()
        await each.part("explain-sub").fill("2")
        await each.button("Explain").click()
        await (await each.row("→ two")).click()
        answer.set()
        await until(lambda: late == 2)
        await each.page.evaluate("fetch('/livez').then(answer => answer.text())")
        await expect(each.part("verdict")).to_be_empty()
