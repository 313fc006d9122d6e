"""The console where it is switched off, for who has a session."""

import pytest
from playwright.async_api import BrowserContext

from tests.browser.conftest import ask, open_page
from tests.browser.console import base_of
from tests.support.gateway import token, web
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_session(servers: Servers, profile: BrowserContext) -> None:
    """Where the console is switched off a browser finds it while it has an admin's session, and not with a customer's, before, or after."""
    async with web(servers) as each:
        base = base_of(each.port)
        page = await open_page(profile, base + "/livez")

        async def status() -> int:
            answer = await page.goto(base + "/console")
            assert answer is not None
            return answer.status

        async def session(sub: str, role: str) -> None:
            await page.goto(base + "/livez")
            assert (await ask(page, "POST", "/auth/session", token(sub, role))).status == 204

        assert await status() == 404
        await session("1", "customer")
        assert await status() == 404
        await session("13", "admin")
        assert await status() == 200
        await page.get_by_text("Paste a token").wait_for()
        # It is for the page, and for nothing that tells of others.
        assert (await ask(page, "GET", "/admin/state", credentials="include")).status == 401
        await session("1", "customer")
        assert await status() == 404
        await session("13", "admin")
        assert await status() == 200
        assert (await ask(page, "DELETE", "/auth/session")).status == 204
        assert await status() == 404
