"""The console over time and for admins: renewal, the end of a stream, a restart, other people's connections, the state, why."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Route, expect

from tests.browser.console import REFUSED, UNREACHABLE, WITHIN_MS, base_of, console, note
from tests.support.gateway import Web, bridge, gateway, token, until
from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="package")


@pytest_asyncio.fixture(loop_scope="package")
async def web(servers: Servers) -> AsyncIterator[Web]:
    """A bridge and a web process with the console."""
    async with gateway(servers, console=True) as each:
        yield each


@asynccontextmanager
async def web_process(servers: Servers, port: int, directory: Path) -> AsyncIterator[None]:
    """Runs `rowcast web` until it is told to end and has ended."""
    env = environment(servers, PORT=str(port), ROWCAST_DRAIN="1s", ROWCAST_CONSOLE="1")
    with started(command("web"), env, directory / "web.log", cwd=directory) as process:
        await asyncio.to_thread(wait_ready, base_of(port))
        yield
        process.send_signal(signal.SIGTERM)
        await until(lambda: process.poll() is not None)


async def test_a_restart(servers: Servers, profile: BrowserContext, tmp_path: Path) -> None:
    """When the gateway goes and comes back the page does so too by itself, and nothing is lost or there twice."""
    port = free_port()
    async with bridge(servers), AsyncExitStack() as stack:
        async with web_process(servers, port, tmp_path):
            each = await stack.enter_async_context(console(profile, base_of(port), UNREACHABLE))
            await each.use(token())
            await each.choose("bookings")
            await each.connect()
            await note(servers, "before")
            await each.row("→ before")
        await each.state("RECONNECTING")
        await note(servers, "while it was away")
        async with web_process(servers, port, tmp_path):
            await each.row("→ while it was away")
            await each.state("CONNECTED")
            await note(servers, "after")
            await each.row("→ after")
            assert [text.rpartition(" → ")[2] for text in await each.notes()] == ["before", "while it was away", "after"]
            assert len(ids := await each.ids()) == len(set(ids)) == 3


async def test_a_newer_token(web: Web, profile: BrowserContext) -> None:
    """A token that is about to end is said to be; a newer one that is pasted keeps the same stream going."""
    async with console(profile, base_of(web.port)) as each:
        await each.use(token(ttl=45))
        await each.choose("bookings")
        await each.connect()
        await each.row("auth-expiring")
        await expect(each.part("why")).to_contain_text("paste a newer one")
        (before,) = web.hub.roster.subscribers
        longer = int(time.time()) + 1800
        await each.use(token(exp=longer))
        await expect(each.part("why")).to_have_text("The open stream goes on with the newer token.", timeout=WITHIN_MS)
        (after,) = web.hub.roster.subscribers
        assert (after.connection, after.principal.expires_at) == (before.connection, longer)
        await expect(each.rows("fresh")).to_have_count(1)


async def test_the_end(servers: Servers, web: Web, profile: BrowserContext) -> None:
    """A stream whose token is revoked is closed for good, and the page says why."""
    async with console(profile, base_of(web.port)) as each:
        await each.use(token(iat=int(time.time())))
        await each.choose("bookings")
        await each.connect()
        admin = {"Authorization": f"Bearer {token('13', 'admin')}"}
        revoked = await web.request("/admin/revocations", admin, method="POST", body=b'{"sub": "1"}')
        await revoked.close()
        assert revoked.status == 204
        await each.state("DISCONNECTED")
        await expect(each.part("why")).to_have_text("The gateway has closed the stream: revoked.")
        await each.row("closed")


async def test_connections(web: Web, profile: BrowserContext) -> None:
    """An admin sees everybody's connections, those of one user, and ends one."""
    async with console(profile, base_of(web.port)) as each, web.stream("bookings", 2) as other, web.stream("services", 3):
        (connection,) = [one.connection for one in web.hub.roster.subscribers if one.principal.subject == "2"]
        await each.use(token("13", "admin"))
        await each.page.get_by_role("tab", name="Connections").click()
        rows = each.page.locator("#connections tbody tr")
        await expect(rows).to_have_count(2, timeout=WITHIN_MS)
        await expect(each.page.locator(f'tr[data-connection="{connection}"]')).to_contain_text("bookings")
        await each.page.get_by_label("Connections of a user").fill("2")
        await expect(rows).to_have_count(1, timeout=WITHIN_MS)
        await each.button(f"Disconnect {connection}").click()
        assert (await other.until("reconnect")).data["reason"] == "admin"
        await expect(rows).to_have_count(0, timeout=WITHIN_MS)
        await expect(each.part("connections-note")).to_contain_text(connection)


async def test_state(web: Web, profile: BrowserContext) -> None:
    """An admin sees how bridge, outbox, Redis and Postgres are, and how many listen to what."""
    async with console(profile, base_of(web.port)) as each, web.stream("bookings,services", 2):
        await each.use(token("13", "admin"))
        await each.page.get_by_role("tab", name="State").click()
        tiles = each.part("components")
        for name in ("web", "bridge", "redis", "postgres"):
            await expect(tiles.locator("section", has=each.page.locator("h2", has_text=name))).to_contain_text("up", timeout=WITHIN_MS)
        text = await tiles.inner_text()
        for word in ("behind", "lag", "waiting", "memory"):
            assert word in text.lower()
        await expect(tiles.locator("section", has_text="listeners")).to_contain_text("services")


async def test_explain(servers: Servers, web: Web, profile: BrowserContext) -> None:
    """An admin asks of an event why a user got it, and why another did not."""
    async with console(profile, base_of(web.port)) as each:
        await each.use(token("13", "admin"))
        await each.choose("changes")
        await each.connect()
        await note(servers, "explain me")
        await (await each.row("→ explain me")).click()
        await each.page.get_by_role("tab", name="Explain").click()
        assert await each.part("explain-stream").input_value() == "bookings"
        for user, verdict in (("1", "delivered"), ("2", "not-for-them")):
            await each.part("explain-sub").fill(user)
            await each.button("Explain").click()
            await expect(each.part("verdict")).to_contain_text(verdict, timeout=WITHIN_MS)
            assert await each.page.locator("#verdict li").count() > 1


async def test_a_gateway_that_does_not_tell(web: Web, profile: BrowserContext) -> None:
    """A gateway without what is for admins is said to be one, and what everybody may know of its state is shown."""

    async def nothing(route: Route) -> None:
        await route.fulfill(status=404, content_type="application/problem+json", body='{"status": 404, "detail": "Not found"}')

    async with console(profile, base_of(web.port), REFUSED) as each:
        await each.page.route("**/admin/**", nothing)
        await each.use(token("13", "admin"))
        await each.page.get_by_role("tab", name="Connections").click()
        await expect(each.part("connections-note")).to_have_text("This gateway does not tell that.")
        await each.page.get_by_role("tab", name="State").click()
        await expect(each.part("state-note")).to_have_text("This gateway does not tell that.")
        await expect(each.part("components").locator("section", has_text="postgres")).to_contain_text("up")
