"""The examples' pages, with a real gateway and a real Postgres: what is written anywhere shows, to whom it concerns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from tests.browser.site import Site, activity, booking, example, listing, live, signed_in, visitor
from tests.examples.conftest import acquire, acquire_template, homeser, homeser_template, pages
from tests.support.servers import Servers

__all__ = ["acquire", "acquire_template", "homeser", "homeser_template", "pages"]

# The first of them builds the pages.
pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.usefixtures("pages"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(loop_scope="package")
async def marketplace(homeser: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with example("homeser", homeser, tmp_path, monkeypatch) as each:
        yield each


@pytest_asyncio.fixture(loop_scope="package")
async def listings(acquire: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    async with example("acquire", acquire, tmp_path, monkeypatch) as each:
        yield each


@asynccontextmanager
async def looking(browser: Browser, each: Site, query: str = "", **options: Any) -> AsyncIterator[Page]:
    """Opens the listings as somebody new."""
    async with visitor(browser, **options) as context:
        page = await context.new_page()
        await page.goto(f"{each.base}/{query}")
        await live(page)
        yield page


async def shared(each: Site) -> int:
    """Returns the number of a booking by ada with ines."""
    number: int = await each.sql(
        "select min(b.id) from bookings b join users c on c.id = b.customer_id join users p on p.id = b.provider_id"
        " where c.username = 'ada' and p.username = 'ines'"
    )
    return number


async def test_sql(marketplace: Site, browser: Browser) -> None:
    """What SQL does to a booking shows on its customer's page and its provider's, its payment to the customer, and neither to others."""
    number = await shared(marketplace)
    async with (
        signed_in(browser, marketplace, "ada") as customer,
        signed_in(browser, marketplace, "ines") as provider,
        signed_in(browser, marketplace, "ben") as other,
    ):
        await marketplace.sql("update bookings set status = 'confirmed' where id = $1", number)
        await marketplace.sql("update payments set status = 'authorized' where booking_id = $1", number)
        await marketplace.sql("update services set name = 'The last' where id = (select service_id from bookings where id = $1)", number)
        for page in (customer, provider):
            await expect(booking(page, number).locator(".badge").first).to_have_text("Confirmed")
            await expect(booking(page, number)).to_contain_text("The last")
        await expect(booking(customer, number)).to_contain_text("Authorized $")
        await expect(booking(provider, number).locator(".badge")).to_have_count(1)
        # What came to somebody else before this has come, or never does.
        await expect(other.locator("[data-event]").first).to_contain_text("The last")
        assert len(await activity(other)) == 1
        await expect(booking(other, number)).to_have_count(0)


async def test_actions(marketplace: Site, browser: Browser) -> None:
    """What a provider makes of a booking the customer is told in a toast, and the other way round; each has the buttons of their role."""
    number = await shared(marketplace)
    async with signed_in(browser, marketplace, "ada") as customer, signed_in(browser, marketplace, "ines") as provider:
        await expect(booking(customer, number).get_by_role("button")).to_have_text(["Cancel"])
        await expect(booking(provider, number).get_by_role("button")).to_have_text(["Confirm", "Cancel"])
        await booking(provider, number).get_by_role("button", name="Confirm").click()
        await expect(customer.locator(".toast")).to_contain_text("Booking confirmed")
        await expect(customer.locator("[data-notification]")).to_contain_text(f"Booking {number} went from pending to confirmed.")
        await expect(booking(provider, number).get_by_role("button")).to_have_text(["Start", "Cancel"])
        await expect(booking(provider, number)).to_be_focused()
        await expect(provider.locator(".toast")).to_have_count(0)
        await booking(customer, number).get_by_role("button", name="Cancel").click()
        await expect(provider.locator(".toast")).to_contain_text("Booking cancelled")
        for page in (customer, provider):
            await expect(page.get_by_role("heading", name="Over")).to_be_visible()
            await expect(booking(page, number)).to_have_attribute("data-status", "cancelled")
            await expect(booking(page, number).get_by_role("button")).to_have_count(0)
        await customer.get_by_role("button", name="Dismiss").first.click()
        await expect(customer.locator(".toast")).to_have_count(0)


async def test_refused(marketplace: Site, browser: Browser) -> None:
    """What the site refuses is told in its words: here somebody was quicker, and the page could not know."""
    number = await shared(marketplace)
    async with signed_in(browser, marketplace, "ines") as page:
        await page.route("**/api/bookings/**", lambda route: route.continue_(url=f"{marketplace.base}/api/bookings/{number}/completed"))
        await booking(page, number).get_by_role("button", name="Confirm").click()
        await expect(page.locator(".toast")).to_contain_text("a pending booking does not become completed by a provider")
        await expect(booking(page, number)).to_have_attribute("data-status", "pending")


async def test_nothing_yet(marketplace: Site, browser: Browser) -> None:
    """Who has no bookings is told so, and sees the first one come."""
    await marketplace.sql("delete from payments")
    rows = "(booking_date, start_time, end_time, status, customer_id, service_id, created_at, updated_at)"
    await marketplace.sql("delete from bookings")
    async with signed_in(browser, marketplace, "ada") as page:
        await expect(page.locator(".empty")).to_contain_text("There are no bookings yet")
        await marketplace.sql(
            f"insert into bookings {rows} select now(), now(), now() + interval '1 hour', 'pending', u.id, s.id, now(), now()"
            " from users u, services s where u.username = 'ada' order by s.id limit 1"
        )
        await expect(page.get_by_role("article")).to_contain_text("with nobody yet")


async def test_admin(marketplace: Site, browser: Browser) -> None:
    """The admin's page lists whatever changes, whoever it concerns."""
    async with signed_in(browser, marketplace, "mara") as page:
        await marketplace.sql("update bookings set notes = 'seen'")
        await expect(page.locator("[data-event]")).to_have_count(6)
        await expect(page.locator("[data-event]").first).to_contain_text("changed: notes")


