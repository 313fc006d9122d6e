"""Nothing secret is written down, wherever a client puts it."""

import re
from pathlib import Path

import orjson
import pytest

from tests.acceptance.hostile.client import APP, COOKIE, Answer, ask, bearer, escaped, process
from tests.acceptance.hostile.maker import hs, pieces
from tests.acceptance.hostile.tokens import BROKEN, FORGED, PAYLOADS
from tests.auth.pem import part
from tests.support.gateway import SECRET
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]


@pytest.mark.parametrize("switch", ["0", "1"])
async def test_nothing_secret_is_written_down(site: Servers, tmp_path: Path, switch: str) -> None:
    """No token, ticket, cookie or secret is in a line of what a process writes at its most talkative, and each line is one of JSON."""
    secrets = [SECRET]
    async with process(site, tmp_path, ROWCAST_QUERY_TOKENS=switch) as (each, log):

        async def sent(path: str, *lines: str, secret: str, method: str = "GET") -> Answer:
            secrets.append(secret)
            return await ask(each, path, *lines, method=method)

        for make in (hs, *FORGED.values(), *BROKEN.values(), *PAYLOADS.values()):
            token = make()
            await sent("/streams/bookings", bearer(token), secret=token)
            if len(escaped(token)) < 7000:
                await sent(f"/streams/bookings?access_token={escaped(token)}", secret=token)
                await sent(f"/streams/bookings?ticket={escaped(token)}&access_token={escaped(token)}", secret=token)
        names = (
            "access_token",
            "ticket",
            "token",
            "Access_Token",
            "access%5Ftoken",
            "ACCESS_TOKEN",
            "x&ticket",
            "Ticket",
            "ticket=&ticket",
        )
        for path in ("/nonsense", "/livez", "/streams", "/streams/x%0a%00", "//streams/bookings", "/auth/session", "/admin/revocations"):
            for name in names:
                token = hs(jti=f"{path} {name}")
                await sent(f"{path}?{name}={token}", secret=token)
        for method in ("OPTIONS", "PUT", "HEAD", "POST"):
            token = hs(jti=method)
            await sent(f"/streams/bookings?access_token={token}", secret=token, method=method)
        for path in ("/streams/bookings#{0}", "http://x/streams?ticket={0}", "*?ticket={0}"):
            token = hs(jti=path)
            await sent(path.format(token), secret=token)
        token = hs()
        await sent("/streams/bookings", f"Cookie: {COOKIE}={token}", f"Origin: {APP}", secret=token)
        await sent("/streams/bookings", f"Cookie: {COOKIE}={token}", "Origin: https://x.example", secret=token)
        issued = await sent("/auth/ticket", bearer(token), f"Origin: {APP}", method="POST", secret=token)
        ticket = str(issued.problem["ticket"])
        granted = await sent(f"/streams/bookings?ticket={ticket}", f"Origin: {APP}", secret=ticket)
        assert granted.status == 200
        cookie = granted.headers["set-cookie"].split(";")[0]
        again = await sent(f"/streams/bookings?ticket={ticket}", f"Cookie: {cookie}", f"Origin: {APP}", secret=cookie.partition("=")[2])
        assert again.status == 200
    lines = log.read_text().splitlines()
    assert len(lines) > 100, "nothing was written: this test sees nothing"
    words = {word for secret in secrets for word in secret.split(".") if len(word) >= 10}
    # The header's part is the same in every token, and no secret.
    found = {line[:300] for word in words - {part({"alg": "HS256", "typ": "JWT"})} for line in lines if word in line}
    assert not sorted(found)[:5], len(found)
    assert not [line for line in lines if "Traceback" in line][:1]
    for line in lines:
        assert isinstance(orjson.loads(line), dict) if line.startswith("{") else re.match(r"(INFO|WARNING): ", line), line


@pytest.mark.parametrize(
    "name", ["ticket[]", "ticket%00", "accessToken", "jwt", "authorization", ";ticket", "?ticket", "a=%3Fticket", "lastEventId", "format"]
)
async def test_token_under_another_name_is_not_written_down(site: Servers, tmp_path: Path, name: str) -> None:
    """A token that a client puts where none belongs is in no log either: what looks like one is known by its look."""
    token = hs(jti=name)
    async with process(site, tmp_path) as (each, log):
        assert (await ask(each, f"/streams/bookings?{name}={token}", bearer(hs()))).status < 500
    assert not [line for line in log.read_text().splitlines() if pieces(token)[2] in line]
