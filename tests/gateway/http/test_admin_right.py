"""Who may ask what of `/admin/…`, by which carrier, and what is a question."""

from collections.abc import Mapping

import orjson
import pytest

from gateway.fanout.control import Control
from gateway.http import admin
from tests.gateway.http.ask import ask
from tests.support import sse
from tests.support.gateway import Web, gateway, token, web
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way, pytest.mark.asyncio(loop_scope="module")]

NOBODY = "0" * 16
ENDPOINTS: Mapping[tuple[str, str], int] = {
    ("GET", "/admin/connections"): 200,
    ("GET", "/admin/connections?sub=1"): 200,
    ("DELETE", f"/admin/connections/{NOBODY}"): 404,
    ("GET", "/admin/explain?sub=1&stream=bookings&id=none-1"): 200,
    ("GET", "/admin/state"): 200,
    ("POST", "/admin/revocations"): 204,
}
"""Every endpoint, and what an admin gets."""
CALLERS: Mapping[str, tuple[str | None, int, str]] = {
    "nobody": (None, 401, "Bearer"),
    "somebody with nonsense": ("nonsense", 401, 'Bearer error="invalid_token"'),
    "an admin whose token has expired": (token(13, "admin", ttl=-60), 401, 'Bearer error="invalid_token"'),
    "an admin who is revoked": (token(13, "admin", jti="revoked"), 401, 'Bearer error="invalid_token"'),
    "a customer": (token(1), 403, 'Bearer error="insufficient_scope"'),
    "a provider": (token(9, "provider"), 403, 'Bearer error="insufficient_scope"'),
    "both": (token(9, None, roles=["customer", "provider"]), 403, 'Bearer error="insufficient_scope"'),
    "a user without a role": (token(5, None), 403, 'Bearer error="insufficient_scope"'),
    "one who says so in another claim": (token(5, None, admin=True, scope="admin"), 403, 'Bearer error="insufficient_scope"'),
}
"""All who are no admins, and what they get."""


async def _revoke_the_revoked(web: Web) -> None:
    headers = {"Authorization": f"Bearer {token(13, 'admin')}"}
    await (await sse.request(web.host, web.port, "/admin/revocations", headers, method="POST", body=b'{"jti": "revoked"}')).close()


@pytest.mark.parametrize("caller", CALLERS)
async def test_who_is_no_admin(web: Web, caller: str) -> None:
    """Each endpoint refuses each of them, says why as RFC 6750 has it, and tells nothing."""
    given, status, challenge = CALLERS[caller]
    await _revoke_the_revoked(web)
    for method, path in ENDPOINTS:
        answer = await ask(web, path, given, method)
        assert (answer.status, answer.headers.get("www-authenticate")) == (status, challenge), (path, answer.body)
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(orjson.loads(answer.body)) == {"type", "title", "status", "detail"}


async def test_an_admin(web: Web) -> None:
    """The same requests are an admin's to make; nothing of them is kept by anybody on the way."""
    for (method, path), status in ENDPOINTS.items():
        answer = await ask(web, path, method=method)
        assert (answer.status, answer.headers["cache-control"]) == (status, "no-store"), (path, answer.body)


async def test_control_without_the_check(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """Did nobody look for the role, a customer would be told all of it."""
    monkeypatch.setattr(admin, "_admin", lambda principal: principal)
    with pytest.raises(AssertionError):
        await test_who_is_no_admin(web, "a customer")


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/admin/connections?user=1", 400, "unknown parameter 'user'"),
        ("/admin/connections?sub=1&sub=2", 400, "several times"),
        ("/admin/connections?sub=", 400, "sub is empty"),
        ("/admin/state?sub=1", 400, "unknown parameter 'sub'"),
        ("/admin/explain", 400, "name sub and stream and id"),
        ("/admin/explain?sub=1&stream=bookings", 400, "name id"),
        ("/admin/explain?sub=1&stream=nonesuch&id=abcd-1", 404, "there is no stream 'nonesuch'"),
        ("/admin/explain?sub=1&stream=bookings&id=abcd-1&status=eq.x", 400, "unknown parameter 'status'"),
        ("/admin/explain?sub=1&stream=bookings&id=abcd-1&filter=notes=eq.x", 400, "filter: column 'notes'"),
        ("/admin/explain?sub=1&stream=bookings&id=abcd-1&filter=x", 400, "filter: column 'x'"),
        ("/admin/explain?sub=1&stream=bookings&id=abcd-1&role=root", 400, "there is no role 'root'"),
        ("/admin/explain?sub=1&stream=bookings&id=abcd-1&role=", 400, "there is no role ''"),
        ("/admin/explain?sub=1%20x&stream=bookings&id=abcd-1", 400, "are identifiers"),
        ("/admin/explain?sub=1&stream=bookings&id=abcd-1&provider_id=%0a", 400, "are identifiers"),
    ],
)
async def test_asked_for_wrongly(web: Web, path: str, status: int, says: str) -> None:
    """What is not understood is named."""
    answer = await ask(web, path)
    assert (answer.status, says in orjson.loads(answer.body)["detail"]) == (status, True), answer.body


@pytest.mark.parametrize("connection", ["nonsense", "0" * 15, "0" * 17, "A" * 16, "*", "%00", "..%2f..%2fstate", "x" * 5000])
async def test_no_connection(web: Web, monkeypatch: pytest.MonkeyPatch, connection: str) -> None:
    """What is no connection's name is a 404, and nobody is asked."""
    monkeypatch.delattr(Control, "disconnect")
    answer = await ask(web, f"/admin/connections/{connection}", method="DELETE")
    assert answer.status == 404, answer.body


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_attempts(servers: Servers, method: str, path: str) -> None:
    """Guessing is counted before a token is looked at."""
    async with web(servers, attempts_per_minute=2) as each:
        statuses = [(await ask(each, path, "nonsense", method)).status for _ in range(6)]
    assert set(statuses) == {401, 429}


async def test_no_other_carrier(servers: Servers) -> None:
    """Neither the session cookie, from whatever origin, nor a ticket, nor a token in the address: those are for streams."""
    session = f"__Secure-rowcast={token(13, 'admin')}"
    async with gateway(servers, cors_origins=("https://app.example",), query_tokens=True) as each:
        own = f"http://{each.host}:{each.port}"
        ticket = await ask(each, "/auth/ticket", method="POST")
        for method, path in ENDPOINTS:
            for origin in (own, "https://app.example", ""):
                answer = await ask(each, path, None, method, Cookie=session, **({"Origin": origin} if origin else {}))
                assert answer.status == 401, (path, origin)
            mark = "&" if "?" in path else "?"
            for query in (f"access_token={token(13, 'admin')}", f"ticket={orjson.loads(ticket.body)['ticket']}"):
                assert (await ask(each, f"{path}{mark}{query}", None, method, Origin=own)).status == 401
