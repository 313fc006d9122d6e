"""The examples' pages through what befalls a connection: the gateway dies, is away, the token ends, and there are six tabs."""

import asyncio
import re
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from gateway.fanout import ticker
from tests.browser.site import Site, activity, booking, example, live, running, signed_in
from tests.examples.conftest import EXAMPLES, homeser, homeser_template, pages
from tests.support import sse
from tests.support.gateway import bridge, token, until
from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers

__all__ = ["homeser", "homeser_template", "pages"]

# The first of them builds the pages.
pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.usefixtures("pages"), pytest.mark.timeout(300)]
TABS = 6
MINE = "select min(b.id) from bookings b join users u on u.id = b.customer_id where u.username = 'ada'"


@asynccontextmanager
async def web_process(servers: Servers, port: int, site_port: int, directory: Path) -> AsyncIterator[None]:
    """Runs `rowcast web` for the marketplace until it is killed, as a machine that loses its power does."""
    env = environment(
        servers,
        PORT=str(port),
        PYTHONPATH=f"{EXAMPLES / 'homeser'}:{EXAMPLES.parent}",
        ROWCAST_STREAMS="homeser.published",
        ROWCAST_CORS_ORIGINS=f"http://127.0.0.1:{site_port}",
    )
    with started(command("web"), env, directory / "web.log", cwd=directory) as process:
        await asyncio.to_thread(wait_ready, f"http://127.0.0.1:{port}")
        yield
        process.send_signal(signal.SIGKILL)
        await until(lambda: process.poll() is not None)


async def note(each: Site, number: int, *notes: str) -> None:
    for text in notes:
        await each.sql("update bookings set notes = $2 where id = $1", number, text)


async def in_the_log(port: int, customer: int) -> list[str]:
    """Returns the ids of all events of a customer's bookings that the gateway keeps."""
    headers = {"Authorization": f"Bearer {token(customer)}", "Last-Event-ID": "earliest"}
    stream = await sse.request("127.0.0.1", port, "/streams/bookings", headers)
    try:
        found: list[str] = []
        while True:
            event = await stream.next()
            if event.name == "bookings":
                found.append(event.id)
                if event.data["record"]["notes"] == "last":
                    return found
    finally:
        await stream.close()


async def test_killed(homeser: Servers, browser: Browser, tmp_path: Path) -> None:
    """The gateway is killed and started again: the page says so meanwhile, and has told each event of the log once, in order."""
    port, site_port = free_port(), free_port()
    async with bridge(homeser), running("homeser", homeser, tmp_path, port, site_port) as each, AsyncExitStack() as stack:
        number, ada = await each.sql(MINE), await each.sql("select id from users where username = 'ada'")
        async with web_process(homeser, port, site_port, tmp_path):
            page = await stack.enter_async_context(signed_in(browser, each, "ada"))
            await note(each, number, "a", "b", "c")
            await expect(page.locator("[data-event]")).to_have_count(3)
        await expect(page.locator(".connection")).to_have_text("Reconnecting")
        await note(each, number, "d", "e")
        await expect(page.get_by_role("alert")).to_contain_text("Live updates are interrupted: the live server cannot be reached")
        await page.get_by_role("button", name="Try now").click()
        async with web_process(homeser, port, site_port, tmp_path):
            await live(page)
            await expect(page.get_by_role("alert")).to_have_count(0)
            await note(each, number, "last")
            await expect(booking(page, number).locator(".note")).to_have_text("last")
            await expect(page.locator("[data-event]")).to_have_count(6)
            assert await activity(page) == await in_the_log(port, ada)


async def test_away(homeser: Servers, browser: Browser, tmp_path: Path) -> None:
    """While the gateway has never been there the page shows what the site knows, says that it is not live, and becomes so by itself."""
    port, site_port = free_port(), free_port()
    async with running("homeser", homeser, tmp_path, port, site_port) as each, signed_in(browser, each, "ada", wait=False) as page:
        await expect(page.get_by_role("article")).to_have_count(3)
        await expect(page.locator(".connection")).to_have_text("Connecting")
        await expect(page.get_by_role("alert")).to_contain_text("Live updates have not begun")
        await note(each, await each.sql(MINE), "meanwhile")
        async with bridge(homeser), web_process(homeser, port, site_port, tmp_path):
            await live(page)
            await expect(page.get_by_text("meanwhile")).to_have_count(1)


async def test_six_tabs(homeser: Servers, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six tabs of one user hold one connection, another user has another; when the tab that holds it closes, the others miss nothing."""
    async with (
        example("homeser", homeser, tmp_path, monkeypatch) as each,
        signed_in(browser, each, "ada") as first,
    ):
        number = await each.sql(MINE)
        others = [await first.context.new_page() for _ in range(TABS - 1)]
        for page in others:
            await page.goto(f"{each.base}/")
            await live(page)
            await expect(page.locator(".connection")).to_have_attribute("title", re.compile("through another tab"))
        await each.settled(1)
        await note(each, number, "to all")
        for page in (first, *others):
            await expect(booking(page, number).locator(".note")).to_have_text("to all")
        assert await each.counted("rowcast_connections") == 1
        async with signed_in(browser, each, "ben"):
            await each.settled(2)
        await each.settled(1)
        await first.close()
        await note(each, number, "while nobody leads")
        for page in others:
            await expect(booking(page, number).locator(".note")).to_have_text("while nobody leads")
        await each.settled(1)


async def test_renewed(homeser: Servers, browser: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token of a few seconds ends and is renewed in place, as the badge's title says: there never is a second connection."""
    # Long enough before, and long enough after it was given: a newer one of the same second ends with it.
    monkeypatch.setattr(ticker, "_WARN_SECONDS", 5.0)
    async with (
        example("homeser", homeser, tmp_path, monkeypatch, TOKEN_SECONDS="10") as each,
        signed_in(browser, each, "ada") as page,
    ):
        badge = page.locator(".connection")
        connects = await each.counted("rowcast_connects")
        since = (await badge.get_attribute("title") or "").partition(";")[0]
        first_ends = time.time() + 10
        await until(lambda: time.time() > first_ends)
        await expect(badge).to_have_attribute("title", re.compile(f"{re.escape(since)};.*, renewed "))
        await note(each, await each.sql(MINE), "with the newer one")
        await expect(page.get_by_text("with the newer one")).to_have_count(1)
        assert await each.counted("rowcast_connects") == connects
        await each.sql("delete from django_session")
        await expect(badge).to_have_text("Not live")
        await expect(page.get_by_role("alert")).to_contain_text("Live updates are off: you are signed out, or your access has ended")
        await expect(page.get_by_role("link", name="Sign in again")).to_have_attribute("href", "/accounts/login/")
        await expect(page.get_by_role("article")).to_have_count(3)
