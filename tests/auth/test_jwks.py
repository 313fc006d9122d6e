"""Published keys: fetched and rotated, from an endpoint that may do anything. What was known stays known."""

import asyncio
import datetime
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from structlog.testing import capture_logs

from auth.jwks import Jwks, JwksUnavailable, UnknownKey
from auth.key import Key, KeyConfigError
from tests.auth.pem import forge, part, private_key, public_pem

FAMILY = {"rsa": "RS256", "p256": "ES256", "ed25519": "EdDSA"}
FORMAT: dict[str, Any] = {"rsa": RSAAlgorithm, "weak-rsa": RSAAlgorithm, "p256": ECAlgorithm, "p384": ECAlgorithm, "ed25519": OKPAlgorithm}
CLAIMS = {"sub": "canary-subject", "exp": 2_000_000_000}
LIMIT = 262_144


class Endpoint:
    """An HTTP server on a free port that answers what the test sets, as soon as it may, and keeps the requests."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.headers = ""
        self.body = b""
        self.drips = False
        self.requests: list[str] = []
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/keys"

    async def stop(self) -> None:
        self._server.close()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def publish(self, *keys: Any) -> None:
        self.body = json.dumps({"keys": keys}).encode()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            self.asked.set()
            await self.may_answer.wait()
            writer.write(f"HTTP/1.1 {self.status}\r\nConnection: close\r\n{self.headers}\r\n".encode())
            while self.drips:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.001)
            writer.write(self.body)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


class Clock:
    """The module's monotonic time, which only the test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    await endpoint.start()
    yield endpoint
    await endpoint.stop()


@pytest.fixture
async def jwks(endpoint: Endpoint) -> AsyncIterator[Jwks]:
    jwks = Jwks(endpoint.url)
    yield jwks
    await jwks.close()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("auth.jwks.time", clock)
    return clock


def jwk(kind: str, kid: Any = ..., **more: Any) -> dict[str, Any]:
    """Returns a public key as an issuer publishes it, with changes; `...` takes a member away."""
    made = FORMAT[kind].to_jwk(private_key(kind).public_key(), as_dict=True) | {"kid": kid} | more
    return {name: value for name, value in made.items() if value is not ...}


def token(kind: str, kid: str | None = None, **header: Any) -> str:
    """Signs a token with a key of the kind; its header names the key, if it is given a name."""
    named = {} if kid is None else {"kid": kid}
    return jwt.encode(CLAIMS, private_key(kind), FAMILY[kind], headers=named | header)


def opens(key: Key, signed: str) -> bool:
    """Says whether a token is verified with a key and its algorithms."""
    return jwt.decode(signed, key.verifier, algorithms=list(key.algorithms)) == CLAIMS


def known(jwks: Jwks, *kids: str) -> set[str]:
    """Returns which of the names find a key."""
    found = set()
    for kid in kids:
        try:
            jwks.find(token("p256", kid))
        except UnknownKey:
            continue
        found.add(kid)
    return found


async def refused(endpoint: Endpoint, jwks: Jwks, *keys: Any) -> list[str]:
    """Publishes keys beside a good one, and returns why those are skipped, having seen that the good one is known."""
    endpoint.publish(*keys, jwk("p256", "good"))
    with capture_logs() as logs:
        await jwks.refresh()
    assert opens(jwks.find(token("p256", "good")), token("p256", "good"))
    assert {entry["log_level"] for entry in logs} <= {"warning"}
    return [entry["reason"] for entry in logs]


@pytest.mark.parametrize(("kind", "family"), [("rsa", RSAPublicKey), ("p256", EllipticCurvePublicKey), ("ed25519", Ed25519PublicKey)])
async def test_key_of_each_family(endpoint: Endpoint, jwks: Jwks, kind: str, family: type) -> None:
    """RSA, P-256 and Ed25519 are taken as bare public keys with one algorithm each, and verify what their issuer signed."""
    endpoint.publish(jwk(kind, "a", use="sig", alg=FAMILY[kind]))
    await jwks.refresh()
    key = jwks.find(token(kind, "a"))
    assert isinstance(key.verifier, family)
    assert key.algorithms == (FAMILY[kind],)
    assert key.secret is None
    assert opens(key, token(kind, "a"))


