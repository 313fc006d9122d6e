"""Revocations and renewals: only who may makes them, only what is exactly one is one, and they hold in every process."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest

from tests.acceptance.hostile.client import APP, COOKIE, INVALID, ask, auth, bearer, exchange, issue, keys, opened, refused
from tests.acceptance.hostile.maker import ADMIN, hs, now
from tests.support.gateway import Web, until
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]

BODIES: Mapping[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "garbage": (b"canary", 400),
    "cut": (b'{"sub": "canary"', 400),
    "not UTF-8": (b'{"sub": "\xff"}', 400),
    "lone surrogate": (rb'{"sub": "\ud800"}', 400),
    "UTF-16": ('{"sub": "canary"}'.encode("utf-16"), 400),
    "NaN": (b'{"sub": NaN}', 400),
    "form": (b"sub=canary", 400),
    "null": (b"null", 400),
    "list": (b'[{"sub": "canary"}]', 400),
    "text": (b'"canary"', 400),
    "number": (b"1", 400),
    "nothing": (b"{}", 400),
    "brackets": (b"[" * 3000, 400),
    "nested": (b'{"sub":' * 1000 + b"1" + b"}" * 1000, 400),
    "huge number": (b'{"sub": "canary", "issued_before": ' + b"9" * 4400 + b"}", 400),
    "unknown member": (b'{"sub": "canary", "all": true}', 400),
    "only an unknown member": (b'{"user": "canary"}', 400),
    "sub and jti": (b'{"sub": "canary", "jti": "canary"}', 400),
    "jti and issued_before": (b'{"jti": "canary", "issued_before": 1700000000}', 400),
    "issued_before alone": (b'{"issued_before": 1700000000}', 400),
    "issued_before to come": (b'{"sub": "canary", "issued_before": 4000000000}', 400),
    "issued_before in ms": (b'{"sub": "canary", "issued_before": 1700000000000}', 400),
    "issued_before as text": (b'{"sub": "canary", "issued_before": "1700000000"}', 400),
    "issued_before a date": (b'{"sub": "canary", "issued_before": "2026-01-01"}', 400),
    "issued_before true": (b'{"sub": "canary", "issued_before": true}', 400),
    "issued_before a list": (b'{"sub": "canary", "issued_before": [1]}', 400),
    "issued_before negative": (b'{"sub": "canary", "issued_before": -1}', 400),
    "issued_before 1e308": (b'{"sub": "canary", "issued_before": 1e308}', 400),
    "issued_before 1e999": (b'{"sub": "canary", "issued_before": 1e999}', 400),
    "issued_before NaN": (b'{"sub": "canary", "issued_before": NaN}', 400),
    "sub true": (b'{"sub": true}', 400),
    "sub null": (b'{"sub": null}', 400),
    "sub empty": (b'{"sub": ""}', 400),
    "sub a list": (b'{"sub": ["canary"]}', 400),
    "sub an object": (b'{"sub": {"$ne": null}}', 400),
    "sub very long": (b'{"sub": "' + b"x" * 5000 + b'"}', 400),
    "sub with a line break": (rb'{"sub": "1\ncanary"}', 400),
    "sub with NUL": (rb'{"sub": "1\u0000"}', 400),
    "jti null": (b'{"jti": null}', 400),
    "jti empty": (b'{"jti": ""}', 400),
    "jti a list": (b'{"jti": ["canary"]}', 400),
    "1 MB of blanks": (b" " * 1_000_000 + b'{"sub": "canary"}', 413),
    "1 MB of sub": (b'{"sub": "' + b"x" * 1_000_000 + b'"}', 413),
    "1 MB of garbage": (b"x" * 1_000_000, 413),
}
"""What is no revocation."""


@pytest.mark.parametrize("name", BODIES)
async def test_bad_revocation(gate: Web, site: Servers, name: str) -> None:
    """A body that is not exactly one revocation revokes nothing; a stranger and a user learn nothing about it."""
    body, status = BODIES[name]
    before = await keys(site)
    refused(await ask(gate, "/admin/revocations", method="POST", body=body), 401, 413)
    user = await ask(gate, "/admin/revocations", bearer(hs()), method="POST", body=body)
    refused(user, 403, 413)
    assert user.status == 413 or user.headers["www-authenticate"].startswith('Bearer error="insufficient_scope"')
    refused(await ask(gate, "/admin/revocations", bearer(hs(None, **ADMIN)), method="POST", body=body), status)
    assert not await keys(site) - before


async def test_bodies_without_end(gate: Web) -> None:
    """A body that says it is a terabyte, or never says how long it is, is refused and not collected."""
    head = f"POST /admin/revocations HTTP/1.1\r\nHost: x\r\n{bearer(hs(None, **ADMIN))}\r\n"
    assert (await exchange(gate.port, f"{head}Content-Length: 1000000000000\r\n\r\n".encode() + b"x" * 70_000)).status == 413
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    assert (await exchange(gate.port, f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 32)).status == 413


async def revoke(web: Web, **body: Any) -> None:
    answer = await ask(web, "/admin/revocations", bearer(hs(None, **ADMIN)), method="POST", body=orjson.dumps(body))
    assert answer.status == 204, answer.body


async def test_revoked_everywhere(gates: Mapping[str, Web]) -> None:
    """What an admin revokes at one process ends in both, and is refused by every carrier; what was issued later goes on."""
    both = [gates["secret"], gates["second"]]
    old, kept, unknown = hs(sub="7", iat=now(-60)), hs(sub="7", iat=now(-20)), hs(sub="7", iat=...)
    ticket = await issue(both[0], sub="7", iat=now(-60))
    async with AsyncExitStack() as stack:
        streams = {
            token: [await stack.enter_async_context(opened(each, headers=auth(token), leave=False)) for each in both]
            for token in (old, kept, unknown)
        }
        other = await stack.enter_async_context(opened(both[1], headers=auth(hs(sub="8", iat=now(-60))), leave=False))
        await revoke(both[0], sub="7", issued_before=now(-40))
        for stream in streams[old]:
            assert (await stream.until("closed")).data["reason"] == "revoked"
        for each in both:
            refused(await ask(each, "/streams/bookings", bearer(old)), 401, challenge=INVALID, secrets=(old,))
            refused(await ask(each, "/streams/bookings", f"Cookie: {COOKIE}={old}", f"Origin: {APP}"), 401, secrets=(old,))
            assert (await ask(each, "/streams/bookings", bearer(kept))).status == 200
            for path in ("/streams", "/auth/ticket", "/auth/session", "/streams/connections/x/token"):
                refused(await ask(each, path, bearer(old), method="GET" if path == "/streams" else "POST"), 401, challenge=INVALID)
        refused(await ask(both[1], f"/streams/bookings?ticket={ticket}", f"Origin: {APP}"), 401, secrets=(ticket,))
        await revoke(both[1], sub="7")
        for stream in (*streams[kept], *streams[unknown]):
            assert (await stream.until("closed")).data["reason"] == "revoked"
        for each in both:
            refused(await ask(each, "/streams/bookings", bearer(kept)), 401, challenge=INVALID, secrets=(kept,))
            refused(await ask(each, "/streams/bookings", bearer(unknown)), 401, challenge=INVALID, secrets=(unknown,))
        # A narrower revocation does not take a wider one back.
        await revoke(both[0], sub="7", issued_before=now(-3000))
        for each in both:
            refused(await ask(each, "/streams/bookings", bearer(kept)), 401, challenge=INVALID, secrets=(kept,))
        assert (await other.next()).name == "ready"
    await until(lambda: not any(each.hub.roster.subscribers for each in both))


async def test_revoked_by_its_id(gates: Mapping[str, Web]) -> None:
    """A token that is revoked by its id ends with its cookie's and its ticket's streams, and its user's other tokens do not."""
    both = [gates["secret"], gates["second"]]
    stolen, own = hs(sub="6", jti="stolen-1"), hs(sub="6", jti="own-1")
    ticket = await issue(both[0], sub="6", jti="stolen-1")
    path = f"/streams/bookings?ticket={ticket}"
    async with AsyncExitStack() as stack:
        ended = [
            await stack.enter_async_context(opened(both[0], headers=auth(stolen), leave=False)),
            await stack.enter_async_context(opened(both[1], headers={"Cookie": f"{COOKIE}={stolen}", "Origin": APP}, leave=False)),
            await stack.enter_async_context(opened(both[1], path, {"Origin": APP}, leave=False)),
        ]
        cookie = ended[-1].headers["set-cookie"].split(";")[0]
        going_on = await stack.enter_async_context(opened(both[1], headers=auth(own), leave=False))
        await revoke(both[0], jti="stolen-1")
        for stream in ended:
            assert (await stream.until("closed")).data["reason"] == "revoked"
        for each in both:
            refused(await ask(each, "/streams/bookings", bearer(stolen)), 401, challenge=INVALID, secrets=(stolen,))
            refused(await ask(each, path, f"Origin: {APP}", f"Cookie: {cookie}"), 401, secrets=(ticket,))
        assert (await ask(both[0], "/streams/bookings", bearer(own))).status == 200
        connection = (await going_on.next()).data["connection"]
        renewal = f"/streams/connections/{connection}/token"
        refused(await ask(both[1], renewal, bearer(stolen), method="POST"), 401, challenge=INVALID, secrets=(stolen,))
    await until(lambda: not any(each.hub.roster.subscribers for each in both))


