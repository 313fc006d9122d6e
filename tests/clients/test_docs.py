"""The examples of docs/clients, from their very text: each keeps up, whatever happens to the gateway, its token or itself."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest
from playwright.async_api import async_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from tests.clients.client import browser
from tests.clients.example import JS, PAGES, blocks, examples, kept
from tests.clients.house import WITHIN, House, house
from tests.support import http_server
from tests.support.gateway import token, until
from tests.support.node import needed, node
from tests.support.process import environment, started
from tests.support.servers import Servers, fresh

HEADINGS = ["Install", "Example", "Resume, renew, wait", "Traps", "Tested"]
NO_CLIENT = {"README.md", "matrix.md"}
UTF8 = "Zoë 🛠 日本 \u2028 \u0085 done"
"""What one or the other takes for several lines, or for broken letters."""


@pytest.fixture(scope="module")
def module_servers(run_servers: Servers) -> Iterator[Servers]:
    """A database and an empty Redis for the module."""
    with fresh(run_servers) as each:
        yield each


@pytest.fixture(name="house")
def _house(request: pytest.FixtureRequest, module_servers: Servers, tmp_path: Path) -> Iterator[House]:
    """A gateway with the examples of the pages that a test names."""
    with house(module_servers, tmp_path, [each for each in examples() if each.page in request.param]) as one:
        yield one


@pytest.mark.timeout(400)
@pytest.mark.parametrize("house", ["python.md", "curl.md", "node.md", "react-native.md"], indirect=True)
async def test_examples_keep_up(house: House) -> None:
    """An example gets what happens while it listens, while the gateway is away, and while it is not running itself: each change once.

    With a newer token it goes on where the old one was revoked; with none it ends, and says why.
    """
    house.start()
    await house.connected()
    await house.change(UTF8)
    await house.known()

    house.kill()
    await house.change("while the gateway was away")
    house.open()
    await house.known()

    await house.stop()
    await house.change("while the example was away")
    await house.change("and once more")
    house.start()
    await house.known()

    assert house.begun() == 0
    first, second = (f"{number} of {house.directory.name}" for number in ("first", "second"))
    house.token_file.write_text(token(jti=second))
    house.ask("POST", "/admin/revocations", jti=first)
    await house.change("with another token")
    await house.known()

    house.ask("POST", "/admin/revocations", jti=second)
    assert set(await house.ended()) == {1}
    house.start()
    assert set(await house.ended()) == {1}
    for each in house.examples:
        log = (each.directory / "log").read_text()
        assert "closed: " in log or each.page == "react-native.md"
        assert "refused: " in log
        assert not re.search("Traceback|Unhandled|unbound|syntax error", log), log
        if each.notes is kept:
            assert json.loads((each.directory / "bookings.json").read_text())["rows"] == await house.rows()
            ids = re.findall(r"^bookings (\S+)$", log, re.MULTILINE)
            # It may have been ended before it said the last one.
            assert len(ids) == len(set(ids)) >= len(house.told) - 1 or each.page == "react-native.md"
        else:
            assert each.notes(each.directory) == house.told


@pytest.mark.timeout(400)
@pytest.mark.parametrize("house", ["python.md curl.md"], indirect=True)
async def test_history_lost(house: House) -> None:
    """Where history does not reach the id that was kept, an example that keeps rows gets them anew, and the script says it."""
    house.start()
    await house.connected()
    await house.stop()
    for path in house.directory.glob("*/last-id"):
        path.write_text("zzzz-1")
    for path in house.directory.glob("*/bookings.json"):
        path.write_text(json.dumps({"id": "zzzz-1", "rows": {"99": {"id": 99, "notes": "of another life"}}}))
    house.start()
    for each in house.examples:
        if each.notes is kept:
            path = each.directory / "bookings.json"
            wanted = await house.rows()
            await until(lambda path=path, wanted=wanted: json.loads(path.read_text())["rows"] == wanted, WITHIN)
        else:
            log = each.directory / "log"
            await until(lambda log=log: "history is lost" in log.read_text(), WITHIN)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("house", ["python.md curl.md node.md"], indirect=True)
async def test_examples_renew(house: House) -> None:
    """A minute before its token ends an example hands a newer one to the open stream, which goes on as it is."""
    house.token_file.write_text(token(ttl=90))
    house.start()
    await house.connected()
    house.token_file.write_text(token(ttl=600))
    log = house.directory / "web.log"
    await until(lambda: log.read_text().count("token renewed") == len(house.examples), 100)
    await house.change("with the newer token")
    await house.known()
    assert all(process.poll() is None for process in house.processes)


async def test_curl_for_looking(module_servers: Servers, tmp_path: Path) -> None:
    """The line of curl that is there for looking shows the rows."""
    (line,) = re.findall(r"^```bash look\n(.*?)^```$", (PAGES / "curl.md").read_text(), re.MULTILINE | re.DOTALL)
    with house(module_servers, tmp_path) as one:
        env = environment(ROWCAST_URL=one.url, ROWCAST_TOKEN_FILE=str(one.token_file))
        with started(["bash", "-c", f"exec {line}"], env, tmp_path / "log"):
            await until(lambda: "event: snapshot" in (tmp_path / "log").read_text(), WITHIN)


@dataclass
class Site:
    """A page's own server: its scripts, and a token for whoever asks."""

    port: int = 0
    gateway: str = ""

    async def page(self, request: Request) -> Response:
        script = f"""
          import {{ follow }} from "/cookie.js";
          const getToken = () => fetch("/token").then((answer) => answer.text());
          window.stop = follow("{self.gateway}", getToken, (rows, error) => {{ window.rows = rows; window.failure = error; }});
        """
        return HTMLResponse(f'<!doctype html><script type="module">{script}</script>')

    async def script(self, request: Request) -> Response:
        return PlainTextResponse(blocks()["browser.md", "cookie.js"], media_type="text/javascript")

    async def token(self, request: Request) -> Response:
        return PlainTextResponse(token())


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Serves the page of browser.md."""
    each = Site()
    routes = [Route("/", each.page), Route("/cookie.js", each.script), Route("/token", each.token)]
    async with http_server.by_hypercorn(Starlette(routes=routes)) as each.port:
        yield each


@pytest.mark.timeout(300)
async def test_browser(module_servers: Servers, site: Site, tmp_path: Path) -> None:
    """The page's example has the rows, what changes, and what has changed while the gateway was away."""
    if not browser():
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") == "1" else pytest.skip)("there is no browser here")
    origin = f"http://localhost:{site.port}"
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        page = await chromium.new_page()
        page.set_default_timeout(WITHIN * 1000)
        with house(module_servers, tmp_path, ROWCAST_CORS_ORIGINS=origin) as one:
            site.gateway = one.url.replace("127.0.0.1", "localhost")
            await page.goto(origin)
            await page.wait_for_function("window.rows?.size === 2")
            await one.change(UTF8)
            await page.wait_for_function("notes => window.rows.get(1)?.notes === notes", arg=UTF8)
            one.kill()
            await one.change("while the gateway was away")
            one.open()
            await page.wait_for_function("notes => window.rows.get(1)?.notes === notes", arg=one.told[-1])
            assert await page.evaluate("window.failure") is None
            await page.evaluate("window.stop()")
        await chromium.close()


