"""A real Chromium: pages of several origins, what they need to listen and to ask, and nothing between them and the network.

No request is routed by Playwright, which would answer preflights itself: foreign pages are served.
"""

import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CONNECTING, CLOSED = 0, 2
"""The states of an EventSource: it comes back by itself, and it never does."""
_WITHIN_MS = 30_000
_SCRIPT = """
window.listeners = [];

window.listen = (url, withCredentials) => {
  const source = new EventSource(url, {withCredentials}), events = [], failures = [];
  for (const name of ["ready", "reset", "reconnect", "closed", "bookings"])
    source.addEventListener(name, event => events.push({name, id: event.lastEventId, data: JSON.parse(event.data)}));
  source.onerror = () => failures.push(source.readyState);
  return listeners.push({source, events, failures}) - 1;
};

window.matching = (number, name, wanted) => listeners[number].events.filter(
  event => event.name === name && Object.entries(wanted).every(([key, value]) => (event.data.record ?? event.data)[key] === value));

window.ask = async (method, url, token, credentials) => {
  const response = await fetch(url, {method, credentials, headers: token ? {Authorization: `Bearer ${token}`} : {}});
  return {status: response.status, body: await response.text()};
};
"""


@dataclass(frozen=True)
class Answer:
    """What a page's fetch got."""

    status: int
    body: str


@dataclass(frozen=True)
class Listener:
    """An EventSource in a page, which keeps its events and failures from the first on.

    `wanted` is what an event's data has, or the row in it.
    """

    page: Page
    number: int

    async def events(self, name: str, **wanted: Any) -> list[Any]:
        """Returns the events so far: `name`, `id` and `data` of each."""
        found: list[Any] = await self.page.evaluate("args => matching(...args)", [self.number, name, wanted])
        return found

    async def until(self, name: str, count: int = 1, **wanted: Any) -> Any:
        """Waits for so many events, and returns the last of them."""
        there = "([count, ...args]) => matching(...args).length >= count"
        await self.page.wait_for_function(there, arg=[count, self.number, name, wanted])
        return (await self.events(name, **wanted))[count - 1]

    async def notes(self, last: str) -> list[str]:
        """Waits for a booking with these notes, and returns the notes of all bookings that came."""
        await self.until("bookings", notes=last)
        return [event["data"]["record"]["notes"] for event in await self.events("bookings")]

    async def failures(self, count: int = 1) -> list[int]:
        """Waits for so many failures, and returns the state that each left the EventSource in."""
        await self.page.wait_for_function("([number, count]) => listeners[number].failures.length >= count", arg=[self.number, count])
        found: list[int] = await self.page.evaluate("number => listeners[number].failures", self.number)
        return found

    async def close(self) -> None:
        await self.page.evaluate("number => listeners[number].source.close()", self.number)


async def listen(page: Page, url: str, with_credentials: bool = False) -> Listener:
    """Opens an EventSource in a page."""
    return Listener(page, await page.evaluate("args => listen(...args)", [url, with_credentials]))


async def ask(page: Page, method: str, url: str, token: str = "", credentials: str = "same-origin") -> Answer:
    """Lets a page fetch, with a token as Bearer if one is given."""
    return Answer(**await page.evaluate("args => ask(...args)", [method, url, token, credentials]))


async def open_page(profile: BrowserContext, url: str) -> Page:
    """Opens a page in a tab of its own."""
    page = await profile.new_page()
    await page.goto(url)
    return page


@pytest.fixture(scope="session")
def chromium() -> str:
    """Returns where the browser is; without one tests are skipped, or fail where one is required."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        reason = f"there is no browser here, none of {', '.join(NAMES)}"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def one_browser(chromium: str) -> AsyncIterator[Browser]:
    """The browser of the whole folder: to start one, and what speaks with it, takes longer than most tests."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="package")
async def browser(one_browser: Browser) -> AsyncIterator[Browser]:
    """A browser in which each visitor has cookies of their own; it forgets them all after the test."""
    yield one_browser
    for context in one_browser.contexts:
        await context.close()


@pytest_asyncio.fixture(loop_scope="package")
async def profile(browser: Browser) -> BrowserContext:
    """A visitor's browser: its pages have the same cookies."""
    context = await browser.new_context()
    context.set_default_timeout(_WITHIN_MS)
    await context.add_init_script(_SCRIPT)
    return context
