"""How a browser says who it is: cookie and ticket, of the gateway's origin and of others, and what foreign pages get of it.

The gateway's own pages are at /livez: any document of its origin is one.
"""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, Page, async_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route

from tests.browser.conftest import _SCRIPT, _WITHIN_MS, CLOSED, CONNECTING, ask, listen, open_page
from tests.support import http_server, sse
from tests.support.gateway import Web, bridge, gateway, token, until, web
from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers

EVIL = "evil.example"
"""A host of another site, which the browser finds on this machine."""
STREAM = "/streams/bookings"
Carrier = Callable[[Page, str], Awaitable[str]]


async def by_cookie(page: Page, base: str) -> str:
    """Lets a page open a session, and returns the address for its EventSource."""
    assert (await ask(page, "POST", f"{base}/auth/session", token(), "include")).status == 204
    return base + STREAM


async def by_ticket(page: Page, base: str) -> str:
    """Lets a page get a ticket, and returns the address for its EventSource."""
    answer = await ask(page, "POST", f"{base}/auth/ticket", token())
    assert answer.status == 200
    return f"{base}{STREAM}?ticket={json.loads(answer.body)['ticket']}"


both = pytest.mark.parametrize("carrier", [by_cookie, by_ticket])


def base_of(port: int) -> str:
    """Returns the origin under which a browser takes Secure cookies without TLS."""
    return f"http://localhost:{port}"


async def change(servers: Servers, notes: str) -> None:
    """Changes a booking of customer 1."""
    connection = await servers.connect()
    await connection.execute("update bookings set notes = $1 where id = 1", notes)
    await connection.close()


async def refused(gateway: Web, status: int) -> int:
    """Returns how many requests a web process has refused with a status."""
    metrics = (await gateway.request("/metrics")).body.decode()
    name = f'rowcast_refusals_total{{status="{status}"}} '
    return sum(int(float(line.removeprefix(name))) for line in metrics.splitlines() if line.startswith(name))


@asynccontextmanager
async def web_process(servers: Servers, port: int, directory: Path) -> AsyncIterator[None]:
    """Runs `rowcast web` until it is told to end and has ended."""
    env = environment(servers, PORT=str(port), ROWCAST_DRAIN="1s")
    with started(command("web"), env, directory / "web.log", cwd=directory) as process:
        await asyncio.to_thread(wait_ready, base_of(port))
        yield
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.poll() is not None)


@pytest.fixture
async def elsewhere() -> AsyncIterator[int]:
    """Serves an empty page at /page, whatever the host, and yields the port: an origin that is not the gateway's."""

    async def page(request: Request) -> HTMLResponse:
        return HTMLResponse("<!doctype html><title>Elsewhere</title>")

    async with http_server.by_hypercorn(Starlette(routes=[Route("/page", page)])) as port:
        yield port


@pytest.fixture
async def profile(chromium: str, elsewhere: int, tmp_path: Path) -> AsyncIterator[BrowserContext]:
    """A browser with a fresh profile: its pages have the same cookies.

    It is on disk for one setting: Debian's Chromium, and any that is incognito, sends no cookies to other sites, and what
    is to be seen here is what holds where they are sent.
    """
    preferences = tmp_path / "profile" / "Default" / "Preferences"
    preferences.parent.mkdir(parents=True)
    preferences.write_text(json.dumps({"profile": {"cookie_controls_mode": 0}}))
    async with async_playwright() as playwright:
        context = await playwright.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=chromium, args=["--no-sandbox", f"--host-resolver-rules=MAP {EVIL} 127.0.0.1"]
        )
        context.set_default_timeout(_WITHIN_MS)
        await context.add_init_script(_SCRIPT)
        yield context
        await context.close()


async def test_a_cookie(servers: Servers, profile: BrowserContext) -> None:
    """A page's EventSource listens with the session's cookie, which no script sees, and is refused when the session is closed."""
    async with gateway(servers) as each:
        page = await open_page(profile, base_of(each.port) + "/livez")
        await by_cookie(page, "")
        listener = await listen(page, STREAM)
        assert (await listener.until("ready"))["data"]["status"] == "fresh"
        await change(servers, "seen")
        assert await listener.notes("seen") == ["seen"]
        # A document where the cookie is sent, whatever is in it: this one is a refusal.
        beside = await open_page(profile, base_of(each.port) + STREAM)
        await beside.evaluate("path => { document.cookie = `visible=1; path=${path}` }", STREAM)
        assert await beside.evaluate("document.cookie") == "visible=1"
        there = {cookie.get("name"): cookie.get("httpOnly") for cookie in await profile.cookies(beside.url)}
        assert there == {"visible": False, "__Secure-rowcast": True}
        assert (await ask(page, "DELETE", "/auth/session")).status == 204
        assert await (await listen(page, STREAM)).failures() == [CLOSED]