async def test_rotation(endpoint: Endpoint, jwks: Jwks, clock: Clock) -> None:
    """A new key is unknown until a refresh; the old one serves as long as it is published, and is gone afterwards."""
    endpoint.publish(jwk("rsa", "old"))
    await jwks.refresh()
    endpoint.publish(jwk("rsa", "old"), jwk("ed25519", "new"))
    with pytest.raises(UnknownKey):
        jwks.find(token("ed25519", "new"))
    clock.now += 10
    await jwks.refresh()
    assert opens(jwks.find(token("rsa", "old")), token("rsa", "old"))
    assert opens(jwks.find(token("ed25519", "new")), token("ed25519", "new"))
    endpoint.publish(jwk("ed25519", "new"))
    clock.now += 10
    await jwks.refresh()
    assert known(jwks, "old", "new") == {"new"}


async def test_key_under_the_same_name_is_replaced(endpoint: Endpoint, jwks: Jwks, clock: Clock) -> None:
    """An issuer that changes its key and not the name is followed: the old key verifies nothing more."""
    endpoint.publish(jwk("rsa", "same"))
    await jwks.refresh()
    endpoint.publish(jwk("p256", "same"))
    clock.now += 10
    await jwks.refresh()
    assert jwks.find(token("rsa", "same")).algorithms == ("ES256",)


async def test_nothing_is_known_before_the_first_refresh(endpoint: Endpoint, jwks: Jwks) -> None:
    """Before the first refresh every key is unknown, the keys are stale, and nothing has been asked."""
    for signed in (token("rsa", "a"), token("rsa")):
        with pytest.raises(UnknownKey):
            jwks.find(signed)
    assert jwks.stale
    assert not endpoint.requests


