"""`/console`: what is served, to whom, and that it can do nothing that its policy does not let it do."""

import re
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urljoin

import pytest
import pytest_asyncio

from gateway.http.console import PAGE
from tests.support import sse
from tests.support.gateway import Web, token, web
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
}
PARTS = sorted(file.name for file in files("gateway.http").joinpath("page").iterdir() if file.name != PAGE)
_REFERENCES = {
    ".html": re.compile(r'(?:src|href)="([^"#]+)"'),
    ".js": re.compile(r'(?:import|from)\s*\(?\s*"([^"]+)"'),
    ".css": re.compile(r"url\(|@import"),
    ".svg": re.compile(r'(?:xlink:href|href|src)="([^"]+)"'),
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def on(module_servers: Servers) -> AsyncIterator[Web]:
    """A web process with the console."""
    async with web(module_servers, console=True) as each:
        yield each


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def off(module_servers: Servers) -> AsyncIterator[Web]:
    """A web process as production has it."""
    async with web(module_servers) as each:
        yield each


def session(**given: Any) -> dict[str, str]:
    """Returns the header of a request with a session's cookie."""
    return {"Cookie": f"__Secure-rowcast={token(**given)}"}


async def body(each: Web, path: str) -> str:
    answer = await each.request(path)
    assert answer.status == 200, path
    return answer.body.decode()


async def test_the_page(on: Web) -> None:
    """The page may load from its own origin and nothing else, and is neither kept nor framed nor guessed at."""
    answer = await on.request("/console")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert set(answer.headers["content-security-policy"].split("; ")) == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "set-cookie" not in answer.headers
    assert b"<title>Rowcast console</title>" in answer.body


@pytest.mark.parametrize("name", PARTS)
async def test_a_part(on: Web, name: str) -> None:
    """Each file of the page is served with its type, under the same policy."""
    answer = await on.request(f"/console/{name}")
    kind = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}[PurePosixPath(name).suffix]
    assert (answer.status, answer.headers["content-type"]) == (200, f"{kind}; charset=utf-8")
    assert set(answer.headers["content-security-policy"].split("; ")) == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/console", "/console/main.js"])
async def test_head(on: Web, path: str) -> None:
    """HEAD has the headers of GET, and nothing behind them."""
    answers = [await on.request(path, method=method) for method in ("GET", "HEAD")]
    heads = [{name: value for name, value in each.headers.items() if name != "date"} for each in answers]
    assert heads[0] == heads[1]
    assert answers[1].status == 200
    assert answers[1].body == b""


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
async def test_other_methods(on: Web, method: str) -> None:
    """The page is only read."""
    assert (await on.request("/console", method=method)).status == 405


async def test_references(on: Web) -> None:
    """Whatever the page and its parts refer to is served here, all that is served is referred to, and nothing of it is from elsewhere."""
    found, waiting = set(), ["/console"]
    while waiting:
        path = waiting.pop()
        suffix = PurePosixPath(path).suffix or ".html"
        for reference in _REFERENCES[suffix].findall(await body(on, path)):
            there = urljoin(path, reference)
            assert there.startswith("/console/"), f"{path} refers to {reference}"
            if there not in found:
                found.add(there)
                waiting.append(there)
    assert {f"/console/{name}" for name in PARTS} == found


async def test_nothing_inline(on: Web) -> None:
    """The page has neither scripts nor styles in it, and its parts nothing that the policy would have to allow."""
    page = await body(on, "/console")
    assert re.findall(r"<script(?![^>]*\bsrc=)", page) == []
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:|<base|<iframe|<object", page) == []
    for name in PARTS:
        text = await body(on, f"/console/{name}")
        assert re.findall(r"\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\.cookie\b", text) == [], name
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == [], name


@pytest.mark.parametrize(
    "path",
    [
        "/console/",
        "/console/index.html",
        "/console/nothing.js",
        "/console/../console.py",
        "/console/..%2fconsole.py",
        "/console/%2e%2e/console.py",
        "/console/%2e%2e%2fconsole.py",
        "/console/..%5cconsole.py",
        "/console/..",
        "/console/.",
        "/console/main.js%00",
        "/console/main.js/",
        "/console/page/main.js",
        "/console//main.js",
        "/console/%2fetc%2fpasswd",
    ],
)
async def test_other_paths(on: Web, path: str) -> None:
    """No other path leads to a file."""
    answer = await on.request(path)
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/console", "/console/main.js", "/console/icon.svg"])
async def test_off(off: Web, path: str) -> None:
    """Where it is not switched on the console is not there: the answer is that for an address that nobody has."""
    answer, nothing = await off.request(path), await off.request("/consolation")
    assert (answer.status, answer.body, answer.headers.keys()) == (404, nothing.body, nothing.headers.keys())


@pytest.mark.parametrize("path", ["/console", "/console/main.js"])
async def test_off_with_a_session_of_an_admin(off: Web, path: str) -> None:
    """An admin's session finds it where it is switched off, also where the address was typed, so that no page says an origin."""
    assert (await off.request(path, session(sub="13", role="admin") | {"Sec-Fetch-Site": "none"})).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        session(sub="1", role="customer"),
        session(sub="13", role=None, roles=["customer", "provider"]),
        session(sub="13", role="admin", ttl=-60),
        {"Cookie": f"__Secure-rowcast={token('13', 'admin')[:-6]}AAAAAA"},
        {"Cookie": "__Secure-rowcast="},
        {"Cookie": f"rowcast={token('13', 'admin')}"},
        {"Authorization": f"Bearer {token('1', 'customer')}"},
    ],
    ids=["customer", "no admin among the roles", "expired", "forged", "empty", "another cookie", "customer's token"],
)
async def test_off_with_anything_else(off: Web, headers: dict[str, str]) -> None:
    """Nobody else's session finds it, and no token in a header, which no browser sends for a page."""
    assert (await off.request("/console", headers)).status == 404


async def test_off_with_a_revoked_session(servers: Servers) -> None:
    """A revoked admin's session finds nothing."""
    admin = token("13", "admin")
    async with web(servers) as each:
        cookie = {"Cookie": f"__Secure-rowcast={admin}"}
        assert (await each.request("/console", cookie)).status == 200
        told = {"Authorization": f"Bearer {token('14', 'admin')}"}
        revoked = await sse.request("127.0.0.1", each.port, "/admin/revocations", told, method="POST", body=b'{"sub": "13"}')
        await revoked.close()
        assert revoked.status == 204
        assert (await each.request("/console", cookie)).status == 404


async def test_guessing_is_counted(servers: Servers) -> None:
    """Where the console is off, a session is an attempt, counted before its token is looked at; without one nothing is counted."""
    async with web(servers, attempts_per_minute=2) as each:
        sessions = [(await each.request("/console", {"Cookie": "__Secure-rowcast=nonsense"})).status for _ in range(4)]
    assert set(sessions) == {404, 429}
