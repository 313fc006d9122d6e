"""A browser behind nginx, Caddy and HAProxy, as docs/proxies.md configures them: many streams over one connection of HTTP/2."""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from playwright.async_api import BrowserContext, Page, async_playwright

from tests.acceptance.test_proxies_upgrade import leave, web_process, write
from tests.browser.conftest import _SCRIPT, CONNECTING, ask, listen, open_page
from tests.support.behind import behind
from tests.support.front import NAME, Front, each_proxy, front
from tests.support.gateway import bridge, token, until
from tests.support.process import free_port
from tests.support.servers import Servers

MANY = 30
SIX = 6
"""What a browser opens to one host over HTTP/1.1."""
STREAM = "/streams/bookings"


@asynccontextmanager
async def browsing(chromium: str, directory: Path) -> AsyncIterator[BrowserContext]:
    """A browser that finds the site on this machine, and takes its certificate."""
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            directory / "profile",
            executable_path=chromium,
            ignore_https_errors=True,
            args=["--no-sandbox", f"--host-resolver-rules=MAP {NAME} 127.0.0.1"],
        )
        await context.add_init_script(_SCRIPT)
        yield context
        await context.close()


async def enter(profile: BrowserContext, each: Front) -> Page:
    """Opens a page of the site, any document of it, and a session."""
    page = await open_page(profile, each.origin + "/streams")
    assert (await ask(page, "POST", "/auth/session", token())).status == 204
    return page


async def ready(page: Page) -> int:
    """Returns how many streams of a page have begun."""
    found: int = await page.evaluate("listeners.filter(each => each.events.some(event => event.name === 'ready')).length")
    return found


@each_proxy
async def test_many_streams_of_one_page(servers: Servers, chromium: str, tmp_path: Path, proxy: str) -> None:
    """Thirty EventSources of one page are open at once, over one connection of HTTP/2, and each gets each event."""
    async with behind(servers, proxy, tmp_path) as (web, each), browsing(chromium, tmp_path) as profile:
        page = await enter(profile, each)
        responses: list[dict[str, Any]] = []
        session = await profile.new_cdp_session(page)
        session.on("Network.responseReceived", lambda event: responses.append(event["response"]))
        await session.send("Network.enable")
        listeners = [await listen(page, f"{STREAM}?status=neq.{number}") for number in range(MANY)]
        for listener in listeners:
            await listener.until("ready")
        assert len(web.hub.roster.subscribers) == MANY
        for notes in "12":
            await write(servers, notes)
            for listener in listeners:
                await listener.until("bookings", notes=notes)
        streams = [response for response in responses if response["mimeType"] == "text/event-stream"]
        assert len(streams) == MANY
        assert {response["protocol"] for response in streams} == {"h2"}
        assert len({response["connectionId"] for response in streams}) == 1
        # What the page itself can see of it: for the streams when they are over, for the rest at once.
        for subscriber in list(web.hub.roster.subscribers):
            web.hub.end(subscriber, "max-age")
        kept = "performance.getEntriesByType('resource').filter(each => each.name.includes('/streams/')).map(each => each.nextHopProtocol)"
        await page.wait_for_function(f"{kept}.length >= {MANY}")
        assert set(await page.evaluate(kept)) == {"h2"}


async def test_control_without_http2(servers: Servers, chromium: str, tmp_path: Path) -> None:
    """Over HTTP/1.1 a browser opens six of thirty, and the others wait until one of these is closed."""
    async with behind(servers, "nginx", tmp_path, {"ssl http2;": "ssl;"}) as (web, each), browsing(chromium, tmp_path) as profile:
        page = await enter(profile, each)
        listeners = [await listen(page, f"{STREAM}?status=neq.{number}") for number in range(MANY)]
        await until(lambda: len(web.hub.roster.subscribers) == SIX)
        # Which six these are is the browser's to say.
        there = f"listeners.filter(each => each.events.some(event => event.name === 'ready')).length >= {SIX}"
        await page.wait_for_function(there)
        await write(servers, "seen")
        await page.wait_for_function(there.replace("'ready'", "'bookings'"))
        assert await ready(page) == SIX
        assert len(web.hub.roster.subscribers) == SIX
        for listener in listeners:
            if await listener.events("ready"):
                await listener.close()
                break
        await page.wait_for_function(there.replace(f">= {SIX}", f"> {SIX}"))


@each_proxy
async def test_the_only_gateway_is_upgraded(servers: Servers, chromium: str, tmp_path: Path, proxy: str) -> None:
    """An EventSource outlives the upgrade of the only gateway: it comes back by itself while nobody answers, and misses nothing."""
    port = free_port()
    async with bridge(servers), browsing(chromium, tmp_path) as profile:
        with ExitStack() as stack:
            async with web_process(servers, port, tmp_path) as process:
                each = stack.enter_context(front(proxy, [port], tmp_path))
                page = await enter(profile, each)
                listener = await listen(page, STREAM)
                await listener.until("ready")
                await write(servers, "before")
                await listener.until("bookings", notes="before")
                await leave(process)
            await write(servers, "meanwhile")
            await listener.until("reconnect", reason="unavailable")
            async with web_process(servers, port, tmp_path):
                await listener.until("ready", 2)
                await write(servers, "after")
                assert await listener.notes("after") == ["before", "meanwhile", "after"]
                assert set(await listener.failures()) == {CONNECTING}
                assert [event["data"]["status"] for event in await listener.events("ready")] == ["fresh", "resumed"]