async def test_single_flight(endpoint: Endpoint, jwks: Jwks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty who ask while a fetch is under way wait for that one, and all have the keys."""
    monkeypatch.setattr("auth.jwks._COOLDOWN_SECONDS", 0)
    endpoint.publish(jwk("p256", "a"))
    endpoint.may_answer.clear()
    asking = [asyncio.create_task(jwks.refresh()) for _ in range(50)]
    await endpoint.asked.wait()
    assert not any(task.done() for task in asking)
    endpoint.may_answer.set()
    await asyncio.gather(*asking)
    assert len(endpoint.requests) == 1
    assert known(jwks, "a") == {"a"}


async def test_first_asker_may_leave(endpoint: Endpoint, jwks: Jwks) -> None:
    """Who asked first and leaves takes the fetch from nobody."""
    endpoint.publish(jwk("p256", "a"))
    endpoint.may_answer.clear()
    first, second = (asyncio.create_task(jwks.refresh()) for _ in range(2))
    await endpoint.asked.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    endpoint.may_answer.set()
    await second
    assert known(jwks, "a") == {"a"}
    assert len(endpoint.requests) == 1


async def test_close_ends_a_fetch(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """`close` does not wait for an endpoint that hangs, and who waits for it learns that there is no key."""
    monkeypatch.setattr("auth.jwks._PATIENCE_SECONDS", 3600)
    jwks = Jwks(endpoint.url)
    endpoint.may_answer.clear()
    asking = asyncio.create_task(jwks.refresh())
    await endpoint.asked.wait()
    await jwks.close()
    with pytest.raises(JwksUnavailable):
        await asking


async def test_unknown_kids_ask_rarely(endpoint: Endpoint, jwks: Jwks, clock: Clock) -> None:
    """A thousand tokens with made-up names ask the endpoint once in ten seconds, and a name that comes up then is found."""
    endpoint.publish(jwk("p256", "a"))
    await jwks.refresh()
    for second in range(10):
        for number in range(100):
            with pytest.raises(UnknownKey):
                jwks.find(forge({"alg": "ES256", "kid": f"made-up-{second}-{number}"}, CLAIMS))
            await jwks.refresh()
        clock.now += 0.99
    assert len(endpoint.requests) == 1
    endpoint.publish(jwk("p256", "b"))
    clock.now += 0.1
    await jwks.refresh()
    assert len(endpoint.requests) == 2
    assert known(jwks, "a", "b") == {"b"}


async def test_unknown_kids_ask_rarely_negative_control(endpoint: Endpoint, jwks: Jwks, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the cooldown each of ten unknown names is a request."""
    monkeypatch.setattr("auth.jwks._COOLDOWN_SECONDS", 0)
    endpoint.publish(jwk("p256", "a"))
    for _ in range(10):
        await jwks.refresh()
    assert len(endpoint.requests) == 10


async def test_stale(endpoint: Endpoint, jwks: Jwks, clock: Clock) -> None:
    """Keys are stale after five minutes, go on serving, and are fresh again after a refresh that succeeds."""
    endpoint.publish(jwk("p256", "a"))
    await jwks.refresh()
    clock.now += 300
    assert not jwks.stale
    clock.now += 1
    assert jwks.stale
    assert known(jwks, "a") == {"a"}
    endpoint.status = "500 Oops"
    await jwks.refresh()
    assert jwks.stale
    endpoint.status = "200 OK"
    clock.now += 10
    await jwks.refresh()
    assert not jwks.stale


async def test_known_keys_serve_while_a_fetch_is_under_way(endpoint: Endpoint, jwks: Jwks, clock: Clock) -> None:
    """While the endpoint takes its time, tokens of known keys are verified."""
    endpoint.publish(jwk("p256", "a"))
    await jwks.refresh()
    clock.now += 301
    endpoint.asked.clear()
    endpoint.may_answer.clear()
    asking = asyncio.create_task(jwks.refresh())
    await endpoint.asked.wait()
    assert opens(jwks.find(token("p256", "a")), token("p256", "a"))
    endpoint.may_answer.set()
    await asking


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


def private_jwk(kind: str) -> dict[str, Any]:
    """Returns a private key as nobody should publish it."""
    made: dict[str, Any] = FORMAT[kind].to_jwk(private_key(kind), as_dict=True)
    return made | {"kid": "bad", "key_ops": ["sign", "verify"]}


NOT_SIGNING = "it is not for signatures"
UNREADABLE = "it cannot be read"
FOREIGN = "it is neither RSA, P-256 nor Ed25519"
NAMELESS = "its kid is missing, or no text of a sane length"
BAD_KEYS: dict[str, tuple[Any, str]] = {
    "secret": ({"kty": "oct", "kid": "bad", "k": part(b"s" * 64), "alg": "HS256"}, "it is a shared secret, and public"),
    "secret in disguise": (jwk("rsa", "bad", k=part(b"s" * 64)), "it is a private key, and public"),
    "private RSA": (private_jwk("rsa"), "it is a private key, and public"),
    "private P-256": (private_jwk("p256"), "it is a private key, and public"),
    "private Ed25519": (private_jwk("ed25519"), "it is a private key, and public"),
    "a prime of it": (jwk("rsa", "bad", p="AQAB"), "it is a private key, and public"),
    "for encryption": (jwk("rsa", "bad", use="enc"), NOT_SIGNING),
    "use of no kind": (jwk("rsa", "bad", use=None), NOT_SIGNING),
    "to wrap": (jwk("rsa", "bad", key_ops=["wrapKey"]), NOT_SIGNING),
    "to do nothing": (jwk("rsa", "bad", key_ops=[]), NOT_SIGNING),
    "key_ops is text": (jwk("rsa", "bad", key_ops="verify"), NOT_SIGNING),
    "alg is HMAC": (jwk("rsa", "bad", alg="HS256"), "its alg is not RS256"),
    "alg is none": (jwk("rsa", "bad", alg="none"), "its alg is not RS256"),
    "alg is PSS": (jwk("rsa", "bad", alg="PS256"), "its alg is not RS256"),
    "alg of another family": (jwk("p256", "bad", alg="RS256"), "its alg is not ES256"),
    "alg is a list": (jwk("ed25519", "bad", alg=["EdDSA"]), "its alg is not EdDSA"),
    "weak RSA": (jwk("weak-rsa", "bad"), "it is RSA of less than 2048 bits"),
    "P-384": (jwk("p384", "bad"), FOREIGN),
    "secp256k1": (jwk("p256", "bad", crv="secp256k1"), FOREIGN),
    "X25519": (jwk("ed25519", "bad", crv="X25519"), FOREIGN),
    "no curve": (jwk("p256", "bad", crv=...), FOREIGN),
    "no kty": (jwk("rsa", "bad", kty=...), FOREIGN),
    "kty is a list": (jwk("rsa", "bad", kty=["RSA"]), FOREIGN),
    "no modulus": (jwk("rsa", "bad", n=...), UNREADABLE),
    "modulus is a number": (jwk("rsa", "bad", n=65537), UNREADABLE),
    "exponent of one": (jwk("rsa", "bad", e="AQ"), UNREADABLE),
    "point off the curve": (jwk("p256", "bad", x=part(b"\x01" * 32)), UNREADABLE),
    "short point": (jwk("ed25519", "bad", x="AAAA"), UNREADABLE),
    "not base64": (jwk("ed25519", "bad", x="ü"), UNREADABLE),
    "no kid": (jwk("rsa"), NAMELESS),
    "empty kid": (jwk("rsa", ""), NAMELESS),
    "kid is a number": (jwk("rsa", 7), NAMELESS),
    "long kid": (jwk("rsa", "x" * 257), NAMELESS),
    "text": ("bad", "it is no object"),
    "null": (None, "it is no object"),
}


@pytest.mark.parametrize("case", BAD_KEYS)
async def test_bad_key_is_skipped(endpoint: Endpoint, jwks: Jwks, case: str) -> None:
    """A key that must not or cannot be used is skipped with a reason, and the good one beside it is known."""
    key, reason = BAD_KEYS[case]
    assert await refused(endpoint, jwks, key) == [reason]
    assert known(jwks, "bad", "good") == {"good"}


async def test_duplicate_kid_is_skipped(endpoint: Endpoint, jwks: Jwks) -> None:
    """Of two usable keys under one name the first counts; one that is of no use takes no name away."""
    keys = [jwk("rsa", "a", use="enc"), jwk("ed25519", "a"), jwk("rsa", "a")]
    assert await refused(endpoint, jwks, *keys) == [NOT_SIGNING, "another key has its kid"]
    assert jwks.find(token("rsa", "a")).algorithms == ("EdDSA",)


async def test_longest_kid(endpoint: Endpoint, jwks: Jwks) -> None:
    """A name of 256 characters is taken."""
    assert await refused(endpoint, jwks, jwk("rsa", "x" * 256)) == []
    assert known(jwks, "x" * 256) == {"x" * 256}


async def test_skipped_key_is_told_once(endpoint: Endpoint, jwks: Jwks, clock: Clock) -> None:
    """A key for encryption, which many issuers publish for ever, is told of when it appears and not with each refresh."""
    assert await refused(endpoint, jwks, jwk("rsa", "a", use="enc")) == [NOT_SIGNING]
    clock.now += 10
    assert await refused(endpoint, jwks, jwk("rsa", "a", use="enc"), jwk("rsa", "b", use="enc")) == [NOT_SIGNING]
    assert len(endpoint.requests) == 2


async def test_secrets_of_a_document_are_not_logged(endpoint: Endpoint, jwks: Jwks) -> None:
    """What a document gives away by mistake does not go on into the log."""
    private = private_jwk("rsa")
    endpoint.publish(private, {"kty": "oct", "kid": "x", "k": "canary-secret"}, jwk("rsa", "y", n="canary-modulus"))
    with capture_logs() as logs, pytest.raises(JwksUnavailable):
        await jwks.refresh()
    assert len(logs) == 4
    assert "canary" not in str(logs)
    assert private["d"] not in str(logs)


@pytest.mark.parametrize(("allowed", "expected"), [(("RS256",), {"rsa"}), (("ES256", "EdDSA"), {"p256", "ed25519"}), ((), set(FAMILY))])
async def test_allowed_algorithms(endpoint: Endpoint, allowed: tuple[str, ...], expected: set[str]) -> None:
    """A key whose algorithm is not allowed is not known, also to a token that names none."""
    jwks = Jwks(endpoint.url, allowed)
    endpoint.publish(*(jwk(kind, kind) for kind in FAMILY))
    await jwks.refresh()
    assert known(jwks, *FAMILY) == expected
    for kind in FAMILY:
        if kind in expected:
            assert opens(jwks.find(token(kind)), token(kind))
        else:
            with pytest.raises(ValueError):
                jwks.find(token(kind))
    await jwks.close()


@pytest.mark.parametrize("foreign", ["HS256", "none", "RS512", "PS256"])
def test_algorithms_cannot_be_widened(foreign: str) -> None:
    """An algorithm that no published key has is refused at the start, naming it and the setting."""
    with pytest.raises(KeyConfigError, match=f"ROWCAST_JWT_ALGORITHMS.*{foreign}"):
        Jwks("https://issuer.example/keys", ("RS256", foreign))


@pytest.mark.parametrize("algorithm", ["RS384", "RS512", "PS256"])
async def test_algorithm_beside_the_list_is_refused(endpoint: Endpoint, jwks: Jwks, algorithm: str) -> None:
    """A genuine signature of another algorithm of the same RSA key is refused: the key's list counts (CVE-2026-48523)."""
    endpoint.publish(jwk("rsa", "a"))
    await jwks.refresh()
    signed = jwt.encode(CLAIMS, private_key("rsa"), algorithm, headers={"kid": "a"})
    with pytest.raises(jwt.InvalidAlgorithmError):
        opens(jwks.find(signed), signed)


@pytest.mark.parametrize("kind", FAMILY)
@pytest.mark.parametrize("algorithm", ["HS256", "none"])
async def test_algorithm_confusion(endpoint: Endpoint, jwks: Jwks, kind: str, algorithm: str) -> None:
    """A token signed with the published key as an HMAC secret, as PEM or as JSON, is verified with no key found (GHSA-xgmm-8j9v-c9wx)."""
    published = jwk(kind, "a")
    endpoint.publish(published)
    await jwks.refresh()
    for secret in (public_pem(kind), json.dumps(published), json.dumps(published, separators=(",", ":")), endpoint.body.decode()):
        forged = forge({"alg": algorithm, "kid": "a"}, CLAIMS, secret.encode())
        with pytest.raises(jwt.InvalidAlgorithmError):
            opens(jwks.find(forged), forged)
        with pytest.raises(ValueError):
            jwks.find(forge({"alg": algorithm}, CLAIMS, secret.encode()))


async def test_token_without_kid(endpoint: Endpoint, jwks: Jwks) -> None:
    """A token that names no key finds the only one of its algorithm, and none where there are two or none."""
    endpoint.publish(jwk("rsa", "a"), jwk("ed25519", "b"), jwk("ed25519", "c"))
    await jwks.refresh()
    assert opens(jwks.find(token("rsa")), token("rsa"))
    for kind in ("ed25519", "p256"):
        with pytest.raises(ValueError, match="does not say which key"):
            jwks.find(token(kind))


async def test_key_without_kid(endpoint: Endpoint, jwks: Jwks) -> None:
    """A single key without a name serves tokens that name none, and no others."""
    endpoint.publish(jwk("rsa"))
    await jwks.refresh()
    assert opens(jwks.find(token("rsa")), token("rsa"))
    for kid in ("", "None", "a"):
        with pytest.raises(UnknownKey):
            jwks.find(token("rsa", kid))


MALFORMED = [
    "",
    "canary",
    "canary.canary",
    "a.canary.b",
    "ü.canary.ü",
    "\ud800.canary.x",
    f"{part(b'canary')}.e30.",
    f"{part([])}.e30.",
    f"{part(b'[' * 9000)}.e30.",
    f"{part(b'[' + b'9' * 5000 + b']')}.e30.",
    forge({"alg": "RS256", "kid": 7}, {}),
    forge({"alg": "RS256", "kid": None}, {}),
    forge({"alg": "RS256", "kid": ["a"]}, {}),
    forge({"alg": "RS256", "kid": "a", "crit": ["canary"]}, {}),
    forge({"alg": "RS256", "kid": "a", "b64": False}, {}),
]


@pytest.mark.parametrize("malformed", MALFORMED)
async def test_malformed_header(endpoint: Endpoint, jwks: Jwks, malformed: str) -> None:
    """A header that cannot be read, or wants what we do not know, is a ValueError that shows nothing of it, whatever is known."""
    for _ in range(2):
        with pytest.raises(ValueError, match=r"^the token is malformed$"):
            jwks.find(malformed)
        endpoint.publish(jwk("rsa", "a"))
        await jwks.refresh()


@pytest.mark.parametrize("algorithm", [None, 7, [], {}, ["RS256"], ""])
async def test_odd_algorithm_without_kid(endpoint: Endpoint, jwks: Jwks, algorithm: Any) -> None:
    """An `alg` that is no text finds no key."""
    endpoint.publish(jwk("rsa"))
    await jwks.refresh()
    with pytest.raises(ValueError, match="does not say which key"):
        jwks.find(forge({"alg": algorithm}, CLAIMS))


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example/.well-known/jwks.json",
        "HTTPS://issuer.example:8443/keys?tenant=1",
        "https://10.0.0.1/keys",
        "http://localhost/keys",
        "http://LOCALHOST:8080/keys",
        "http://127.0.0.1:8080/keys",
        "http://127.255.0.9/keys",
        "http://[::1]:8080/keys",
    ],
)
async def test_url_is_taken(url: str) -> None:
    """https anywhere, and http to this machine."""
    await Jwks(url).close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys",
        "/etc/passwd",
        "//issuer.example/keys",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "ftp://issuer.example/keys",
        "data:application/json,{}",
        "ws://localhost/keys",
        "javascript:0",
        "https:",
        "https:///keys",
        "https://issuer.example:0/keys",
        "https://issuer.example:65536/keys",
        "https://issuer.example:canary/keys",
        "https://issuer.example/\nkeys",
        " https://issuer.example/keys",
        "http://issuer.example/keys",
        "http://localhost.issuer.example/keys",
        "http://127.0.0.1.issuer.example/keys",
        "http://10.0.0.1/keys",
        "http://0.0.0.0/keys",
        "http://128.0.0.1/keys",
        "http://[::2]/keys",
        "http://127.0.0.1@issuer.example/keys",
        "http://127.0.0.1\\@issuer.example/keys",
        "https://user:canary@issuer.example/keys",
        "https://user:canary/more@issuer.example/keys",
        "https://canary@issuer.example/keys",
        "http://:canary@localhost/keys",
        "https://" + "a" * 70_000,
    ],
)
def test_url_is_refused(url: str) -> None:
    """Anything else is refused at the start, naming the setting, and no password in it is shown."""
    with pytest.raises(KeyConfigError, match="ROWCAST_JWKS_URL") as error:
        Jwks(url)
    assert "canary" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None


