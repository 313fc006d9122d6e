"""A cookie is good for streams alone, and only for pages that are named or Rowcast's own."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.hostile.client import APP, COOKIE, ask, auth, bearer, blaming, exchange, opened, process, refused
from tests.acceptance.hostile.maker import ADMIN, hs
from tests.support.gateway import Web
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]

ORIGINS: Mapping[str, tuple[str, ...]] = {
    "none": (),
    "null": ("Origin: null",),
    "empty": ("Origin:",),
    "foreign": ("Origin: https://canary.example",),
    "suffix": (f"Origin: {APP}.canary.example",),
    "prefix": ("Origin: https://canary-app.example",),
    "letters behind": (f"Origin: {APP}canary",),
    "subdomain": ("Origin: https://canary.app.example",),
    "parent": ("Origin: https://example",),
    "another port": (f"Origin: {APP}:8443",),
    "another scheme": ("Origin: http://app.example",),
    "websocket's scheme": ("Origin: wss://app.example",),
    "userinfo": (f"Origin: {APP}@canary.example",),
    "userinfo of the port": (f"Origin: {APP}:443@canary.example",),
    "path": (f"Origin: {APP}/canary",),
    "dot for any letter": ("Origin: https://appxexample",),
    "trailing dot": (f"Origin: {APP}.",),
    "cyrillic": ("Origin: https://\u0430pp.example",),
    "NUL-like escape": (f"Origin: {APP}%00.canary.example",),
    "backslash": (f"Origin: {APP}\\.canary.example",),
    "list": (f"Origin: {APP} https://canary.example",),
    "list with a comma": (f"Origin: {APP}, https://canary.example",),
    "two headers": (f"Origin: {APP}", "Origin: https://canary.example"),
    "two headers, foreign first": ("Origin: https://canary.example", f"Origin: {APP}"),
    "star": ("Origin: *",),
    "file": ("Origin: file://",),
    "extension": ("Origin: chrome-extension://canary",),
    "own, no port": ("Origin: http://127.0.0.1",),
    "own, another port": ("Origin: http://127.0.0.1:{port}1",),
    "own, by another name": ("Origin: http://localhost:{port}",),
    "own, as userinfo": ("Origin: http://127.0.0.1:{port}@canary.example",),
    "own, X-Forwarded-Host": ("Origin: https://canary.example", "X-Forwarded-Host: canary.example", "X-Forwarded-Proto: https"),
    "own, Forwarded": ("Origin: https://canary.example", "Forwarded: host=canary.example;proto=https"),
    "own, two Hosts": ("Origin: http://canary.example", "Host: canary.example"),
    "Referer only, foreign": ("Referer: https://canary.example/page",),
    "Referer only, look-alike": (f"Referer: {APP}.canary.example/",),
    "Referer only, in the path": (f"Referer: https://canary.example/{APP}/",),
    "Referer only, as userinfo": (f"Referer: {APP}@canary.example/",),
    "Referer only, empty": ("Referer:",),
    "Referer only, no address": ("Referer: about:blank",),
    "Referer only, broken": ("Referer: http://[",),
    "foreign, Referer good": ("Origin: https://canary.example", f"Referer: {APP}/"),
    "null, Referer good": ("Origin: null", f"Referer: {APP}/"),
    "Sec-Fetch-Site cross-site": ("Sec-Fetch-Site: cross-site",),
    "Sec-Fetch-Site same-site": ("Sec-Fetch-Site: same-site",),
    "Sec-Fetch-Site none": ("Sec-Fetch-Site: none",),
    "cross-site, Referer good": ("Sec-Fetch-Site: cross-site", "Referer: https://canary.example/"),
    "foreign, Sec-Fetch-Site same-origin": ("Origin: https://canary.example", "Sec-Fetch-Site: same-origin"),
}
"""Where a cookie's request says that it comes from, and must not be believed or let in."""


@pytest.mark.parametrize("name", ORIGINS)
async def test_cookie_from_elsewhere(gate: Web, name: str) -> None:
    """A request with a good cookie is refused unless it comes from an origin that is named, or Rowcast's own."""
    lines = [line.replace("{port}", str(gate.port)) for line in ORIGINS[name]]
    token = hs()
    for path in ("/streams/bookings", "/streams"):
        answer = await ask(gate, path, f"Cookie: {COOKIE}={token}", *lines)
        refused(answer, *((400, 403) if name.endswith(("two headers", "foreign first", "two Hosts")) else (403,)), secrets=(token,))
        assert answer.headers.get("access-control-allow-origin") in (None, APP)