async def test_a_ticket(servers: Servers, profile: BrowserContext) -> None:
    """A page's EventSource listens with a ticket in its address."""
    async with gateway(servers) as each:
        page = await open_page(profile, base_of(each.port) + "/livez")
        listener = await listen(page, await by_ticket(page, ""))
        assert (await listener.until("ready"))["data"]["status"] == "fresh"
        await change(servers, "seen")
        assert await listener.notes("seen") == ["seen"]


@both
async def test_a_restart(servers: Servers, profile: BrowserContext, tmp_path: Path, carrier: Carrier) -> None:
    """An EventSource comes back by itself when the gateway does, and gets what has happened meanwhile once."""
    port = free_port()
    async with bridge(servers):
        async with web_process(servers, port, tmp_path):
            page = await open_page(profile, base_of(port) + "/livez")
            listener = await listen(page, await carrier(page, ""))
            await listener.until("ready")
            await change(servers, "before")
            await listener.until("bookings", notes="before")
        last = await listener.until("reconnect", reason="shutdown")
        await change(servers, "while it was away")
        async with web_process(servers, port, tmp_path):
            again = await listener.until("ready", 2)
            assert (again["data"]["status"], again["data"]["from"]) == ("resumed", last["id"])
            await change(servers, "after")
            assert await listener.notes("after") == ["before", "while it was away", "after"]
            assert set(await listener.failures()) == {CONNECTING}


@both
async def test_another_origin(servers: Servers, profile: BrowserContext, elsewhere: int, carrier: Carrier) -> None:
    """A page of another origin that is allowed listens too, and comes back when its stream has become too old."""
    async with gateway(servers, cors_origins=(base_of(elsewhere),), max_age="2s") as each:
        page = await open_page(profile, base_of(elsewhere) + "/page")
        listener = await listen(page, await carrier(page, base_of(each.port)), with_credentials=True)
        assert (await listener.until("ready"))["data"]["status"] == "fresh"
        await change(servers, "before")
        await listener.until("reconnect", reason="max-age")
        await change(servers, "between")
        assert (await listener.until("ready", 2))["data"]["status"] == "resumed"
        assert await listener.notes("between") == ["before", "between"]
        assert set(await listener.failures()) == {CONNECTING}


async def test_another_origin_without_credentials(servers: Servers, profile: BrowserContext, elsewhere: int) -> None:
    """Without credentials a page of another origin has a ticket for one connection: it comes back without the cookie, and is refused."""
    async with gateway(servers, cors_origins=(base_of(elsewhere),), max_age="2s") as each:
        page = await open_page(profile, base_of(elsewhere) + "/page")
        listener = await listen(page, await by_ticket(page, base_of(each.port)))
        await listener.until("ready")
        assert await listener.failures(2) == [CONNECTING, CLOSED]
        assert len(await listener.events("ready")) == 1


@both
async def test_a_page_of_another_site_that_is_allowed(servers: Servers, profile: BrowserContext, elsewhere: int, carrier: Carrier) -> None:
    """A page of another site that is allowed listens, and comes back: the browser keeps the cookie for that page alone."""
    there = f"http://{EVIL}:{elsewhere}"
    async with gateway(servers, cookie_samesite="none", cors_origins=(there,), max_age="2s") as each:
        page = await open_page(profile, there + "/page")
        listener = await listen(page, await carrier(page, base_of(each.port)), with_credentials=True)
        assert (await listener.until("ready"))["data"]["status"] == "fresh"
        assert (await listener.until("ready", 2))["data"]["status"] == "resumed"


async def _victim(profile: BrowserContext) -> None:
    """Gives the browser a session's cookie that it sends from the pages of all sites, as browsers do that know no partitions."""
    await profile.add_cookies(
        [
            {
                "name": "__Secure-rowcast",
                "value": token(),
                "domain": "localhost",
                "path": "/streams",
                "secure": True,
                "httpOnly": True,
                "sameSite": "None",
            }
        ]
    )


