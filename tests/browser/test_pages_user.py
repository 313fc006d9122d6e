"""The examples' pages when somebody else signs in in another tab: a page is one user's, and says that it no longer is."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route, expect

from tests.browser.site import Site, booking, example, live, signed_in
from tests.examples.conftest import homeser, homeser_template, pages
from tests.support.servers import Servers

__all__ = ["homeser", "homeser_template", "pages"]

# The first of them builds the pages.
pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.usefixtures("pages"), pytest.mark.timeout(300)]
OTHER = "You are signed in as somebody else in another tab"
TELL = (
    "insert into notifications (user_id, kind, title, body, read, created_at)"
    " select id, 'x', 'For ' || username, '', false, now() from users"
)


@pytest_asyncio.fixture(loop_scope="package")
async def marketplace(homeser: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A site whose tokens end soon."""
    async with example("homeser", homeser, tmp_path, monkeypatch, TOKEN_SECONDS="5") as each:
        yield each


@pytest_asyncio.fixture(loop_scope="package")
async def patient(homeser: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """A site whose tokens are good for ten minutes."""
    async with example("homeser", homeser, tmp_path, monkeypatch) as each:
        yield each


async def number_of(each: Site, name: str) -> int:
    """Returns the number of one of somebody's bookings."""
    number: int = await each.sql("select min(b.id) from bookings b join users u on u.id = b.customer_id where u.username = $1", name)
    return number


async def signed_in_beside(page: Page, each: Site, name: str) -> Page:
    """Signs somebody in, in another tab of the same browser, and returns that."""
    other = await page.context.new_page()
    for _ in range(3):
        await other.goto(f"{each.base}/accounts/login/")
        await other.get_by_label("Name").fill(name)
        await other.get_by_label("Password").fill(each.password)
        await other.get_by_role("button", name="Sign in").click()
        await expect(other.locator(".connection, [role=alert]").first).to_be_visible()
        # What the first tab asks in that moment, with the session that has just ended, makes Django take the cookie away.
        if await other.locator(".connection").count():
            break
    await live(other)
    return other


async def test_another_user(marketplace: Site, browser: Browser) -> None:
    """When ada's token ends, her tabs say that ben has signed in and show nothing of his; reloaded, they are his."""
    async with signed_in(browser, marketplace, "ada") as first:
        second = await first.context.new_page()
        await second.goto(f"{marketplace.base}/")
        await live(second)
        number = await number_of(marketplace, "ben")
        other = await signed_in_beside(first, marketplace, "ben")
        for page in (first, second):
            await expect(page.locator(".connection")).to_have_text("Not live")
            await expect(page.get_by_role("alert")).to_contain_text(OTHER)
        await marketplace.sql("update bookings set notes = 'for ben' where id = $1", number)
        await expect(booking(other, number).locator(".note")).to_have_text("for ben")
        for page in (first, second):
            await expect(booking(page, number)).to_have_count(0)
            await expect(page.locator("[data-event]")).to_have_count(0)
            await expect(page.get_by_role("article")).to_have_count(3)
            await page.get_by_role("button", name="Reload").click()
            await live(page)
            await expect(page.locator(".who")).to_contain_text("ben")
            await expect(booking(page, number).locator(".note")).to_have_text("for ben")


async def test_control_another_user(marketplace: Site, browser: Browser) -> None:
    """Were a token taken for whoever it is, ben's booking would come to ada's page: the check above can fail."""
    async with signed_in(browser, marketplace, "ada") as page:
        mine = str(await marketplace.sql("select id from users where username = 'ada'"))

        async def taken(route: Route) -> None:
            await route.fulfill(json=await (await route.fetch()).json() | {"id": mine})

        await page.route("**/api/token", taken)
        number = await number_of(marketplace, "ben")
        # In place a token is renewed for the same user only: another's opens another stream.
        async with page.expect_response(lambda answer: "/streams/" in answer.url and answer.request.method == "GET" and answer.ok):
            await signed_in_beside(page, marketplace, "ben")
        await marketplace.sql("update bookings set notes = 'for ben' where id = $1", number)
        await expect(booking(page, number).locator(".note")).to_have_text("for ben")


async def test_another_users_rows(patient: Site, browser: Browser) -> None:
    """While ada's token is good her page is live; rows that it has to fetch anew by then are not taken, for they are ben's."""
    async with signed_in(browser, patient, "ada") as page:
        other = await signed_in_beside(page, patient, "ben")
        await expect(page.get_by_role("alert")).to_have_count(0)
        await patient.sql(f"do $$ begin truncate notifications; {TELL}; end $$")
        await expect(other.locator("[data-notification]")).to_contain_text("For ben")
        await expect(page.get_by_role("alert")).to_contain_text(OTHER)
        await patient.sql(TELL)
        await expect(page.locator("[data-notification]").first).to_contain_text("For ada")
        await expect(page.locator(".connection")).to_have_text("Live")
        await expect(page.get_by_text("For ben")).to_have_count(0)


async def test_sign_out(patient: Site, browser: Browser) -> None:
    """Who has signed in again in another tab, and so has another CSRF token, can sign out in the first."""
    async with signed_in(browser, patient, "ada") as page:
        await signed_in_beside(page, patient, "ada")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