async def test_price(listings: Site, browser: Browser) -> None:
    """A price that changes shows its direction and what it was; a new listing and one that is removed say so."""
    async with looking(browser, listings) as page:
        price = listing(page, "Barton Creek Flats").locator(".price")
        await expect(price).to_have_text("$10,000,000")
        await listings.sql("update properties set price = 9800000 where name = 'Barton Creek Flats'")
        await expect(price).to_have_attribute("data-direction", "down")
        await expect(price).to_contain_text("2.0 % from $10,000,000")
        await listings.sql("update properties set price = 10290000, status = 'pending' where name = 'Barton Creek Flats'")
        await expect(price).to_have_attribute("data-direction", "up")
        await expect(price).to_contain_text("5.0 % from $9,800,000")
        await expect(listing(page, "Barton Creek Flats").locator(".badge")).to_have_text("Pending")
        await listings.sql("insert into properties (name, city, state, price, units) values ('Elm Street', 'Austin', 'TX', 5000000, 40)")
        await expect(listing(page, "Elm Street").locator(".badge")).to_have_text(["Available", "New"])
        await listings.sql("delete from properties where name = 'Elm Street'")
        await expect(listing(page, "Elm Street").locator(".badge").first).to_have_text("Removed")
        await expect(listing(page, "Elm Street")).to_have_count(0)


async def test_filter(listings: Site, browser: Browser) -> None:
    """A filter is a room: what comes to pass it enters, what no longer does leaves, and the page's address has it."""
    async with looking(browser, listings) as page:
        await expect(page.get_by_role("article")).to_have_count(12)
        await page.get_by_label("Price, $ to").fill("10000000")
        await page.get_by_role("combobox", name="City").select_option("Austin")
        await expect(page.get_by_role("article")).to_have_count(2)
        assert page.url.endswith("/?city=Austin&max_price=10000000")
        await listings.sql("update properties set price = 9500000 where name = 'Mueller Park Homes'")
        await expect(listing(page, "Mueller Park Homes").locator(".badge")).to_have_text(["Available", "New here"])
        await listings.sql("update properties set price = 9600000 where name = 'White Rock Terrace'")
        await listings.sql("update properties set price = 11000000 where name = 'Mueller Park Homes'")
        await expect(listing(page, "Mueller Park Homes").locator(".badge").first).to_have_text("No longer matches")
        await expect(page.get_by_role("article")).to_have_count(2)
        # Two of Mueller Park Homes: what is elsewhere is not told here.
        assert len(await activity(page)) == 2
    async with looking(browser, listings, "?city=Dallas&max_units=40") as page:
        await expect(page.get_by_role("article")).to_have_count(1)
        await page.get_by_label("Units to").fill("10")
        await expect(page.locator(".empty")).to_contain_text("Nothing matches now")
        await page.get_by_role("button", name="Clear filters").click()
        await expect(page.get_by_role("article")).to_have_count(12)


async def test_alert(listings: Site, browser: Browser) -> None:
    """What one visitor does to a listing alerts another whose saved search it matches, and not one who has none."""
    async with (
        looking(browser, listings, "?city=Austin") as watching,
        looking(browser, listings) as acting,
    ):
        await watching.get_by_role("button", name="Alert me: Austin").click()
        await expect(watching.get_by_role("button", name="Saved: Austin")).to_be_disabled()
        await listing(acting, "Oak View Apartments").get_by_role("button", name="Lower the price by 2 %").click()
        await expect(watching.locator(".toast")).to_contain_text("$12,500,000 → $12,250,000")
        await expect(watching.locator("[data-alert]")).to_contain_text("Oak View Apartments, Austin")
        await expect(listing(acting, "Oak View Apartments").locator(".price")).to_have_attribute("data-direction", "down")
        await expect(acting.locator(".toast")).to_have_count(0)
        await watching.get_by_role("button", name="Forget Austin").click()
        await expect(watching.get_by_role("button", name="Alert me: Austin")).to_be_enabled()


async def test_add(listings: Site, browser: Browser) -> None:
    """A listing that one visitor adds shows to all."""
    async with looking(browser, listings) as adding, looking(browser, listings) as other:
        await adding.get_by_text("Add a listing").click()
        for name, value in {"Name": "Elm Street", "City": "Austin", "State": "TX", "Price, $": "5000000", "Units": "40"}.items():
            await adding.locator("form").last.get_by_label(name, exact=True).fill(value)
        await adding.get_by_role("button", name="Add", exact=True).click()
        for page in (adding, other):
            await expect(listing(page, "Elm Street").locator(".price")).to_have_text("$5,000,000")
