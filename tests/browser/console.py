"""The console as somebody uses it who sees it, and a watch over what its pages do behind that."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect

from tests.support.servers import Servers

WITHIN_MS = 30_000
REFUSED = "Failed to load resource: the server responded with a status of"
"""What Chromium writes to the console for every refusal, whatever the page does with it."""
UNREACHABLE = "Failed to load resource: net::ERR_"


def base_of(port: int) -> str:
    """Returns the origin of a gateway; a browser trusts localhost as it trusts https."""
    return f"http://localhost:{port}"


async def change(servers: Servers, statement: str, *arguments: Any) -> None:
    """Changes the example tables, behind the gateway's back."""
    connection = await servers.connect()
    try:
        await connection.execute(statement, *arguments)
    finally:
        await connection.close()


async def note(servers: Servers, text: str) -> None:
    """Writes a note to a booking of customer 1."""
    await change(servers, "update bookings set notes = $1 where id = 1", text)


@dataclass
class Watch:
    """What a page has complained of, and which hosts it has asked."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)
    addresses: list[str] = field(default_factory=list)

    def on(self, page: Page) -> None:
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Request) -> None:
        self.addresses.append(request.url)
        self.hosts.add(urlsplit(request.url).netloc or request.url[:40])


@dataclass
class Console:
    """One open console."""

    page: Page
    watch: Watch

    def part(self, name: str) -> Locator:
        """Finds what has an id."""
        return self.page.locator(f"#{name}")

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    async def use(self, token: str) -> None:
        """Pastes a token, and uses it."""
        if await self.part("token-part").get_attribute("open") is None:
            await self.page.get_by_text("Paste a token").click()
        await self.part("token").fill(token)
        await self.button("Use token").click()

    async def choose(self, *streams: str) -> None:
        for name in streams:
            await self.page.get_by_label(name, exact=True).check()

    async def filter(self, stream: str, column: str, operator: str, value: str) -> None:
        """Adds a filter of a stream."""
        await self.button(f"Add a filter of {stream}").click()
        row = self.page.locator(".filter").last
        await row.get_by_label(f"Column of {stream}").select_option(column)
        await row.get_by_label("Operator").select_option(operator)
        await row.get_by_label("Value").fill(value)

    async def connect(self) -> None:
        await self.button("Connect").click()
        await self.state("CONNECTED")

    async def state(self, wanted: str) -> None:
        """Waits for a state."""
        await expect(self.part("state")).to_have_text(wanted, timeout=WITHIN_MS)

    def rows(self, text: str = "") -> Locator:
        """Finds the rows that have a text."""
        return self.page.locator("#rows tr", has_text=text) if text else self.page.locator("#rows tr")

    async def row(self, text: str) -> Locator:
        """Waits for the only row that has a text."""
        await expect(self.rows(text)).to_have_count(1, timeout=WITHIN_MS)
        return self.rows(text)

    async def notes(self) -> list[str]:
        """Returns the summaries of all bookings, in the order in which they came."""
        cells = self.page.locator("#rows tr", has=self.page.locator("td:nth-child(4)", has_text="bookings")).locator(".summary")
        return list(reversed(await cells.all_inner_texts()))

    async def ids(self) -> list[str]:
        """Returns the ids of all bookings, in the order in which they came."""
        rows = self.page.locator("#rows tr", has=self.page.locator("td:nth-child(4)", has_text="bookings"))
        found: list[str] = await rows.evaluate_all("rows => rows.map(row => row.dataset.id)")
        return found[::-1]

    async def diff(self) -> dict[str, tuple[str, str, str]]:
        """Returns the selected event's difference: what happened to each column, its old value and its new one."""
        lines = await self.page.locator("#diff-panel .diff tbody tr").all()
        found = {}
        for line in lines:
            cells = [(await cell.inner_text()).strip() for cell in await line.locator("th, td").all()]
            found[cells[1]] = (str(await line.get_attribute("class")), cells[2], cells[3])
        return found


@asynccontextmanager
async def watching(profile: BrowserContext, base: str, *allowed: str) -> AsyncIterator[Watch]:
    """Watches the pages that are opened; at the end none has complained of anything that is not allowed, or asked another host."""
    watch = Watch()
    profile.on("page", watch.on)
    yield watch
    complaints = [each for each in watch.complaints if not each.startswith(allowed or "\0")]
    assert not complaints, complaints
    assert watch.hosts == {urlsplit(base).netloc}, watch.hosts


@asynccontextmanager
async def console(profile: BrowserContext, base: str, *allowed: str, fragment: str = "") -> AsyncIterator[Console]:
    """Opens the console in a tab of its own, and watches it."""
    async with watching(profile, base, *allowed) as watch:
        page = await profile.new_page()
        await page.goto(f"{base}/console{fragment}")
        await expect(page).to_have_title("Rowcast console")
        yield Console(page, watch)
        await page.close()
