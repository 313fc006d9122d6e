"""An endpoint may fail in any way: what was known stays known, and nothing is taken of what it said."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from auth.jwks import Jwks, JwksUnavailable, UnknownKey
from tests.auth.jwks.issuer import LIMIT, Clock, Endpoint, jwk, known, token


async def _down(endpoint: Endpoint) -> None:
    await endpoint.stop()


def _answer(body: bytes = b"", status: str = "200 OK", headers: str = "") -> Callable[[Endpoint], None]:
    def fail(endpoint: Endpoint) -> None:
        endpoint.status, endpoint.headers, endpoint.body = status, headers, body

    return fail


def _hang(endpoint: Endpoint) -> None:
    endpoint.may_answer.clear()


def _drip(endpoint: Endpoint) -> None:
    endpoint.drips = True


_BAD_KEYS = json.dumps({"keys": [{"kty": "oct", "kid": "x", "k": "AAAA"}]}).encode()
_GOOD_KEYS = json.dumps({"keys": [jwk("rsa", "x")]}).encode()
FAILURES: dict[str, tuple[Callable[[Endpoint], Any], str]] = {
    "down": (_down, "ConnectError"),
    "500": (_answer(_GOOD_KEYS, "500 Oops"), "status 500"),
    "404": (_answer(_GOOD_KEYS, "404 Gone"), "status 404"),
    "204": (_answer(b"", "204 Nothing"), "status 204"),
    "redirect": (_answer(_GOOD_KEYS, "302 Elsewhere", "Location: /elsewhere\r\n"), "status 302"),
    "not HTTP": (_answer(b"", "twenty", ""), "RemoteProtocolError"),
    "cut off": (_answer(_GOOD_KEYS, headers="Content-Length: 99999\r\n"), "RemoteProtocolError"),
    "empty": (_answer(b""), "JSONDecodeError"),
    "HTML": (_answer(b"<!doctype html>"), "JSONDecodeError"),
    "not UTF-8": (_answer(b'{"keys": "\xff"}'), "UnicodeDecodeError"),
    "deep": (_answer(b"[" * 200_000), "RecursionError"),
    "no gzip": (_answer(_GOOD_KEYS, headers="Content-Encoding: gzip\r\n"), "DecodingError"),
    "list": (_answer(b"[]"), "not a JWKS"),
    "no keys": (_answer(b"{}"), "not a JWKS"),
    "keys are an object": (_answer(b'{"keys": {}}'), "not a JWKS"),
    "keys are none": (_answer(b'{"keys": []}'), "no usable key"),
    "no usable key": (_answer(_BAD_KEYS), "no usable key"),
    "oversized": (_answer(_GOOD_KEYS + b" " * LIMIT), f"more than {LIMIT} bytes"),
    "bomb": (_answer(gzip.compress(b" " * 5_000_000), headers="Content-Encoding: gzip\r\n"), f"more than {LIMIT} bytes"),
    "too many keys": (_answer(json.dumps({"keys": [jwk("rsa", str(n)) for n in range(65)]}).encode()), "more than 64 keys"),
    "slow": (_hang, "TimeoutError"),
    "a byte at a time": (_drip, "TimeoutError"),
}


@pytest.mark.parametrize("case", FAILURES)
async def test_failure_keeps_known_keys(endpoint: Endpoint, jwks: Jwks, clock: Clock, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """Whatever the endpoint does wrong, it is asked once, known keys stay, nothing is raised, and one line says what was wrong."""
    fail, error = FAILURES[case]
    endpoint.publish(jwk("p256", "a"))
    await jwks.refresh()
    clock.now += 301
    if error == "TimeoutError":
        monkeypatch.setattr("auth.jwks._PATIENCE_SECONDS", 0.1)
    if failing := fail(endpoint):
        await failing
    with capture_logs() as logs:
        await jwks.refresh()
    assert [entry["error"] for entry in logs if "error" in entry] == [error]
    assert len(endpoint.requests) == (1 if case == "down" else 2)
    assert known(jwks, "a", "x", "0") == {"a"}
    assert jwks.stale


@pytest.mark.parametrize("case", ["down", "500", "redirect", "HTML", "no usable key", "slow"])
async def test_failure_with_nothing_known(endpoint: Endpoint, jwks: Jwks, clock: Clock, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """With no key known a failure is raised, also within the cooldown; the endpoint is asked again after it, and may have recovered."""
    monkeypatch.setattr("auth.jwks._PATIENCE_SECONDS", 0.1)
    if failing := FAILURES[case][0](endpoint):
        await failing
    for _ in range(3):
        with pytest.raises(JwksUnavailable):
            await jwks.refresh()
    assert len(endpoint.requests) == (0 if case == "down" else 1)
    with pytest.raises(UnknownKey):
        jwks.find(token("p256", "a"))
    if case == "down":
        return
    monkeypatch.undo()
    monkeypatch.setattr("auth.jwks.time", clock)
    endpoint.status = "200 OK"
    endpoint.publish(jwk("p256", "a"))
    endpoint.may_answer.set()
    clock.now += 10
    await jwks.refresh()
    assert known(jwks, "a") == {"a"}


async def test_document_of_the_largest_size(endpoint: Endpoint, jwks: Jwks) -> None:
    """A document of exactly 256 kB with 64 keys is taken."""
    endpoint.publish(*(jwk("p256", str(number)) for number in range(64)))
    endpoint.body = endpoint.body.ljust(LIMIT)
    await jwks.refresh()
    assert known(jwks, "0", "63", "64") == {"0", "63"}


async def test_compressed_document(endpoint: Endpoint, jwks: Jwks) -> None:
    """A document that comes compressed is taken."""
    endpoint.publish(jwk("p256", "a"))
    endpoint.body, endpoint.headers = gzip.compress(endpoint.body), "Content-Encoding: gzip\r\n"
    await jwks.refresh()
    assert known(jwks, "a") == {"a"}
