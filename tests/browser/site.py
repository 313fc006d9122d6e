"""The examples' pages in a browser: their sites, who is signed in there, and what a page shows."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, expect

from streams.catalog import load
from tests.examples.conftest import EXAMPLES, python, site
from tests.support.gateway import Web, gateway, until
from tests.support.process import free_port
from tests.support.servers import Servers

WITHIN_MS = 30_000
expect.set_options(timeout=WITHIN_MS)


@dataclass(frozen=True)
class Site:
    """A site that runs, and its gateway where it has one in the test's own process; `password` is everybody's in the marketplace."""

    servers: Servers
    base: str
    password: str
    web: Web | None = None

    async def counted(self, name: str) -> int:
        """Returns a metric of the gateway."""
        assert self.web is not None
        lines = (await self.web.request("/metrics")).body.decode().splitlines()
        return sum(int(float(line.split(" ")[-1])) for line in lines if re.match(rf"{name}(_total)?(\{{.*\}})? ", line))

    async def settled(self, connections: int) -> None:
        """Waits until so many connections are open."""

        async def there() -> bool:
            return await self.counted("rowcast_connections") == connections

        await until(there)

    async def sql(self, statement: str, *args: Any) -> Any:
        """Writes as anybody does who has the database's address, and returns the first value."""
        connection = await self.servers.connect()
        try:
            return await connection.fetchval(statement, *args)
        finally:
            await connection.close()


@asynccontextmanager
async def running(name: str, servers: Servers, directory: Path, gateway_port: int, port: int = 0, **more: str) -> AsyncIterator[Site]:
    """Runs an example's site, whose pages look for the gateway at a port."""
    found = re.search(r"password (\S+)", python(name, servers, "manage.py", "sample")) if name == "homeser" else None
    given = {"ROWCAST_URL": f"http://127.0.0.1:{gateway_port}"} | more
    async with site(name, servers, directory / f"{name}.log", port, **given) as base:
        yield Site(servers, base, found[1] if found else "")


@asynccontextmanager
async def example(name: str, servers: Servers, directory: Path, monkeypatch: pytest.MonkeyPatch, **more: str) -> AsyncIterator[Site]:
    """Runs a site and its gateway."""
    monkeypatch.syspath_prepend(str(EXAMPLES / name))
    port = free_port()
    async with (
        gateway(servers, catalog=load(f"{name}.published"), cors_origins=(f"http://127.0.0.1:{port}",)) as web,
        running(name, servers, directory, web.port, port, **more) as each,
    ):
        yield replace(each, web=web)


@asynccontextmanager
async def visitor(browser: Browser, **options: Any) -> AsyncIterator[BrowserContext]:
    """Gives somebody a browser of their own. Whatever a page throws, or its policy forbids, fails the test."""
    context = await browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | options))
    context.set_default_timeout(WITHIN_MS)
    wrong: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        if message.type == "error" and "Failed to load resource" not in message.text and "net::" not in message.text:
            wrong.append(message.text)

    context.on("console", heard)
    context.on("weberror", lambda error: wrong.append(str(error.error)))
    try:
        yield context
    finally:
        await context.close()
    assert wrong == []


@asynccontextmanager
async def signed_in(browser: Browser, each: Site, name: str, wait: bool = True, **options: Any) -> AsyncIterator[Page]:
    """Signs somebody in, and yields their page, once it is live if that is to be waited for."""
    async with visitor(browser, **options) as context:
        page = await context.new_page()
        await page.goto(f"{each.base}/")
        await page.get_by_label("Name").fill(name)
        await page.get_by_label("Password").fill(each.password)
        await page.get_by_role("button", name="Sign in").click()
        if wait:
            await live(page)
        yield page


async def live(page: Page) -> None:
    """Waits until a page says that it is, and that nothing is on its way."""
    await expect(page.locator(".connection")).to_have_text("Live")
    await expect(page.locator("[aria-busy=true], .empty[role=status]")).to_have_count(0)


def booking(page: Page, number: int) -> Locator:
    return page.locator(f'[data-booking="{number}"]')


def listing(page: Page, name: str) -> Locator:
    return page.get_by_role("article", name=name, exact=True)


async def activity(page: Page) -> list[str]:
    """Returns the ids of all events that the page has told of, the oldest first."""
    ids: list[str] = await page.locator("[data-event]").evaluate_all("all => all.map(each => each.dataset.event)")
    return ids[::-1]