OPTIONS = {
    "strict": True,
    "noEmit": True,
    "jsx": "react-jsx",
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "skipLibCheck": True,
    "lib": ["es2022", "dom", "dom.iterable"],
    "types": [],
}


def test_types_of_react(tmp_path: Path) -> None:
    """The example for React is what the package's types allow."""
    modules = needed(JS)
    (text,) = re.findall(r"^```tsx types=app.tsx\n(.*?)^```$", (PAGES / "react.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / "app.tsx").write_text(text)
    (tmp_path / "node_modules").symlink_to(modules)
    paths = {"rowcast": [str(JS / "src" / "index.ts")], "rowcast/react": [str(JS / "src" / "react" / "index.ts")]}
    options = {"compilerOptions": OPTIONS | {"paths": paths}, "files": ["app.tsx"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(options))
    done = subprocess.run(
        [str(node()), str(modules / "typescript" / "bin" / "tsc"), "-p", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout


def test_every_example_runs() -> None:
    """No example that says that it can run is left out here."""
    assert set(blocks()) == {(each.page, each.name) for each in examples()} | {("browser.md", "cookie.js")}


def clients() -> list[Path]:
    return [page for page in sorted(PAGES.glob("*.md")) if page.name not in NO_CLIENT]


@pytest.mark.parametrize("page", clients(), ids=lambda page: page.stem)
def test_pages_are_alike(page: Path) -> None:
    """Every page has the same parts in the same order, and stands in the table of the first one."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert f"]({page.name})" in (PAGES / "README.md").read_text()


@pytest.mark.parametrize("page", [page for page in clients() if page.name != "react.md"], ids=lambda page: page.stem)
def test_pages_are_whole(page: Path) -> None:
    """Every example but that of the package, which does it by itself, deals with all that a client has to deal with."""
    code = "\n".join(re.findall(r"^```.*?\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL))
    for what in ("ready", "reset", "reconnect", "closed", "auth-expiring", "Authorization", "Bearer", "/token"):
        assert what in code, what
    assert re.search("last-?_?event-?_?id", code, re.IGNORECASE)


def test_links() -> None:
    """What the pages link to is there."""
    for page in PAGES.glob("*.md"):
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


def test_shell_of_the_examples() -> None:
    """bash finds no fault with what it is given."""
    for (page, name), text in blocks().items():
        if page == "curl.md":
            done = Popen([shutil.which("bash") or "bash", "-n", "-c", text])
            assert done.wait(30) == 0, name
