"""Hostile tokens: each is refused for what it is and tells nothing, at whatever door, and chooses no key."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from tests.acceptance.hostile.client import COOKIE, INVALID, ask, bearer, blaming, refused
from tests.acceptance.hostile.maker import OWN_KEY, hs, jwk, signed
from tests.acceptance.hostile.tokens import GOOD, TOKENS
from tests.auth.pem import public_pem
from tests.support.gateway import SECRET, Web, web
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", TOKENS)
async def test_hostile_token(gates: Mapping[str, Web], name: str) -> None:
    """A token that is not good is a 401 that says so, and nothing of it comes back."""
    gate, make = TOKENS[name]
    token = make()
    refused(await ask(gates[gate], "/streams/bookings", bearer(token)), 401, challenge=INVALID, secrets=(token,))


@pytest.mark.parametrize("gate", GOOD)
async def test_good_token_positive_control(gates: Mapping[str, Web], gate: str) -> None:
    """The same gateways take a good token: the refusals are not refusals of everything."""
    answer = await ask(gates[gate], "/streams", bearer(GOOD[gate]()))
    assert answer.status == 200, answer.body


async def test_padded_token(gate: Web) -> None:
    """A token has one text: with padding behind it is malformed (RFC 7515 §2), and fools nobody who compares tokens by their text."""
    for token in (hs() + "=", hs() + "==="):
        refused(await ask(gate, "/streams", bearer(token)), 401, challenge=INVALID, secrets=(token,))


DOORS: tuple[tuple[str, str, bytes], ...] = (
    ("GET", "/streams", b""),
    ("POST", "/auth/ticket", b""),
    ("POST", "/auth/session", b""),
    ("POST", "/admin/revocations", b'{"sub": "canary"}'),
    ("POST", "/streams/connections/canary/token", b""),
)
"""Wherever else a token is asked for."""


@pytest.mark.parametrize("door", DOORS, ids=lambda door: door[1])
async def test_hostile_token_at_another_door(gates: Mapping[str, Web], door: tuple[str, str, bytes]) -> None:
    """No other route is easier on tokens than that of the streams, or acts before it has seen one."""
    method, path, body = door
    refused(await ask(gates["secret"], path, method=method, body=body), 401)
    wrong: dict[str, str] = {}
    for name, (gate, make) in TOKENS.items():
        token = make()
        answer = await ask(gates[gate], path, bearer(token), method=method, body=body)
        with blaming(wrong, name):
            refused(answer, 401, challenge=INVALID, secrets=(token,))
    assert not wrong


async def test_hostile_token_in_a_cookie(gates: Mapping[str, Web]) -> None:
    """A hostile token is no better in a cookie of the right origin."""
    wrong: dict[str, str] = {}
    for name, (gate, make) in TOKENS.items():
        token = make()
        if not set(token) & set(' ",;\t') and token.isascii():
            web = gates[gate]
            answer = await ask(web, "/streams/bookings", f"Cookie: {COOKIE}={token}", f"Origin: http://127.0.0.1:{web.port}")
            with blaming(wrong, name):
                refused(answer, 401, secrets=(token,))
    assert not wrong


async def test_no_token_chooses_where_keys_come_from(site: Servers) -> None:
    """Keys come from the configured address alone, however many unknown ones tokens name, and a flood of them fetches nothing twice."""
    asked: list[str] = []
    begun = time.monotonic()

    async def publish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1])
        body = orjson.dumps({"keys": [jwk() | {"kid": "one", "use": "sig", "alg": "RS256"}]})
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(publish, "127.0.0.1", 0) as server:
        base = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with web(site, jwks_url=f"{base}/keys", jwt_secret=None) as each:
            assert (await ask(each, "/streams", bearer(signed("rsa", header={"kid": "one"})))).status == 200
            headers: tuple[Mapping[str, Any], ...] = (
                {"jku": f"{base}/canary"},
                {"x5u": f"{base}/canary"},
                {"jku": f"{base}/canary", "kid": "one"},
                {"kid": f"{base}/canary"},
                {"kid": "../canary"},
                {"kid": "one\0"},
                {"kid": "ONE"},
                {"jwk": OWN_KEY},
                {"iss": base},
            )
            for n, header in enumerate(headers):
                token = hs(header, secret=b"canary" * 8, iss=base, sub=str(n))
                refused(await ask(each, "/streams", bearer(token)), 401, challenge=INVALID, secrets=(token,))
            for secret in (public_pem("rsa"), json.dumps(jwk()), "", SECRET):
                token = hs({"kid": "one"}, secret=secret)
                refused(await ask(each, "/streams", bearer(token)), 401, challenge=INVALID, secrets=(token,))
            for n in range(50):
                answer = await ask(each, "/streams", bearer(signed("rsa", header={"kid": f"unknown-{n}"})))
                refused(answer, 401, 503, challenge=INVALID)
            for bad in ({"kid": 1}, {"kid": ["one"]}, {"kid": {"a": 1}}, {"kid": ""}, {"kid": None}):
                refused(await ask(each, "/streams", bearer(hs(bad))), 401, challenge=INVALID)
    assert set(asked) == {"/keys"}
    assert len(asked) <= 2 + (time.monotonic() - begun) / 10, "unknown keys fetch at most once in ten seconds"
