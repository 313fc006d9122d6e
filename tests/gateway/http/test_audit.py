"""What is written down about access, and what browsers of other origins are told."""

import pytest
from structlog.testing import capture_logs

from tests.support import sse
from tests.support.gateway import bridge, token, until, web
from tests.support.servers import Servers

pytestmark = pytest.mark.uvicorn


async def test_each_decision_is_written_down(servers: Servers) -> None:
    """Opened, refused, renewed, revoked, ended, session, ticket: a line each, with whom it concerns and why, and never a token."""
    given = token(1)
    headers = {"Authorization": f"Bearer {given}"}
    async with bridge(servers), web(servers) as gateway:
        with capture_logs() as lines:
            stream = await gateway.request("/streams/bookings", headers)
            connection = (await stream.next()).data["connection"]
            for method, path, more in (
                ("GET", "/streams/availability", headers),
                ("GET", "/streams/bookings", {"Authorization": "Bearer nonsense"}),
                ("POST", "/auth/session", headers),
                ("POST", "/auth/ticket", headers),
                ("POST", f"/streams/connections/{connection}/token", headers),
                ("POST", "/admin/revocations", {"Authorization": f"Bearer {token(13, 'admin')}"}),
            ):
                body = b'{"sub": "1"}' if "admin" in path else b""
                await (await sse.request(gateway.host, gateway.port, path, more, method=method, body=body)).close()
            assert (await stream.next()).name == "closed"
            await stream.close()
            await until(lambda: any(line["event"] == "stream ended" for line in lines))
    said = {line["event"]: line for line in lines}
    assert {"stream opened", "refused", "session opened", "ticket issued", "token renewed", "revoked", "stream ended"} <= said.keys()
    for event in ("stream opened", "session opened", "ticket issued", "token renewed", "revoked", "stream ended"):
        assert said[event]["subject"] == "1", said[event]
    assert said["stream opened"]["carrier"] == "bearer"
    assert said["revoked"]["by"] == "13"
    assert said["stream ended"]["reason"] == "revoked"
    refused = [(line["status"], line["subject"]) for line in lines if line["event"] == "refused"]
    assert refused == [(403, "1"), (401, "")]
    assert given not in repr(lines)


async def test_any_origin_is_without_cookies(servers: Servers) -> None:
    """With `*` no page may send a cookie: that would be every page that the user looks at."""
    async with bridge(servers), web(servers, cors_origins=("*",)) as gateway:
        stream = await gateway.request("/streams/bookings", {"Authorization": f"Bearer {token()}", "Origin": "https://a.example"})
        assert stream.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in stream.headers
        await stream.close()
        refused = await gateway.request("/streams/bookings", {"Cookie": f"__Secure-rowcast={token()}", "Origin": "https://a.example"})
        assert refused.status == 403
        await refused.close()
