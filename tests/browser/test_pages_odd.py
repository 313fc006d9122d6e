"""The examples' pages where what they are given is odd: an address by hand, rows that were too large, an answer that makes no sense."""

import pytest
from playwright.async_api import Browser, Route, expect

from tests.browser.site import Site, booking, listing, live, signed_in
from tests.browser.test_pages import listings, looking, marketplace, shared
from tests.examples.conftest import acquire, acquire_template, homeser, homeser_template, pages

__all__ = ["acquire", "acquire_template", "homeser", "homeser_template", "listings", "marketplace", "pages"]

# The first of them builds the pages.
pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.usefixtures("pages"), pytest.mark.timeout(300)]


async def test_address(listings: Site, browser: Browser) -> None:
    """What stands in the page's address and no form would say is left out: the page is live, with what else is there."""
    long, control = "x" * 2001, "%00"
    for query in ("min_price=abc", "max_units=-1", "min_price=1e3", "max_price=1234567890123456", f"state={control}", f"status={long}"):
        async with looking(browser, listings, f"?{query}&city=Austin") as page:
            await expect(page.get_by_role("combobox", name="City")).to_have_value("Austin")
            await expect(page).to_have_url(f"{listings.base}/?city=Austin")
            await expect(listing(page, "Oak View Apartments")).to_be_visible()
    async with looking(browser, listings, "?min_units=999999999999999") as page:
        await expect(page.locator(".empty")).to_contain_text("Nothing matches now")


async def test_too_large(marketplace: Site, browser: Browser) -> None:
    """A booking that was too large to be sent is there with its number and dots; one with a status of tomorrow has that."""
    number = await shared(marketplace)
    async with signed_in(browser, marketplace, "ada") as page:
        await marketplace.sql(
            "insert into bookings (booking_date, start_time, end_time, status, notes, customer_id, service_id, created_at, updated_at)"
            " select booking_date, start_time, end_time, status, (select string_agg(md5(i::text), '') from generate_series(1, 20000) i),"
            " customer_id, service_id, created_at, updated_at from bookings where id = $1",
            number,
        )
        await marketplace.sql("update bookings set status = 'on_hold' where id = $1", number)
        await expect(booking(page, number).locator(".badge").first).to_have_text("on_hold")
        large = booking(page, await marketplace.sql("select max(id) from bookings"))
        await expect(large.locator(".badge")).to_have_text("…")
        await expect(large).to_contain_text("…, …–…")
        await expect(large).to_contain_text("with …")


async def test_listing_too_large(listings: Site, browser: Browser) -> None:
    """A listing that was too large to be sent is there with dots, and with nothing to do that needs what is missing."""
    async with looking(browser, listings) as page:
        number = await listings.sql(
            "insert into properties (name, city, state, price, units)"
            " select string_agg(md5(i::text), ''), 'Austin', 'TX', 1, 1 from generate_series(1, 20000) i returning id::text"
        )
        large = page.locator(f'[data-listing="{number}"]')
        await expect(large.locator(".badge")).to_have_text(["…", "New"])
        await expect(large.get_by_role("button", disabled=False)).to_have_text(["×"])
        await expect(page.get_by_role("article")).to_have_count(13)


async def test_broken(marketplace: Site, browser: Browser) -> None:
    """A page that stumbles over what it was given says so, and is not blank; the next time it goes on."""

    async def odd(route: Route) -> None:
        await route.fulfill(json=await (await route.fetch()).json() | {"moves": None})

    # Not a `visitor`: what a page throws would fail the test.
    context = await browser.new_context()
    page = await context.new_page()
    await page.route("**/api/me", odd, times=1)
    await page.goto(f"{marketplace.base}/")
    await page.get_by_label("Name").fill("ada")
    await page.get_by_label("Password").fill(marketplace.password)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading")).to_have_text("This page cannot go on")
    await page.get_by_role("button", name="Reload").click()
    await live(page)
    await context.close()
