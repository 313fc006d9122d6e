"""Chromium: `python -m tests.clients.adapters.chromium BROWSER POLYFILL`. The lines are those of host.mjs, and name the client.

Each profile has a page of each gateway's origin: any document there is one, so it is /livez.
"""

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser, Page, async_playwright

from tests.clients.adapters.job import Job, write

_PAGE = Path(__file__).with_name("page.js")


async def main(browser: str, polyfill: str) -> None:
    loop = asyncio.get_running_loop()
    pages: dict[tuple[int | None, str], asyncio.Task[Page]] = {}
    async with async_playwright() as playwright, asyncio.TaskGroup() as group:
        chromium = await playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            job = Job.read(line)
            port = urlsplit(job.url).port
            if (port, job.profile) not in pages:
                pages[port, job.profile] = group.create_task(_open(chromium, port, polyfill))
            group.create_task(_listen(pages[port, job.profile], job))
        await chromium.close()


async def _open(chromium: Browser, port: int | None, polyfill: str) -> Page:
    profile = await chromium.new_context()
    await profile.expose_function("say", write)
    await profile.add_init_script(path=_PAGE)
    if polyfill:
        await profile.add_init_script(path=polyfill)
    page = await profile.new_page()
    # Browsers take Secure cookies without TLS from this host alone.
    await page.goto(f"http://localhost:{port}/livez", timeout=0)
    return page


async def _listen(page: asyncio.Task[Page], job: Job) -> None:
    try:
        await (await page).evaluate("job => listen[job.client](job)", asdict(job))
    except Exception as error:
        job.say(end="raises", error=str(error))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