async def test_control_a_foreign_page_that_is_allowed(servers: Servers, profile: BrowserContext, elsewhere: int) -> None:
    """Were the other site's page allowed, it would get what the victim's cookie lets it have: so the browser does send it."""
    evil = f"http://{EVIL}:{elsewhere}"
    async with gateway(servers, cookie_samesite="none", cors_origins=(evil,)) as each:
        await _victim(profile)
        listener = await listen(await open_page(profile, evil + "/page"), base_of(each.port) + STREAM, with_credentials=True)
        assert (await listener.until("ready"))["data"]["status"] == "fresh"


async def test_a_foreign_page(servers: Servers, profile: BrowserContext, elsewhere: int) -> None:
    """A page of another site gets nothing with the cookie that the browser sends for it, and the gateway opens no stream."""
    async with gateway(servers, cookie_samesite="none") as each:
        await _victim(profile)
        url = base_of(each.port) + STREAM
        evil = await open_page(profile, f"http://{EVIL}:{elsewhere}/page")
        assert await (await listen(evil, url, with_credentials=True)).failures() == [CLOSED]
        assert await refused(each, 403) == 1
        for policy in ("origin", "no-referrer"):
            options = {"mode": "no-cors", "credentials": "include", "referrerPolicy": policy}
            await evil.evaluate("([url, options]) => fetch(url, options).then(() => null, () => null)", [url, options])
        assert await refused(each, 403) == 3
        assert await refused(each, 401) == 0


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
async def test_a_stolen_ticket(servers: Servers, profile: BrowserContext, elsewhere: int, used: bool) -> None:
    """A page of another site gets nothing for a ticket that it has from somewhere, not even with the cookie of its first use."""
    async with gateway(servers, cookie_samesite="none") as each:
        page = await open_page(profile, base_of(each.port) + "/livez")
        url = await by_ticket(page, base_of(each.port))
        if used:
            await (await listen(page, url)).until("ready")
        evil = await open_page(profile, f"http://{EVIL}:{elsewhere}/page")
        assert await (await listen(evil, url, with_credentials=True)).failures() == [CLOSED]
        assert await refused(each, 401) == 1


@both
async def test_too_many(servers: Servers, profile: BrowserContext, monkeypatch: pytest.MonkeyPatch, carrier: Carrier) -> None:
    """An EventSource that is one too many is told when to come back, does so by itself, and comes in when there is room."""
    monkeypatch.setattr("gateway.http.gate._RETRY_SECONDS", (1, 1))
    async with gateway(servers, connections_per_user=1) as each:
        page = await open_page(profile, base_of(each.port) + "/livez")
        first = await listen(page, await carrier(page, ""))
        await first.until("ready")
        second = await listen(page, await carrier(page, ""))
        assert (await second.until("reconnect"))["data"]["reason"] == "overload"
        # It has come back once more while there is no room.
        assert (await second.failures(2))[:2] == [CONNECTING, CONNECTING]
        await first.close()
        await second.until("ready")
        assert set(await second.failures()) == {CONNECTING}


async def test_too_many_when_it_comes_back(servers: Servers, profile: BrowserContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """An EventSource whose place was taken while it was away misses nothing: it is told to come back with the id that it has."""
    monkeypatch.setattr("gateway.http.gate._RETRY_SECONDS", (1, 1))
    taken: list[sse.Stream] = []

    async with gateway(servers, connections_per_user=1, max_age="2s") as each, web(servers, connections_per_user=1) as other:

        async def take() -> bool:
            stream = await other.request(STREAM, {"Authorization": f"Bearer {token()}"})
            if stream.status == 200:
                taken.append(stream)
            return bool(taken)

        page = await open_page(profile, base_of(each.port) + "/livez")
        listener = await listen(page, await by_cookie(page, ""))
        await listener.until("reconnect", reason="max-age")
        await until(take)
        await change(servers, "meanwhile")
        await listener.until("reconnect", reason="overload")
        before = await listener.events("ready")
        await taken[0].close()
        again = await listener.until("ready", len(before) + 1)
        assert again["data"]["status"] == "resumed"
        assert await listener.notes("meanwhile") == ["meanwhile"]