async def test_cookie_behind_a_proxy_that_speaks_tls(gate: Web) -> None:
    """Host and port say that a page is Rowcast's own: that the browser came by https a proxy hides."""
    async with opened(gate, "/streams/bookings", {"Cookie": f"{COOKIE}={hs()}", "Origin": f"https://127.0.0.1:{gate.port}"}) as stream:
        assert (await stream.next()).name == "ready"


async def test_own_origin_behind_a_proxy(site: Servers, tmp_path: Path) -> None:
    """Behind a proxy that speaks TLS a page without TLS is a foreign one, and who is no proxy does not say what is spoken."""
    cookie, odd = f"Cookie: {COOKIE}={hs()}", "http://127.0.0.1:{port}"
    async with process(site, tmp_path, ROWCAST_TRUSTED_PROXIES="127.0.0.1") as (each, _):
        origin = odd.format(port=each.port)
        assert (await ask(each, "/streams", cookie, f"Origin: {origin.replace('http', 'https')}", "X-Forwarded-Proto: https")).status == 200
        refused(await ask(each, "/streams", cookie, f"Origin: {origin}", "X-Forwarded-Proto: https"), 403)


@pytest.mark.parametrize(
    "lines",
    [
        ("GET http://canary.example/streams/bookings HTTP/1.1", "Host: 127.0.0.1:{port}"),
        ("GET /streams/bookings HTTP/1.1",),
        ("GET /streams/bookings HTTP/1.0",),
        ("GET /streams/bookings HTTP/1.1", "Host:"),
        ("GET /streams/bookings HTTP/1.1", "Host: 127.0.0.1:{port}", "Host: canary.example"),
    ],
)
async def test_cookie_with_an_odd_host(gate: Web, lines: tuple[str, ...]) -> None:
    """What a request says about its host makes no foreign page Rowcast's own."""
    for origin in ("https://canary.example", "https://", "http://127.0.0.1", "null"):
        head = [*lines, f"Cookie: {COOKIE}={hs()}", f"Origin: {origin}"]
        answer = await exchange(gate.port, "\r\n".join(head).replace("{port}", str(gate.port)).encode() + b"\r\n\r\n")
        assert answer.status in (400, 403), (origin, answer.raw)


async def test_preflight_from_elsewhere(gate: Web) -> None:
    """CORS allows nothing to an origin that is not named."""
    for name, lines in ORIGINS.items():
        line = next((line for line in lines if line.startswith("Origin: ") and line[8:] != APP), "Origin: https://canary.example")
        for path in ("/streams/bookings", "/auth/ticket", "/auth/session", "/admin/revocations"):
            head = (
                line.replace("{port}", str(gate.port)),
                "Access-Control-Request-Method: POST",
                "Access-Control-Request-Headers: authorization",
            )
            answer = await ask(gate, path, *head, method="OPTIONS")
            assert answer.status < 500, (name, answer.raw)
            assert "access-control-allow-origin" not in answer.headers, (name, answer.raw)


async def test_cookie_opens_nothing_but_streams(gate: Web) -> None:
    """A cookie is for streams: it makes no session, no ticket, no revocation and no renewal, even from the right origin."""
    cookie, wrong = f"Cookie: {COOKIE}={hs(None, **ADMIN)}", dict[str, str]()
    async with opened(gate, "/streams/services", auth(hs(None, **ADMIN))) as stream:
        renewal = f"/streams/connections/{(await stream.next()).data['connection']}/token"
        for path in ("/auth/session", "/auth/ticket", "/admin/revocations", renewal):
            for origin in (APP, f"http://127.0.0.1:{gate.port}", "https://canary.example"):
                answer = await ask(gate, path, cookie, f"Origin: {origin}", method="POST", body=b'{"sub": "canary"}')
                with blaming(wrong, f"{path} from {origin}"):
                    refused(answer, 401, 403)
    assert not wrong


async def test_cookie_is_kept_from_scripts(gate: Web) -> None:
    """The session's cookie is HttpOnly, Secure, SameSite, for the streams, and ends with its token."""
    made = await ask(gate, "/auth/session", bearer(hs()), f"Origin: {APP}", method="POST")
    assert made.status == 204, made.body
    parts = {each.strip().lower() for each in made.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "secure", "samesite=strict", "path=/streams"} <= parts
    assert "no-store" in made.headers.get("cache-control", "")
    gone = await ask(gate, "/auth/session", f"Origin: {APP}", method="DELETE")
    assert gone.status in (204, 401, 403)