async def test_query_is_asked_and_not_logged(endpoint: Endpoint) -> None:
    """The URL's query goes to the endpoint and not into our log."""
    jwks = Jwks(f"{endpoint.url}?key=canary#canary")
    endpoint.status = "500 Oops"
    with capture_logs() as logs, pytest.raises(JwksUnavailable):
        await jwks.refresh()
    assert endpoint.requests[0].startswith("GET /keys?key=canary HTTP/1.1\r\n")
    assert [entry["url"] for entry in logs] == [endpoint.url]
    assert "canary" not in str(logs)
    await jwks.close()


async def test_clear_text_goes_past_the_proxy(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """http to this machine does not go over the environment's proxy, which could answer with keys of its own."""
    proxy = Endpoint()
    await proxy.start()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    endpoint.publish(jwk("p256", "a"))
    jwks = Jwks(endpoint.url)
    await jwks.refresh()
    assert known(jwks, "a") == {"a"}
    assert not proxy.requests
    await jwks.close()
    await proxy.stop()


def self_signed(folder: Path) -> SimpleNamespace:
    """Makes a certificate for this machine that nobody has signed; returns a server's context, and where the certificate lies."""
    key = cast("Any", private_key("p256"))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    localhost = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = folder / "certificate.pem"
    certificate.write_bytes(made.add_extension(localhost, False).sign(key, SHA256()).public_bytes(Encoding.PEM))
    secret = folder / "key.pem"
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, secret)
    return SimpleNamespace(context=context, certificate=certificate)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Over https an endpoint whose certificate nobody trusts, or is another host's, brings no keys; one that is trusted does."""
    tls = self_signed(tmp_path)
    endpoint = Endpoint()
    await endpoint.start(tls.context)
    endpoint.publish(jwk("p256", "a"))
    url = f"https://{host}:{endpoint.port}/keys"
    stranger = Jwks(url)
    with pytest.raises(JwksUnavailable):
        await stranger.refresh()
    assert not endpoint.requests
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.certificate))
    trusting = Jwks(url)
    if host == "localhost":
        await trusting.refresh()
        assert known(trusting, "a") == {"a"}
    else:
        with pytest.raises(JwksUnavailable):
            await trusting.refresh()
    await stranger.close()
    await trusting.close()
    await endpoint.stop()