async def test_renewal_of_others(gates: Mapping[str, Web]) -> None:
    """A stream goes on with its own user's token: another's is a 403, an unknown stream a 404, no token a 401, in either process."""
    both = [gates["secret"], gates["second"]]
    token = hs(exp=now(300))
    async with opened(both[0], headers=auth(token)) as stream:
        ready = (await stream.next()).data
        renewal = f"/streams/connections/{ready['connection']}/token"
        for each in both:
            refused(await ask(each, renewal, method="POST"), 401)
            refused(await ask(each, renewal, bearer(hs(sub="2")), method="POST"), 403)
            refused(await ask(each, renewal, bearer(hs(sub="1-2")), method="POST"), 403)
            refused(await ask(each, renewal, bearer(hs(None, **ADMIN)), method="POST"), 403)
            refused(await ask(each, renewal, f"Cookie: {COOKIE}={hs()}", f"Origin: {APP}", method="POST"), 401, 403)
            assert (await ask(each, renewal, bearer(hs(exp=now(1200))), method="POST")).status == 204
        for unknown in ("nonsense", "*", "%00", "..%2f..%2fadmin", "x" * 5000, ready["connection"] + "x", "%0d%0a"):
            refused(await ask(both[1], f"/streams/connections/{unknown}/token", bearer(hs()), method="POST"), 404)
        # More rights than before would open nothing that was refused; other rights end it.
        assert (await ask(both[1], renewal, bearer(hs(role="provider")), method="POST")).status in (204, 403)
        assert (await stream.until("closed")).data["reason"] == "forbidden"
