"""How the console looks: nothing serious for axe, nothing that sticks out, light and dark, on a phone and on a desk; pictures are kept.

Pictures are in the directory ARTEFACTS, `.artefacts/` if nothing is said.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, expect

from tests.browser.console import WITHIN_MS, Console, base_of, change, console, note
from tests.support.gateway import Web, gateway, token
from tests.support.node import needed
from tests.support.process import ROOT
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="package")

PICTURES = Path(os.environ.get("ARTEFACTS") or ROOT / ".artefacts") / "console"
_BOOKED = """
    insert into bookings (customer_id, provider_id, service_id, booking_date, start_time, end_time)
    values (1, 9, 2, now(), now(), now() + interval '1 h')
"""
SERIOUS = ("serious", "critical")

Scheme = Literal["light", "dark"]
schemes = pytest.mark.parametrize("scheme", ["light", "dark"])
widths = pytest.mark.parametrize("width", [390, 768, 1280])


@pytest.fixture(scope="session")
def axe() -> str:
    """Returns axe-core as text; without a way to get it tests are skipped, or fail where a browser is required."""
    return (needed(Path(__file__).parent) / "axe-core" / "axe.min.js").read_text()


@pytest_asyncio.fixture(loop_scope="package")
async def web(servers: Servers) -> AsyncIterator[Web]:
    """A bridge and a web process with the console."""
    async with gateway(servers, console=True) as each:
        yield each


async def findings(each: Console, axe: str) -> list[str]:
    """Returns what axe finds serious, where."""
    if not await each.page.evaluate("Boolean(window.axe)"):
        await each.page.evaluate(axe)
    result: dict[str, Any] = await each.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{one['id']}: {node['target']}" for one in result["violations"] if one["impact"] in SERIOUS for node in one["nodes"]]


async def look(each: Console, scheme: Scheme, width: int) -> None:
    await each.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await each.page.set_viewport_size({"width": width, "height": 900})


async def keep(each: Console, name: str) -> None:
    """Keeps a picture, and sees that nothing sticks out to the right."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    # Where the page is scrolled to its header would be in the middle of the picture.
    await each.page.evaluate("scrollTo(0, 0)")
    await each.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)
    assert await each.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def busy(servers: Servers, each: Console) -> None:
    """Uses a token of customer 1, connects, and lets several things happen."""
    await each.use(token("1", "customer", name="Ada Novak"))
    await each.choose("bookings", "properties", "notifications")
    await each.filter("properties", "city", "in", "Austin,Dallas")
    await each.connect()
    await change(servers, "update bookings set status = 'in_progress', notes = $1 where id = 1", "Mind the dog: he bites \u200b")
    await change(servers, "update properties set price = price * 0.95 where city = 'Austin'")
    await change(servers, _BOOKED)
    await change(servers, "update bookings set customer_id = 2 where id = 9")
    await (await each.row("left")).wait_for()
    await note(servers, "The last one")
    await each.row("The last one")


@schemes
@widths
async def test_customer(servers: Servers, web: Web, profile: BrowserContext, axe: str, scheme: Scheme, width: int) -> None:
    """The page is in order before there is a token, with one and events, in each view of an event, and when it is refused."""
    async with console(profile, base_of(web.port), "Failed to load resource") as each:
        await look(each, scheme, width)
        await keep(each, f"{scheme}-{width}-empty")
        assert await findings(each, axe) == []
        await busy(servers, each)
        await each.rows("in_progress").last.click()
        for view in ("Diff", "JSON", "Raw bytes"):
            await each.page.get_by_role("tab", name=view).click()
            await keep(each, f"{scheme}-{width}-{view.split()[0].lower()}")
            assert await findings(each, axe) == []
        await each.button("About properties").click()
        await each.page.get_by_text("Show the line").click()
        await each.use(token(ttl=-60))
        await expect(each.part("problem")).to_be_visible()
        await keep(each, f"{scheme}-{width}-refused")
        assert await findings(each, axe) == []


@schemes
@widths
async def test_admin(servers: Servers, web: Web, profile: BrowserContext, axe: str, scheme: Scheme, width: int) -> None:
    """The page is in order in what only an admin sees."""
    async with console(profile, base_of(web.port)) as each, web.stream("bookings,services", 2), web.stream("properties", 3):
        await look(each, scheme, width)
        await each.use(token("13", "admin"))
        await each.choose("changes", "system")
        await each.connect()
        await note(servers, "Why did they get this?")
        await (await each.row("Why did they get this?")).click()
        await each.page.get_by_role("tab", name="Explain").click()
        await each.part("explain-sub").fill("2")
        await each.button("Explain").click()
        await expect(each.part("verdict")).to_contain_text("not-for-them", timeout=WITHIN_MS)
        await keep(each, f"{scheme}-{width}-explain")
        assert await findings(each, axe) == []
        await each.page.get_by_role("tab", name="Connections").click()
        await expect(each.page.locator("#connections tbody tr")).to_have_count(3, timeout=WITHIN_MS)
        await keep(each, f"{scheme}-{width}-connections")
        assert await findings(each, axe) == []
        await each.page.get_by_role("tab", name="State").click()
        await expect(each.page.locator("#components section")).to_have_count(6, timeout=WITHIN_MS)
        await keep(each, f"{scheme}-{width}-state")
        assert await findings(each, axe) == []


async def test_control_axe(web: Web, profile: BrowserContext, axe: str) -> None:
    """Text that can hardly be read, and a field without a name, are found."""
    async with console(profile, base_of(web.port)) as each:
        assert await findings(each, axe) == []
        await each.page.evaluate("""() => {
            document.querySelector("#access-title").style.color = "#ccc";
            document.querySelector("#since").labels[0].remove();
            document.querySelector("#since").placeholder = "";
        }""")
        assert {found.split(":")[0] for found in await findings(each, axe)} == {"color-contrast", "label"}


async def test_calm(web: Web, profile: BrowserContext) -> None:
    """Where motion is not wanted nothing moves by itself."""
    async with console(profile, base_of(web.port)) as each:
        duration = "getComputedStyle(document.querySelector('#connect')).transitionDuration"
        await each.page.emulate_media(reduced_motion="no-preference")
        assert "0.15s" in await each.page.evaluate(duration)
        await each.page.emulate_media(reduced_motion="reduce")
        assert await each.page.evaluate(duration) == "0s"
