"""How the examples' pages look, on a phone and on a desk, light and dark: axe finds nothing serious, and pictures are kept in ARTEFACTS."""

import os
from itertools import product
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.site import example, listing, live, running, signed_in, visitor
from tests.examples.conftest import acquire, acquire_template, homeser, homeser_template, pages
from tests.support.node import needed
from tests.support.process import ROOT, free_port
from tests.support.servers import Servers

__all__ = ["acquire", "acquire_template", "homeser", "homeser_template", "pages"]

# The first of them builds the pages.
pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.usefixtures("pages"), pytest.mark.timeout(600)]
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WIDTHS = (390, 1280)
RUN = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ["violations"] });
  return violations.filter(({ impact }) => impact === "serious" || impact === "critical")
    .map(({ id, nodes }) => [id, nodes.map(node => node.html.slice(0, 200) + node.failureSummary)]);
}"""


@pytest.fixture(scope="session")
def axe() -> str:
    """The script that looks for what people who see, hear or move otherwise would stumble over."""
    return (needed(ROOT / "tests" / "browser") / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


async def serious(page: Page, axe: str) -> list[Any]:
    """Returns what axe finds serious or critical in a page."""
    await page.evaluate(axe)
    found: list[Any] = await page.evaluate(RUN)
    return found


class Album:
    """Keeps a picture of each page, in both widths, and what axe has to say of it."""

    def __init__(self, axe: str, scheme: str) -> None:
        self._axe, self._scheme = axe, scheme
        self._directory = Path(os.environ.get("ARTEFACTS") or ROOT / ".artefacts")
        self._directory.mkdir(parents=True, exist_ok=True)

    async def take(self, page: Page, name: str, widths: tuple[int, ...] = WIDTHS) -> None:
        for width in widths:
            await page.set_viewport_size({"width": width, "height": 900})
            await page.screenshot(path=self._directory / f"{name}-{self._scheme}-{width}.png", full_page=True)
            assert await serious(page, self._axe) == []
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than {width}"


async def test_homeser(homeser: Servers, browser: Browser, axe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The marketplace: where one signs in, bookings in every state for either side, the admin's changes, and without a gateway."""
    async with example("homeser", homeser, tmp_path, monkeypatch) as each:
        for scheme in SCHEMES:
            album = Album(axe, scheme)
            calm: dict[str, Any] = {"color_scheme": scheme, "reduced_motion": "reduce"}
            async with visitor(browser, **calm) as context:
                page = await context.new_page()
                await page.goto(f"{each.base}/")
                await album.take(page, "homeser-sign-in")
            async with (
                signed_in(browser, each, "ada", **calm) as customer,
                signed_in(browser, each, "ines", **calm) as provider,
                signed_in(browser, each, "mara", **calm) as admin,
            ):
                await each.sql("update bookings set status = 'pending', notes = 'Ring twice, the bell is quiet' where id % 2 = 1")
                for number, status in enumerate(("confirmed", "in_progress", "completed", "cancelled")):
                    await each.sql("update bookings set status = $1 where id = $2 + (select min(id) from bookings)", status, number + 2)
                await each.sql("update payments set status = 'paid' from bookings b where b.id = booking_id and b.status = 'completed'")
                await each.sql(
                    "insert into notifications (user_id, kind, title, body, read, created_at)"
                    " select id, 'x', 'Booking confirmed', 'Booking 3 went from pending to confirmed.', false, now() from users"
                )
                for page, name in ((customer, "customer"), (provider, "provider"), (admin, "admin")):
                    if name != "admin":
                        await expect(page.locator(".toast").last).to_be_visible()
                    await album.take(page, f"homeser-{name}")
    port, site_port = free_port(), free_port()
    async with running("homeser", homeser, tmp_path, port, site_port) as alone:
        for scheme in SCHEMES:
            async with signed_in(browser, alone, "ada", wait=False, color_scheme=scheme, reduced_motion="reduce") as page:
                await expect(page.get_by_role("alert")).to_be_visible()
                await Album(axe, scheme).take(page, "homeser-away")


async def test_acquire(acquire: Servers, browser: Browser, axe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The listings: after changes of all kinds, and where nothing matches."""
    async with example("acquire", acquire, tmp_path, monkeypatch) as each:
        for scheme, width in product(SCHEMES, WIDTHS):
            album = Album(axe, scheme)
            seen: dict[str, Any] = {"color_scheme": scheme, "reduced_motion": "reduce", "viewport": {"width": width, "height": 900}}
            async with visitor(browser, **seen) as context:
                page = await context.new_page()
                await page.goto(f"{each.base}/")
                await live(page)
                await page.get_by_role("button", name="Alert me").click()
                await expect(page.get_by_role("button", name="Saved: Anywhere")).to_be_visible()
                await each.sql("update properties set price = price * 49 / 50 where name = 'Barton Creek Flats'")
                await each.sql("update properties set price = price * 51 / 50, status = 'pending' where name = 'Deep Ellum Yards'")
                add = "insert into properties (name, city, state, price, units) values ($1, 'Austin', 'TX', 5000000, 40)"
                for name in ("Elm Street", "Ash Street"):
                    await each.sql(add, name)
                await expect(listing(page, "Ash Street")).to_be_visible()
                await each.sql("delete from properties where name = 'Ash Street'")
                await expect(listing(page, "Ash Street")).to_have_attribute("data-note", "gone")
                await album.take(page, "acquire", (width,))
                await each.sql("delete from properties where name = 'Elm Street'")
                await page.goto(f"{each.base}/?city=Austin&max_price=10")
                await live(page)
                await album.take(page, "acquire-nothing", (width,))


async def test_control_axe(browser: Browser, axe: str) -> None:
    """Axe finds what is wrong with a page that is wrong."""
    async with visitor(browser) as context:
        page = await context.new_page()
        await page.set_content("<title>Grey</title><main><h1 style='color:#ccc;background:#fff'>Grey</h1><input></main>")
        assert {found[0] for found in await serious(page, axe)} >= {"color-contrast", "label"}
