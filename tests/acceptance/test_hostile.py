"""Hostile tokens and requests: each is refused for what it is, tells nothing, costs no more than a good one, and leaves nothing behind.

Written against docs/protocol.md, docs/security.md and docs/configuration.md alone. `TOKENS`, `ROLES`, `ORIGINS`, `TICKETS`,
`BODIES` and `WIRE` are the tables; one gateway for each way to configure who is asking serves them all.
"""

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import re
import statistics
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import orjson
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from jwt.algorithms import RSAAlgorithm
from redis.asyncio import Redis
from starlette.applications import Starlette

from tests.auth.pem import forge, part, private_key, public_pem
from tests.support import sse
from tests.support.blocking import query
from tests.support.gateway import SECRET, Web, bridge, until, web
from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers, fresh

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

APP, OTHER = "https://app.example", "https://other.example"
COOKIE = "__Secure-rowcast"
INVALID = 'Bearer error="invalid_token"'

GATES: Mapping[str, Mapping[str, Any]] = {
    "secret": {"cors_origins": f"{APP},{OTHER}"},
    "second": {"cors_origins": f"{APP},{OTHER}"},
    "narrow": {"jwt_algorithms": "HS256"},
    "strict": {"jwt_issuer": "https://issuer.example", "jwt_audience": "rowcast"},
    "short": {"max_token_lifetime": "1h"},
    "query": {"query_tokens": True},
    "rsa": {"jwt_public_key": public_pem("rsa")},
    "p256": {"jwt_public_key": public_pem("p256")},
    "ed25519": {"jwt_public_key": public_pem("ed25519")},
}
"""The gateways, and what is configured. Those with a public key have the secret too, which must then be good for nothing."""

FAMILY = {"rsa": "RS256", "p256": "ES256", "ed25519": "EdDSA"}
NAN, INFINITY = float("nan"), float("inf")


def now(seconds: float = 0) -> int:
    return int(time.time() + seconds)


def claims(**changes: Any) -> dict[str, Any]:
    """Returns a customer's claims, changed; `...` takes one away."""
    given = {"sub": "1", "role": "customer", "iat": now(), "exp": now(600)} | changes
    return {name: value for name, value in given.items() if value is not ...}


def hs(header: Mapping[str, Any] | None = None, secret: str | bytes = SECRET, **changes: Any) -> str:
    """Signs claims with HMAC-SHA256, whatever the header says."""
    return forge(
        {"alg": "HS256", "typ": "JWT"} | dict(header or {}), claims(**changes), secret if isinstance(secret, bytes) else secret.encode()
    )


def signed(kind: str, algorithm: str = "", header: Mapping[str, Any] | None = None, **changes: Any) -> str:
    """Signs claims with one of the private keys, as an honest issuer does."""
    return jwt.encode(claims(**changes), private_key(kind), algorithm or FAMILY[kind], headers=dict(header or {}))


def payload(text: str | bytes) -> str:
    """Signs a payload that is no JSON of claims, or none that a library writes."""
    return forge({"alg": "HS256"}, text if isinstance(text, bytes) else text.encode(), SECRET.encode())


def with_member(text: str) -> str:
    """Signs good claims with more members behind them, written as they are."""
    return payload(json.dumps(claims())[:-1] + f", {text}}}")


def bare(header: Any, **changes: Any) -> str:
    """Puts a token together without a signature."""
    return f"{part(header)}.{part(claims(**changes))}."


def hs512(given: Mapping[str, Any]) -> str:
    """Signs with the secret and an algorithm that it is good for, where nobody has narrowed them."""
    text = f"{part({'alg': 'HS512'})}.{part(given)}"
    return f"{text}.{part(hmac.digest(SECRET.encode(), text.encode(), 'sha512'))}"


def pieces(token: str) -> tuple[str, str, str]:
    header, body, signature = token.split(".")
    return header, body, signature


def tampered(**changes: Any) -> str:
    """Puts other claims under a good signature."""
    header, _, signature = pieces(hs())
    return f"{header}.{part(claims(**changes))}.{signature}"


def with_signature(kind: str, signature: bytes) -> str:
    """Puts another signature under a good token."""
    header, body, _ = pieces(signed(kind))
    return f"{header}.{body}.{part(signature)}"


def der(kind: str) -> bytes:
    key = load_pem_public_key(public_pem(kind).encode())
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def jwk() -> dict[str, Any]:
    """Returns the RSA key as its issuer publishes it."""
    key = load_pem_public_key(public_pem("rsa").encode())
    assert isinstance(key, rsa.RSAPublicKey)
    return RSAAlgorithm.to_jwk(key, as_dict=True)


OWN_KEY = {"kty": "oct", "k": part(b"canary" * 8)}
"""A key that the attacker brings along, and signs with."""

Make = Callable[[], str]

FORGED: Mapping[str, Make] = {
    "none": lambda: bare({"alg": "none"}),
    "None": lambda: bare({"alg": "None"}),
    "NONE": lambda: bare({"alg": "NONE"}),
    "nOnE, typ": lambda: bare({"alg": "nOnE", "typ": "JWT"}),
    "none with a blank": lambda: bare({"alg": "none "}),
    "none with NUL": lambda: bare({"alg": "none\0"}),
    "none, signed": lambda: hs({"alg": "none"}),
    "alg empty": lambda: bare({"alg": ""}),
    "alg null": lambda: hs({"alg": None}),
    "alg missing": lambda: forge({"typ": "JWT"}, claims(), SECRET.encode()),
    "alg a list": lambda: hs({"alg": ["HS256"]}),
    "alg an object": lambda: hs({"alg": {"HS256": 1}}),
    "alg a number": lambda: hs({"alg": 256}),
    "alg true": lambda: hs({"alg": True}),
    "alg hs256": lambda: hs({"alg": "hs256"}),
    "alg HS1": lambda: hs({"alg": "HS1"}),
    "alg unknown": lambda: hs({"alg": "canary"}),
    "alg very long": lambda: hs({"alg": "H" * 4000}),
    "alg twice, none last": lambda: forge(b'{"alg":"HS256","alg":"none"}', claims(), SECRET.encode()),
    "header says RS256": lambda: hs({"alg": "RS256"}),
    "RS256 against a secret": lambda: signed("rsa"),
    "ES256 against a secret": lambda: signed("p256"),
    "EdDSA against a secret": lambda: signed("ed25519"),
    "header empty": lambda: forge({}, claims(), SECRET.encode()),
    "header a list": lambda: forge([], claims(), SECRET.encode()),
    "header null": lambda: forge(None, claims(), SECRET.encode()),
    "header a text": lambda: forge("HS256", claims(), SECRET.encode()),
    "header no JSON": lambda: forge(b"canary", claims(), SECRET.encode()),
    "header of brackets": lambda: forge(b"[" * 5000, claims(), SECRET.encode()),
    "header of objects": lambda: forge(b'{"a":' * 1200, claims(), SECRET.encode()),
    "header not UTF-8": lambda: forge(b'{"alg":"HS256","x":"\xff"}', claims(), SECRET.encode()),
    "header with a huge number": lambda: forge(b'{"alg":"HS256","x":' + b"9" * 4400 + b"}", claims(), SECRET.encode()),
    "empty secret": lambda: hs(secret=""),
    "kid to /dev/null": lambda: hs({"kid": "../../../../dev/null"}, secret=""),
    "kid to a file": lambda: hs({"kid": "/proc/sys/kernel/randomize_va_space"}, secret=b"2\n"),
    "kid of SQL": lambda: hs({"kid": "x' union select 'canary' --"}, secret="canary"),
    "kid of a command": lambda: hs({"kid": "|touch /tmp/canary"}, secret="canary"),
    "kid very long": lambda: hs({"kid": "k" * 5000}, secret="canary"),
    "kid an object": lambda: hs({"kid": {"$ne": None}}, secret="canary"),
    "kid with line breaks": lambda: hs({"kid": "a\r\nX-Canary: 1"}, secret="canary"),
    "jwk brought along": lambda: hs({"jwk": OWN_KEY}, secret=b"canary" * 8),
    "jwk of RSA brought along": lambda: signed("rsa", header={"jwk": jwk()}),
    "jku": lambda: hs({"jku": "http://canary.example/keys", "kid": "1"}, secret=b"canary" * 8),
    "jku to a file": lambda: hs({"jku": "file:///etc/passwd"}, secret=b"canary" * 8),
    "x5u": lambda: hs({"x5u": "http://canary.example/cert"}, secret=b"canary" * 8),
    "x5c": lambda: signed("rsa", header={"x5c": [part(der("rsa"))]}),
    "crit known to nobody": lambda: hs({"crit": ["canary"], "canary": 1}),
    "crit empty": lambda: hs({"crit": []}),
    "crit a text": lambda: hs({"crit": "exp"}),
    "crit of exp": lambda: hs({"crit": ["exp"], "exp": 1}),
    "crit null": lambda: hs({"crit": None}),
    "crit of numbers": lambda: hs({"crit": [1]}),
    "b64 false": lambda: hs({"b64": False}),
    "b64 false, crit": lambda: hs({"b64": False, "crit": ["b64"]}),
    "b64 false, payload as it is": lambda: unencoded(claims()),
    "typ of a logout": lambda: hs({"typ": "logout+jwt"}),
    "typ of DPoP": lambda: hs({"typ": "dpop+jwt"}),
    "typ of a security event": lambda: hs({"typ": "secevent+jwt"}),
    "typ JWE": lambda: hs({"typ": "JWE"}),
    "typ a number": lambda: hs({"typ": 1}),
    "typ a list": lambda: hs({"typ": ["JWT"]}),
    "typ empty": lambda: hs({"typ": ""}),
    "nested": lambda: forge({"alg": "HS256", "cty": "JWT"}, hs().encode(), SECRET.encode()),
    "nested as text": lambda: forge({"alg": "HS256", "cty": "JWT"}, hs(), SECRET.encode()),
    "JWE of five parts": lambda: f"{part({'alg': 'dir', 'enc': 'A256GCM'})}..{part(b'i' * 12)}.{part(b'canary')}.{part(b't' * 16)}",
    "JWE of RSA": lambda: f"{part({'alg': 'RSA-OAEP', 'enc': 'A256GCM'})}.{part(b'k' * 256)}.{part(b'i' * 12)}.e30.{part(b't' * 16)}",
    "JWS in JSON": lambda: json.dumps({"payload": pieces(hs())[1], "protected": pieces(hs())[0], "signature": pieces(hs())[2]}),
    "zip": lambda: forge({"alg": "HS256", "zip": "DEF"}, b"\xabV*.M\x02\x00", SECRET.encode()),
}
"""Other people's signatures, and headers that talk the verifier into them."""

BROKEN: Mapping[str, Make] = {
    "one word": lambda: "canary",
    "dots": lambda: "..",
    "one dot": lambda: ".",
    "many dots": lambda: "." * 7000,
    "two parts": lambda: ".".join(pieces(hs())[:2]),
    "no header": lambda: "." + ".".join(pieces(hs())[1:]),
    "no payload": lambda: "{0}..{2}".format(*pieces(hs())),
    "no signature": lambda: "{}.{}.".format(*pieces(hs())),
    "four parts": lambda: hs() + ".e30",
    "a dot behind": lambda: hs() + ".",
    "a dot before": lambda: "." + hs(),
    "cut by one": lambda: hs()[:-1],
    "cut in half": lambda: hs()[: len(hs()) // 2],
    "one letter more": lambda: hs() + "A",
    "four letters more": lambda: hs() + "AAAA",
    "padding in the middle": lambda: "{}=.{}.{}".format(*pieces(hs())),
    "junk in the signature": lambda: hs()[:-6] + "!" + hs()[-6:],
    "junk behind": lambda: hs() + "!!!!",
    "quoted": lambda: f'"{hs()}"',
    "blank in the middle": lambda: hs().replace(".", ". ", 1),
    "tab in the middle": lambda: hs().replace(".", ".\t", 1),
    "two tokens": lambda: f"{hs()} {hs()}",
    "two tokens with a comma": lambda: f"{hs()},{hs()}",
    "two tokens with ', Bearer'": lambda: f"{hs()}, Bearer {hs(sub='2')}",
    "Bearer twice": lambda: f"Bearer {hs()}",
    "percent-encoded": lambda: hs().replace(".", "%2E"),
    "with unicode letters": lambda: hs()[:-3] + "éü字",
    "with fullwidth dots": lambda: hs().replace(".", "\uff0e"),
    "with a soft hyphen": lambda: hs()[:20] + "\u00ad" + hs()[20:],
    "bytes of Latin-1": lambda: hs()[:-1] + "\udcff",
    "upper case": lambda: hs().upper(),
    "backwards": lambda: hs()[::-1],
    "wrong signature": lambda: "{}.{}.".format(*pieces(hs())) + part(b"\0" * 32),
    "signature of nothing": lambda: "{}.{}.".format(*pieces(hs())) + part(hmac.digest(SECRET.encode(), b"", "sha256")),
    "signature cut to 16 bytes": lambda: hs()[:-21],
    "another secret": lambda: hs(secret="x" * 64),
    "half of the secret": lambda: hs(secret=SECRET[:32]),
    "the secret and a line break": lambda: hs(secret=SECRET + "\n"),
    "the secret in base64": lambda: hs(secret=part(SECRET.encode())),
    "hash of the secret": lambda: hs(secret=hashlib.sha256(SECRET.encode()).digest()),
    "payload of another user": lambda: tampered(sub="2"),
    "payload of an admin": lambda: tampered(role="admin"),
    "header changed": lambda: ".".join((part({"typ": "JWT", "alg": "HS256"}), *pieces(hs())[1:])),
    "9 kB": lambda: hs(padding="x" * 9000),
    "9 kB of header": lambda: hs({"x": "x" * 9000}),
    "30 kB": lambda: hs(padding="x" * 22000),
    "9 kB of nothing": lambda: "A" * 9000,
}
"""Good tokens that something happened to, and what was never one."""

PAYLOADS: Mapping[str, Make] = {
    "a list": lambda: payload("[]"),
    "null": lambda: payload("null"),
    "a number": lambda: payload("7"),
    "true": lambda: payload("true"),
    "empty": lambda: payload(""),
    "an object and more": lambda: payload(json.dumps(claims()) + "{}"),
    "of brackets": lambda: payload("[" * 5000),
    "of objects": lambda: payload('{"a":' * 1100 + "1" + "}" * 1100),
    "a claim of brackets": lambda: with_member(f'"x": {"[" * 2000}{"]" * 2000}, "exp": "text"'),
    "not UTF-8": lambda: payload(b'{"sub":"\xff\xfe","exp":2000000000}'),
    "comments": lambda: payload('{/**/"sub":"1","exp":2000000000}'),
    "a huge number": lambda: with_member('"x": ' + "9" * 4400),
    "exp a huge number": lambda: with_member('"exp": ' + "9" * 4400),
    "exp of 400 digits": lambda: with_member('"exp": ' + "9" * 400),
    "exp 1e999": lambda: with_member('"exp": 1e999'),
    "exp twice, the last expired": lambda: with_member(f'"exp": {now(-60)}'),
    "exp twice, the last 0": lambda: with_member('"exp": 0'),
    "sub twice, the last empty": lambda: with_member('"sub": ""'),
    "sub a lone surrogate": lambda: with_member(r'"sub": "\ud800"'),
    "sub with a lone surrogate": lambda: with_member(r'"sub": "1\udc00"'),
    "no exp": lambda: hs(exp=...),
    "no sub": lambda: hs(sub=...),
    "nothing": lambda: payload("{}"),
    "exp null": lambda: hs(exp=None),
    "exp past": lambda: hs(exp=now(-60)),
    "exp in ms": lambda: hs(exp=now(600) * 1000),
    "exp in ms, long ago": lambda: hs(exp=1_000_000_000_000),
    "exp as text": lambda: hs(exp=str(now(600))),
    "exp as a date": lambda: hs(exp="2030-01-01T00:00:00Z"),
    "exp empty": lambda: hs(exp=""),
    "exp negative": lambda: hs(exp=-1),
    "exp very negative": lambda: hs(exp=-now(600)),
    "exp 0": lambda: hs(exp=0),
    "exp -0.0": lambda: hs(exp=-0.0),
    "exp 1e308": lambda: hs(exp=1e308),
    "exp NaN": lambda: hs(exp=NAN),
    "exp Infinity": lambda: hs(exp=INFINITY),
    "exp -Infinity": lambda: hs(exp=-INFINITY),
    "exp true": lambda: hs(exp=True),
    "exp false": lambda: hs(exp=False),
    "exp a list": lambda: hs(exp=[now(600)]),
    "exp an object": lambda: hs(exp={"$gt": 0}),
    "exp 2**63": lambda: hs(exp=2**63),
    "exp 2**64": lambda: hs(exp=2**64),
    "exp in the next century": lambda: hs(exp=4_102_444_801),
    "exp in eight days": lambda: hs(exp=now(8 * 86400)),
    "exp in eight days, no iat": lambda: hs(iat=..., exp=now(8 * 86400)),
    "iat nine days before exp": lambda: hs(iat=now(-7 * 86400), exp=now(2 * 86400)),
    "iat in an hour": lambda: hs(iat=now(3600), exp=now(7200)),
    "iat as text": lambda: hs(iat=str(now())),
    "iat null": lambda: hs(iat=None),
    "iat NaN": lambda: hs(iat=NAN),
    "iat Infinity": lambda: hs(iat=INFINITY),
    "iat true": lambda: hs(iat=True),
    "iat a list": lambda: hs(iat=[1]),
    "iat negative": lambda: hs(iat=-1),
    "iat in ms": lambda: hs(iat=now() * 1000),
    "iat 1e308": lambda: hs(iat=1e308),
    "nbf in an hour": lambda: hs(nbf=now(3600)),
    "nbf as text": lambda: hs(nbf="0"),
    "nbf 1e308": lambda: hs(nbf=1e308),
    "nbf Infinity": lambda: hs(nbf=INFINITY),
    "nbf NaN": lambda: hs(nbf=NAN),
    "nbf a list": lambda: hs(nbf=[]),
    "jti an object": lambda: hs(jti={"a": 1}),
    "jti a list": lambda: hs(jti=["canary"]),
    "jti a number": lambda: hs(jti=7),
    "sub empty": lambda: hs(sub=""),
    "sub null": lambda: hs(sub=None),
    "sub of 600 characters": lambda: hs(sub="1" * 600),
    "sub of 5,000 characters": lambda: hs(sub="1" * 5000),
    "sub of 600 bytes": lambda: hs(sub="字" * 200),
    "sub with a blank": lambda: hs(sub="1 2"),
    "sub behind a blank": lambda: hs(sub=" 1"),
    "sub before a blank": lambda: hs(sub="1 "),
    "sub a blank": lambda: hs(sub=" "),
    "sub with a tab": lambda: hs(sub="1\t2"),
    "sub with LF": lambda: hs(sub="1\nx"),
    "sub with CR": lambda: hs(sub="1\rx"),
    "sub with CRLF": lambda: hs(sub="1\r\ndata: canary"),
    "sub with NUL": lambda: hs(sub="1\x002"),
    "sub before NUL": lambda: hs(sub="1\0"),
    "sub with DEL": lambda: hs(sub="1\x7f"),
    "sub with ESC": lambda: hs(sub="\x1b[31m1"),
    "sub with NEL": lambda: hs(sub="1\x85"),
    "sub with a hard blank": lambda: hs(sub="1\u00a0"),
    "sub with a line separator": lambda: hs(sub="1\u2028"),
    "sub with an ideographic blank": lambda: hs(sub="1\u3000"),
    "sub of SQL": lambda: hs(sub="1' or '1'='1"),
    "sub a float": lambda: hs(sub=1.0),
    "sub true": lambda: hs(sub=True),
    "sub a list": lambda: hs(sub=["1"]),
    "sub an object": lambda: hs(sub={"id": "1"}),
    "roles an object": lambda: hs(roles={"customer": True}),
    "roles a number": lambda: hs(roles=1),
    "roles true": lambda: hs(roles=True),
    "roles of lists": lambda: hs(roles=[["customer"]]),
    "roles of objects": lambda: hs(roles=[{"name": "customer"}]),
    "roles of numbers": lambda: hs(roles=[1]),
    "roles of null": lambda: hs(roles=[None]),
    "role a number": lambda: hs(role=1),
    "role an object": lambda: hs(role={"customer": 1}),
    "role of lists": lambda: hs(role=[["customer"]]),
    "provider_id an object": lambda: hs(provider_id={"id": "9"}),
    "provider_id a list": lambda: hs(provider_id=["9"]),
    "provider_id true": lambda: hs(provider_id=True),
    "provider_id empty": lambda: hs(provider_id=""),
    "provider_id with LF": lambda: hs(provider_id="9\nx"),
    "provider_id with NUL": lambda: hs(provider_id="9\0"),
    "provider_id before a blank": lambda: hs(provider_id="9 "),
    "provider_id very long": lambda: hs(provider_id="9" * 5000),
    "provider_id a lone surrogate": lambda: with_member(r'"provider_id": "\ud800"'),
}
"""What no honest issuer puts under its signature, but one with a bug, or one that lets its users choose, does."""

CONFIGURED: Mapping[str, Mapping[str, Make]] = {
    "narrow": {
        "HS512 of the secret": lambda: hs512(claims()),
        "HS384 of the secret": lambda: jwt.encode(claims(), SECRET, "HS384"),
    },
    "strict": {
        "no iss": lambda: hs(aud="rowcast"),
        "no aud": lambda: hs(iss="https://issuer.example"),
        "another iss": lambda: hs(iss="https://canary.example", aud="rowcast"),
        "iss with more behind": lambda: hs(iss="https://issuer.example.canary", aud="rowcast"),
        "iss with a slash": lambda: hs(iss="https://issuer.example/", aud="rowcast"),
        "part of iss": lambda: hs(iss="https://issuer", aud="rowcast"),
        "iss a list": lambda: hs(iss=["https://issuer.example"], aud="rowcast"),
        "iss null": lambda: hs(iss=None, aud="rowcast"),
        "another aud": lambda: hs(iss="https://issuer.example", aud="canary"),
        "part of aud": lambda: hs(iss="https://issuer.example", aud="row"),
        "aud with more behind": lambda: hs(iss="https://issuer.example", aud="rowcast2"),
        "aud of others": lambda: hs(iss="https://issuer.example", aud=["a", "b"]),
        "aud of nobody": lambda: hs(iss="https://issuer.example", aud=[]),
        "aud an object": lambda: hs(iss="https://issuer.example", aud={"rowcast": 1}),
        "aud of lists": lambda: hs(iss="https://issuer.example", aud=[["rowcast"]]),
        "aud and a number": lambda: hs(iss="https://issuer.example", aud=["rowcast", 1]),
    },
    "short": {
        "lives for two hours": lambda: hs(exp=now(7200)),
        "lives for two hours, one is over": lambda: hs(iat=now(-3700), exp=now(1800)),
        "lives for two hours, no iat": lambda: hs(iat=..., exp=now(7200)),
        "lives for two hours, iat late": lambda: hs(iat=now(3600), exp=now(7200)),
    },
    "rsa": {
        "the secret that is not in use": hs,
        "HS256 of the PEM": lambda: hs(secret=public_pem("rsa")),
        "HS256 of the PEM, stripped": lambda: hs(secret=public_pem("rsa").strip()),
        "HS256 of the PEM, CRLF": lambda: hs(secret=public_pem("rsa").replace("\n", "\r\n")),
        "HS256 of the PEM in one line": lambda: hs(secret="".join(public_pem("rsa").split("\n")[1:-2])),
        "HS256 of the DER": lambda: hs(secret=der("rsa")),
        "HS256 of the JWK": lambda: hs(secret=json.dumps(jwk())),
        "HS256 of the JWK, compact": lambda: hs(secret=json.dumps(jwk(), separators=(",", ":"))),
        "HS256 of the modulus": lambda: hs(secret=str(jwk()["n"])),
        "RS256 header over HMAC of the PEM": lambda: hs({"alg": "RS256"}, secret=public_pem("rsa")),
        "none": lambda: bare({"alg": "none"}),
        "RS384 of the same key": lambda: signed("rsa", "RS384"),
        "RS512 of the same key": lambda: signed("rsa", "RS512"),
        "PS256 of the same key": lambda: signed("rsa", "PS256"),
        "another RSA key": lambda: jwt.encode(claims(), rsa.generate_private_key(65537, 2048), "RS256"),
        "signature of zeros": lambda: with_signature("rsa", b"\0" * 256),
        "signature of one": lambda: with_signature("rsa", b"\0" * 255 + b"\1"),
        "signature longer than the key": lambda: with_signature("rsa", b"\1" * 4000),
        "signature empty": lambda: with_signature("rsa", b""),
        "ES256": lambda: signed("p256"),
    },
    "p256": {
        "HS256 of the PEM": lambda: hs(secret=public_pem("p256")),
        "signature of zeros": lambda: with_signature("p256", b"\0" * 64),
        "signature of ones": lambda: with_signature("p256", b"\xff" * 64),
        "signature in DER": lambda: with_signature("p256", b"0\x06\x02\x01\x01\x02\x01\x01"),
        "signature empty": lambda: with_signature("p256", b""),
        "ES384": lambda: signed("p384", "ES384"),
        "RS256": lambda: signed("rsa"),
    },
    "ed25519": {
        "HS256 of the PEM": lambda: hs(secret=public_pem("ed25519")),
        "HS256 of the raw key": lambda: hs(secret=der("ed25519")[-32:]),
        "signature of zeros": lambda: with_signature("ed25519", b"\0" * 64),
        "signature cut": lambda: with_signature("ed25519", b"\0" * 63),
        "ES256": lambda: signed("p256"),
    },
}
"""What is good somewhere, and not where this is configured."""

TOKENS: Mapping[str, tuple[str, Make]] = {
    **{f"forged: {name}": ("secret", make) for name, make in FORGED.items()},
    **{f"broken: {name}": ("secret", make) for name, make in BROKEN.items()},
    **{f"payload: {name}": ("secret", make) for name, make in PAYLOADS.items()},
    **{f"{gate}: {name}": (gate, make) for gate, table in CONFIGURED.items() for name, make in table.items()},
}
"""All hostile tokens, each with the gateway that it is sent to. All of them are a 401 with the challenge `invalid_token`."""

GOOD: Mapping[str, Make] = {
    "secret": hs,
    "narrow": hs,
    "strict": lambda: hs(iss="https://issuer.example", aud=["rowcast", "others"]),
    "short": hs,
    "query": hs,
    "rsa": lambda: signed("rsa"),
    "p256": lambda: signed("p256"),
    "ed25519": lambda: signed("ed25519"),
}
"""The positive control of each gateway."""


def unencoded(given: Mapping[str, Any]) -> str:
    """Signs a payload that stands in the token as it is (RFC 7797)."""
    text = f"{part({'alg': 'HS256', 'b64': False, 'crit': ['b64']})}.{json.dumps(given, separators=(',', ':'))}"
    return f"{text}.{part(hmac.digest(SECRET.encode(), text.encode(), 'sha256'))}"


@dataclass(frozen=True)
class Answer:
    """An answer, with its head as it came; status 0 where the connection was closed without one."""

    status: int
    headers: Mapping[str, str]
    raw: bytes
    body: bytes

    @property
    def problem(self) -> Any:
        return orjson.loads(self.body)


async def exchange(port: int, data: bytes, within: float = 60) -> Answer:
    """Sends bytes and reads one answer: of a stream its head, of anything else all of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    try:
        async with asyncio.timeout(within):
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                return Answer(0, {}, b"", b"")
            lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
            body = b"" if data.startswith(b"HEAD ") else await reader.readexactly(int(headers.get("content-length", 0)))
            return Answer(int(lines[0].split(" ")[1]), headers, head, body)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def request(port: int, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> bytes:
    """Writes a request; header lines go out as they are."""
    head = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *lines]
    if body or method == "POST":
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


async def ask(web: Web, path: str, *lines: str, method: str = "GET", body: bytes = b"") -> Answer:
    """Makes one request, over a connection of its own."""
    return await exchange(web.port, request(web.port, path, *lines, method=method, body=body))


def bearer(token: str) -> str:
    return f"Authorization: Bearer {token}"


def told(answer: Answer, *secrets: str) -> list[str]:
    """Returns which parts of what the client sent came back."""
    words = [word for secret in secrets for word in secret.split(".") if len(word) >= 8]
    everything = (answer.raw + answer.body).decode("utf-8", "replace")
    return [word for word in [*words, "canary", "Canary", SECRET, "Traceback"] if word in everything]


def refused(answer: Answer, *statuses: int, challenge: str = "", secrets: tuple[str, ...] = ()) -> None:
    """Holds an answer against RFC 9457 and RFC 6750, and sees that nothing of what was sent is in it."""
    assert answer.status in statuses, (answer.raw, answer.body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"title", "status", "detail"} <= set(answer.problem)
    assert answer.problem["status"] == answer.status
    if answer.status == 401:
        assert answer.headers["www-authenticate"].startswith(challenge or "Bearer")
    assert not told(answer, *secrets)
    assert "set-cookie" not in answer.headers


@pytest.fixture(scope="module")
def site(run_servers: Servers) -> Iterator[Servers]:
    """A database and an empty Redis for the module."""
    with fresh(run_servers) as each:
        yield each


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gates(site: Servers) -> AsyncIterator[Mapping[str, Web]]:
    """All gateways, and a bridge."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bridge(site))
        yield {name: await stack.enter_async_context(web(site, **changes)) for name, changes in GATES.items()}


@pytest.fixture
def gate(gates: Mapping[str, Web]) -> Web:
    """The gateway with a shared secret."""
    return gates["secret"]


@pytest.fixture(autouse=True)
def no_crash(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that a stranger sends leaves a traceback in the log."""
    yield
    assert not [record for record in caplog.records if record.exc_info]


@asynccontextmanager
async def opened(
    web: Web, path: str = "/streams/bookings", headers: Mapping[str, str] | None = None, leave: bool = True
) -> AsyncIterator[sse.Stream]:
    """Opens a stream, of customer 1 unless the headers say more; afterwards the gateway has noticed that it is gone."""
    stream = await web.request(path, auth(hs()) if headers is None else headers)
    assert stream.status == 200, stream.body
    try:
        yield stream
    finally:
        await stream.close()
        if leave:
            await until(lambda: not web.hub.roster.subscribers)


def auth(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def process(site: Servers, directory: Path, **settings: str) -> AsyncIterator[tuple[Web, Path]]:
    """Starts `rowcast web` itself, at its most talkative, and yields it with its log."""
    log, port = directory / f"web-{time.monotonic_ns()}.log", free_port()
    given = {"PORT": str(port), "LOG_LEVEL": "debug", "ROWCAST_DATA_DIR": str(directory), "ROWCAST_CORS_ORIGINS": APP} | settings
    with started(command("web"), environment(site, **given), log):
        await asyncio.to_thread(wait_ready, f"http://127.0.0.1:{port}")
        yield Web("127.0.0.1", port, Starlette()), log


@contextlib.contextmanager
def blaming(wrong: dict[str, str], name: str) -> Iterator[None]:
    """Notes a failure under a name, so that one does not hide the others of a table."""
    try:
        yield
    except AssertionError as error:
        wrong[name] = str(error)[:300]


async def keys(site: Servers) -> set[bytes]:
    """Returns the names of all keys in Redis but those of web processes: they end a while after theirs."""
    async with Redis.from_url(site.redis_url) as redis:
        return {bytes(key) async for key in redis.scan_iter() if b":web:" not in bytes(key)}


# ---- tokens ----


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


async def test_subject_that_is_a_number(gates: Mapping[str, Web]) -> None:
    """A subject that is a number is refused (RFC 7519), or is the same user as its text, also for who is revoked."""
    gate = gates["secret"]
    for number, by in ((21, "21"), (22, 22), (-23, "-23"), (10**30, str(10**30))):
        as_number, as_text = hs(sub=number, iat=now(-60)), hs(sub=str(number), iat=now(-60))
        answer = await ask(gate, "/streams", bearer(as_number))
        assert answer.status in (200, 401), answer.body
        assert (await ask(gate, "/streams", bearer(as_text))).status == 200
        revoking = await ask(
            gate, "/admin/revocations", bearer(hs(None, **ADMIN)), method="POST", body=orjson.dumps({"sub": str(by) if number > 99 else by})
        )
        assert revoking.status == 204 or not isinstance(by, str)
        for token in (as_number, as_text) if revoking.status == 204 else ():
            refused(await ask(gate, "/streams", bearer(token)), 401, challenge=INVALID)


ROLES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "customer": ("changes", {}),
    "no role": ("changes", {"role": ...}),
    "role empty": ("changes", {"role": ""}),
    "role null": ("changes", {"role": None}),
    "unknown role": ("changes", {"role": "superuser"}),
    "Admin": ("changes", {"role": "Admin"}),
    "admin with a blank": ("changes", {"role": "admin "}),
    "admin with NUL": ("changes", {"role": "admin\0"}),
    "fullwidth admin": ("changes", {"role": "ａｄｍｉｎ"}),
    "with commas": ("changes", {"role": "customer,admin"}),
    "with blanks": ("changes", {"role": "customer admin"}),
    "list of lists": ("changes", {"roles": [["admin"]]}),
    "list of objects": ("changes", {"roles": [{"admin": True}]}),
    "an object": ("changes", {"roles": {"admin": True}}),
    "object with an iterator's look": ("changes", {"roles": {"0": "admin", "length": 1}}),
    "letters": ("changes", {"roles": ["a", "d", "m", "i", "n"]}),
    "JSON in text": ("changes", {"roles": '["admin"]'}),
    "is_admin": ("changes", {"is_admin": True, "admin": True}),
    "scope": ("changes", {"scope": "admin", "scp": ["admin"], "groups": ["admin"], "permissions": ["admin"]}),
    "Role": ("changes", {"Role": "admin", "ROLES": ["admin"]}),
    "nested in metadata": ("changes", {"app_metadata": {"roles": ["admin"]}, "user_metadata": {"role": "admin"}}),
    "__proto__": ("changes", {"__proto__": {"role": "admin"}}),
    "a customer's provider_id": ("provider-bookings", {"provider_id": "9"}),
    "a provider's bookings": ("bookings", {"role": "provider"}),
    "an unknown provider": ("provider-bookings", {"role": "Provider", "provider_id": "9"}),
    "one of several": ("bookings,changes", {}),
    "hidden in the list": ("services,changes,services", {}),
}
"""Claims that an issuer did sign, and the stream that they must not open."""


@pytest.mark.parametrize("name", ROLES)
async def test_role_is_not_widened(gate: Web, name: str) -> None:
    """Nobody has a role that is not literally there, and nothing falls back to more."""
    stream, changes = ROLES[name]
    answer = await ask(gate, f"/streams/{stream}", bearer(hs(None, **changes)))
    refused(answer, 401, 403, challenge=INVALID)
    if answer.status == 403:
        assert answer.headers["www-authenticate"].startswith('Bearer error="insufficient_scope"')
    listed = await ask(gate, "/streams", bearer(hs(None, **changes)))
    assert "changes" not in [each["name"] for each in listed.problem.get("streams", [])]


NEIGHBOURS: tuple[Mapping[str, str], ...] = (
    *({"sub": sub} for sub in ("1-2", "01", "1.0", "1e0", "+1", "-1", "0x1", "1*", "?", "*", "[1]", "{1}", "1,2", "1:1", "1/..", "%31")),
    *(
        {"sub": sub}
        for sub in ("１", "¹", "1\u0301", "1\u200b", "\u202e1", "\ufeff1", "1'or'1'='1", "$1", "1::text", "1--", "null", "bookings")
    ),
    *({"sub": sub} for sub in ("changes-1", "../1", "-changes-1", "1-bookings", "2-changes-1", "{user_id}")),
    *({"sub": "10", "provider_id": each} for each in ("9-changes", "09", "9*", "９", "9,10", "9\u200b", "{provider_id}", "9-9", "*")),
)
"""Subjects and providers that are nobody's, and look like those of customer 1 and provider 9."""


async def test_no_name_reaches_a_foreign_channel(gate: Web, site: Servers) -> None:
    """Whoever's name contains, continues or resembles another's gets none of their rows: not in a snapshot, and not as they change."""
    streams: list[sse.Stream] = []
    for each in NEIGHBOURS:
        mine = "provider-bookings" if "provider_id" in each else "bookings"
        token = hs(None, **dict(each), role="provider" if "provider_id" in each else "customer")
        stream = await gate.request(f"/streams/{mine},services?snapshot=1", {"Authorization": f"Bearer {token}"})
        assert stream.status in (200, 401), (each, stream.body)
        if stream.status == 200:
            streams.append(stream)
    async with opened(gate, leave=False) as legitimate:
        for stream in streams:
            pages: list[sse.Event] = []
            while not (pages and pages[-1].data["stream"] == "services" and pages[-1].data["done"]):
                pages.append(await stream.until("snapshot"))
            assert all(page.data["rows"] == [] for page in pages if page.data["stream"] != "services")
        await asyncio.to_thread(query, site.database_url, "update bookings set notes = 'canary' where customer_id = 1 or provider_id = 9")
        await asyncio.to_thread(query, site.database_url, "update services set description = 'the end' where id = 1")
        assert (await legitimate.until("bookings")).data["record"]["notes"] == "canary"
        for stream in streams:
            assert [event.name for event in await stream.events(1)] == ["services"]
    for stream in streams:
        await stream.close()
    await until(lambda: not gate.hub.roster.subscribers)


# ---- carriers ----

CARRIERS: Mapping[str, tuple[Callable[[], tuple[str, ...]], tuple[int, ...]]] = {
    "none": (tuple, (401,)),
    "Basic": (lambda: ("Authorization: Basic Y2FuYXJ5OmNhbmFyeQ==",), (401,)),
    "Basic with a token": (lambda: (f"Authorization: Basic {hs()}",), (401,)),
    "Token": (lambda: (f"Authorization: Token {hs()}",), (401,)),
    "no scheme": (lambda: (f"Authorization: {hs()}",), (401,)),
    "Bearer": (lambda: ("Authorization: Bearer",), (400, 401)),
    "Bearer and a blank": (lambda: ("Authorization: Bearer ",), (400, 401)),
    "Bearer and blanks": (lambda: ("Authorization: Bearer \t ",), (400, 401)),
    "Bearer without a blank": (lambda: (f"Authorization: Bearer{hs()}",), (401,)),
    "Bearer with a colon": (lambda: (f"Authorization: Bearer: {hs()}",), (401,)),
    "Bearer with a tab": (lambda: (f"Authorization: Bearer\t{hs()}",), (400, 401)),
    "Bearer token=": (lambda: (f"Authorization: Bearer token={hs()}",), (401,)),
    "empty": (lambda: ("Authorization:",), (400, 401)),
    "two headers": (lambda: (bearer(hs()), bearer(hs(sub="2"))), (400,)),
    "two equal headers": (lambda: (bearer(hs()),) * 2, (400,)),
    "two headers, one Basic": (lambda: (bearer(hs()), "Authorization: Basic Y2FuYXJ5"), (400,)),
    "a hundred headers": (lambda: (bearer(hs()),) * 100, (400,)),
    "Proxy-Authorization": (lambda: (f"Proxy-Authorization: Bearer {hs()}",), (401,)),
    "X-Access-Token": (lambda: (f"X-Access-Token: {hs()}", f"X-Authorization: Bearer {hs()}"), (401,)),
    "cookie of another name": (lambda: (f"Cookie: rowcast={hs()}; access_token={hs()}", f"Origin: {APP}"), (401,)),
    "cookie in other letters": (lambda: (f"Cookie: __secure-rowcast={hs()}", f"Origin: {APP}"), (401,)),
    "cookie empty": (lambda: (f"Cookie: {COOKIE}=", f"Origin: {APP}"), (401,)),
    "two cookies": (lambda: (f"Cookie: {COOKIE}={hs()}; {COOKIE}={hs(sub='2')}", f"Origin: {APP}"), (400,)),
    "two cookies in two headers": (lambda: (f"Cookie: {COOKIE}={hs()}", f"Cookie: {COOKIE}={hs(sub='2')}", f"Origin: {APP}"), (400,)),
    "two cookies, one bad": (lambda: (f"Cookie: {COOKIE}=canary; {COOKIE}={hs()}", f"Origin: {APP}"), (400,)),
    "header and cookie of two users": (lambda: (bearer(hs()), f"Cookie: {COOKIE}={hs(sub='2')}", f"Origin: {APP}"), (400,)),
    "bad header, good cookie": (lambda: (bearer(hs(exp=1)), f"Cookie: {COOKIE}={hs()}", f"Origin: {APP}"), (401,)),
    "Basic, good cookie of a foreign page": (
        lambda: ("Authorization: Basic Y2FuYXJ5", f"Cookie: {COOKIE}={hs()}", "Origin: https://canary.example"),
        (401, 403),
    ),
}
"""Odd ways to carry good tokens."""


@pytest.mark.parametrize("name", CARRIERS)
async def test_odd_carrier(gate: Web, name: str) -> None:
    """A good token in the wrong place is none, and where two could be meant nobody guesses."""
    make, statuses = CARRIERS[name]
    lines = make()
    refused(
        await ask(gate, "/streams/bookings", *lines),
        *statuses,
        secrets=tuple(word for line in lines for word in line.split() if "eyJ" in word),
    )


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


# ---- tickets ----


async def issue(web: Web, origin: str | None = APP, **changes: Any) -> str:
    """Asks for a ticket."""
    lines = [bearer(hs(None, **changes))] + ([f"Origin: {origin}"] if origin else [])
    answer = await ask(web, "/auth/ticket", *lines, method="POST")
    assert answer.status == 200, answer.body
    assert set(answer.problem) == {"ticket", "expires_in"}
    assert "no-store" in answer.headers.get("cache-control", "")
    return str(answer.problem["ticket"])


TICKETS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "empty": ("ticket=", (401,)),
    "no value": ("ticket", (401,)),
    "garbage": ("ticket=nonsense", (401,)),
    "star": ("ticket=*", (401,)),
    "NUL": ("ticket=%00", (400, 401)),
    "line break": ("ticket=%0d%0aX-Injected:1", (400, 401)),
    "not UTF-8": ("ticket=%ff%fe", (400, 401)),
    "lone surrogate": ("ticket=%ed%a0%80", (400, 401)),
    "very long": ("ticket=" + "x" * 15000, (401,)),
    "blanks": ("ticket=+++", (401,)),
    "path": ("ticket=../../rowcast", (401,)),
    "name of a key": ("ticket={key}", (401,)),
    "a token": ("ticket={token}", (401,)),
    "JSON": ("ticket=%7B%22sub%22:%221%22%7D", (401,)),
    "two good ones": ("ticket={ticket}&ticket={second}", (400,)),
    "the same twice": ("ticket={ticket}&ticket={ticket}", (400,)),
    "garbage and a good one": ("ticket=x&ticket={ticket}", (400,)),
    "good and one letter": ("ticket={ticket}x", (401,)),
    "cut": ("ticket={cut}", (401,)),
    "other letters": ("ticket={swapped}", (401,)),
    "as a list": ("ticket[]={ticket}", (400, 401)),
    "in upper case": ("TICKET={ticket}", (400, 401)),
}
"""Query strings that are no good ticket."""


@pytest.mark.parametrize("name", TICKETS)
async def test_bad_ticket(gate: Web, site: Servers, name: str) -> None:
    """What is not exactly one good ticket opens nothing, and is not repeated."""
    before = await keys(site)
    ticket, second = await issue(gate), await issue(gate)
    key = next(iter(await keys(site) - before)).decode()
    words = {"ticket": ticket, "second": second, "cut": ticket[:-1], "swapped": ticket.swapcase(), "key": quote(key), "token": hs()}
    text, statuses = TICKETS[name]
    answer = await ask(gate, f"/streams/bookings?{text.format_map(words)}", f"Origin: {APP}")
    refused(answer, *statuses, secrets=(ticket, second, words["token"]))
    assert "x-injected" not in answer.headers


FROM: Mapping[str, tuple[str | None, tuple[str, ...]]] = {
    "another that is named": (APP, (f"Origin: {OTHER}",)),
    "a foreign one": (APP, ("Origin: https://canary.example",)),
    "null": (APP, ("Origin: null",)),
    "none": (APP, ()),
    "own": (APP, ("Origin: http://127.0.0.1:{port}",)),
    "the right Referer and a foreign origin": (APP, ("Origin: https://canary.example", f"Referer: {APP}/")),
    "issued without, used by a foreign one": (None, ("Origin: https://canary.example",)),
    "issued to null, used by a foreign one": ("null", ("Origin: https://canary.example",)),
    "two": (APP, (f"Origin: {APP}", "Origin: https://canary.example")),
}
"""For whom a ticket was issued, and who comes with it."""


@pytest.mark.parametrize("name", FROM)
async def test_ticket_from_another_origin(gate: Web, name: str) -> None:
    """A ticket is good for the origin that asked for it, and for no other."""
    origin, lines = FROM[name]
    ticket = await issue(gate, origin)
    answer = await ask(gate, f"/streams/bookings?ticket={ticket}", *(line.replace("{port}", str(gate.port)) for line in lines))
    refused(answer, 400, 401, 403, secrets=(ticket,))


async def test_ticket_is_good_once(gates: Mapping[str, Web]) -> None:
    """Of many who come with one ticket at once, to two processes, one gets the stream; whoever comes later gets none."""
    both = [gates["secret"], gates["second"]]
    for _ in range(3):
        ticket = await issue(both[0])
        path = f"/streams/bookings?ticket={ticket}"
        answers = await asyncio.gather(*(ask(both[n % 2], path, f"Origin: {APP}") for n in range(30)))
        assert sorted(answer.status for answer in answers) == [200] + [401] * 29
        for answer in answers:
            assert not told(answer, ticket) or answer.status == 200
        for each in both:
            refused(await ask(each, path, f"Origin: {APP}"), 401, secrets=(ticket,))
    await until(lambda: not any(each.hub.roster.subscribers for each in both))


async def test_ticket_has_half_a_minute(gate: Web, site: Servers) -> None:
    """A ticket that is half a minute old is none: its key in Redis ends by itself, and with it the ticket."""
    before = await keys(site)
    ticket = await issue(gate)
    async with Redis.from_url(site.redis_url) as redis:
        (key,) = await keys(site) - before
        assert 0 < await redis.pttl(key) <= 30_000
        await redis.pexpire(key, 1)

        async def gone() -> bool:
            return not await redis.exists(key)

        await until(gone)
    refused(await ask(gate, f"/streams/bookings?ticket={ticket}", f"Origin: {APP}"), 401, secrets=(ticket,))


async def test_ticket_of_a_token_that_expires(gate: Web) -> None:
    """A ticket lives no longer than the token that it was issued for."""
    token = hs(exp=now(3))
    made = await ask(gate, "/auth/ticket", bearer(token), f"Origin: {APP}", method="POST")
    assert made.status == 200, made.body

    async def over() -> bool:
        return (await ask(gate, "/streams", bearer(token))).status == 401

    await until(over)
    refused(await ask(gate, f"/streams/bookings?ticket={made.problem['ticket']}", f"Origin: {APP}"), 401)


async def test_ticket_gives_no_more_than_its_token(gate: Web) -> None:
    """A ticket stands in an address: it opens a stream of its user, and makes no session, ticket, revocation or renewal."""
    wrong: dict[str, str] = {}
    async with opened(gate, "/streams/services", auth(hs(None, **ADMIN))) as stream:
        renewal = f"/streams/connections/{(await stream.next()).data['connection']}/token"
        for path in ("/auth/ticket", "/auth/session", "/admin/revocations", renewal):
            ticket = await issue(gate, **ADMIN)
            answer = await ask(gate, f"{path}?ticket={ticket}", f"Origin: {APP}", method="POST", body=b'{"sub": "canary"}')
            with blaming(wrong, path):
                refused(answer, 400, 401, 403, secrets=(ticket,))
    ticket = await issue(gate)
    refused(await ask(gate, f"/streams/changes?ticket={ticket}", f"Origin: {APP}"), 403, secrets=(ticket,))
    assert not wrong


async def test_reconnect_cookie_is_of_one_address(gate: Web) -> None:
    """The cookie that a ticket's stream sets opens the same address from the same origin again, and nothing else."""
    ticket, another = await issue(gate), await issue(gate, sub="2")
    path = f"/streams/bookings?ticket={ticket}"
    async with opened(gate, path, {"Origin": APP}) as stream:
        cookie = stream.headers["set-cookie"].split(";")[0]
        parts = {each.strip().lower() for each in stream.headers["set-cookie"].split(";")[1:]}
        assert {"httponly", "secure"} <= parts
    wrong: dict[str, str] = {}
    for address, *lines in (
        (path,),
        (path, "Origin: https://canary.example"),
        (path, f"Origin: {OTHER}"),
        (path, "Origin: null"),
        (f"/streams/payments?ticket={ticket}", f"Origin: {APP}"),
        (f"/streams/bookings,payments?ticket={ticket}", f"Origin: {APP}"),
        (f"/streams?ticket={ticket}", f"Origin: {APP}"),
        ("/streams/bookings?ticket=nonsense", f"Origin: {APP}"),
        ("/streams/bookings", f"Origin: {APP}"),
        ("/streams", f"Origin: {APP}"),
    ):
        answer = await ask(gate, address, f"Cookie: {cookie}", *lines)
        with blaming(wrong, f"{address.split('?')[0]} {lines}"):
            refused(answer, 401, 403, secrets=(ticket,))
    with blaming(wrong, "a cookie that was changed"):
        refused(await ask(gate, path, f"Cookie: {cookie[:-2]}xx", f"Origin: {APP}"), 401, 403, secrets=(ticket,))
    async with opened(gate, f"/streams/notifications?ticket={another}", {"Origin": APP, "Cookie": cookie}):
        pass  # somebody else's ticket in the same browser is not hindered by it
    assert not wrong


# ---- tokens in addresses ----


async def test_access_token_switched_off(gate: Web) -> None:
    """A token in the address opens nothing unless that is switched on, alone or beside a good one."""
    token = hs()
    refused(await ask(gate, f"/streams/bookings?access_token={token}"), 400, 401, secrets=(token,))
    refused(await ask(gate, f"/streams/bookings?access_token={token}", bearer(hs())), 400, secrets=(token,))
    refused(await ask(gate, f"/streams/bookings?token={token}"), 400, 401, secrets=(token,))


async def test_access_token_switched_on(gates: Mapping[str, Web]) -> None:
    """Where it is switched on a token in the address opens a stream, and two of them, or one that is bad, nothing."""
    gate, token, wrong = gates["query"], hs(), dict[str, str]()
    async with opened(gate, f"/streams/bookings?access_token={token}", {}) as stream:
        assert (await stream.next()).name == "ready"
    refused(await ask(gate, f"/streams/bookings?access_token={token}&access_token={hs(sub='2')}"), 400, secrets=(token,))
    refused(await ask(gate, f"/streams/bookings?access_token={token}", bearer(hs(sub="2"))), 400, secrets=(token,))
    for name, make in {**FORGED, **BROKEN, **PAYLOADS}.items():
        token = make()
        if len(token) < 8000:
            answer = await ask(gate, f"/streams/bookings?access_token={escaped(token)}")
            with blaming(wrong, name):
                refused(answer, 400, 401, secrets=(token,))
    assert not wrong


def escaped(token: str) -> str:
    return quote(token.encode("utf-8", "surrogateescape"), safe="")


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


# ---- limits ----

FORGERIES = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP", "Via")
"""Headers in which a client says that it is somebody else."""


async def test_forged_address_counts_as_oneself(site: Servers, tmp_path: Path) -> None:
    """An address that a client claims changes nothing for it: the second stream is one too many, whatever it says, in either process."""
    limit, wrong = {"ROWCAST_CONNECTIONS_PER_ADDRESS": "1"}, dict[str, str]()
    async with process(site, tmp_path, **limit) as (one, _), process(site, tmp_path, **limit) as (two, _), opened(one, leave=False):
        for n, name in enumerate(FORGERIES):
            for value in (f"203.0.113.{n}", f"for=203.0.113.{n}", f"203.0.113.{n}, 127.0.0.1", "", "canary"):
                for each in (one, two):
                    answer = await ask(each, "/streams/bookings", bearer(hs(sub="2")), f"{name}: {value}")
                    with blaming(wrong, f"{name}: {value}"):
                        refused(answer, 429)
                        assert int(answer.headers["retry-after"]) > 0
    assert not wrong


async def test_forged_address_behind_a_proxy(site: Servers, tmp_path: Path) -> None:
    """Behind a trusted proxy what counts is the address that the proxy has seen, and not what the client wrote before it."""
    settings = {"ROWCAST_CONNECTIONS_PER_ADDRESS": "1", "ROWCAST_TRUSTED_PROXIES": "127.0.0.1"}
    async with process(site, tmp_path, **settings) as (each, _):
        async with opened(each, headers={**auth(hs()), "X-Forwarded-For": "198.51.100.1, 203.0.113.7"}, leave=False):
            for forged in ("198.51.100.2, 203.0.113.7", "203.0.113.7", "127.0.0.1, 203.0.113.7", "canary, 203.0.113.7", ",,203.0.113.7"):
                refused(await ask(each, "/streams/bookings", bearer(hs(sub="2")), f"X-Forwarded-For: {forged}"), 429)
            two = ("X-Forwarded-For: 198.51.100.9", "X-Forwarded-For: 203.0.113.7")
            refused(await ask(each, "/streams/bookings", bearer(hs(sub="2")), *two), 429)
            other = await ask(each, "/streams/bookings", bearer(hs(sub="2")), "X-Forwarded-For: 203.0.113.8")
            assert other.status == 200, other.body
        for odd in ("canary", "", "203.0.113.7:99999", "[::1", "::ffff:203.0.113.7", "1" * 5000, "203.0.113.7\x1b[31m", ", ,"):
            answer = await ask(each, "/streams", bearer(hs()), f"X-Forwarded-For: {odd}")
            assert answer.status in (200, 400), (odd, answer.raw)


async def test_own_origin_behind_a_proxy(site: Servers, tmp_path: Path) -> None:
    """Behind a proxy that speaks TLS a page without TLS is a foreign one, and who is no proxy does not say what is spoken."""
    cookie, odd = f"Cookie: {COOKIE}={hs()}", "http://127.0.0.1:{port}"
    async with process(site, tmp_path, ROWCAST_TRUSTED_PROXIES="127.0.0.1") as (each, _):
        origin = odd.format(port=each.port)
        assert (await ask(each, "/streams", cookie, f"Origin: {origin.replace('http', 'https')}", "X-Forwarded-Proto: https")).status == 200
        refused(await ask(each, "/streams", cookie, f"Origin: {origin}", "X-Forwarded-Proto: https"), 403)


async def test_forged_address_does_not_buy_attempts(site: Servers, tmp_path: Path) -> None:
    """Who guesses is stopped, counted before a token is verified, whatever address and however many users it claims."""
    async with process(site, tmp_path, ROWCAST_ATTEMPTS_PER_MINUTE="5") as (each, _):
        guesses = [hs(sub=str(n), secret="x" * 40) for n in range(12)]
        answers = [
            await ask(each, "/streams/bookings", bearer(guess), f"X-Forwarded-For: 203.0.113.{n}") for n, guess in enumerate(guesses)
        ]
        assert {answer.status for answer in answers} == {401, 429}
        refused(answers[-1], 429)
        assert int(answers[-1].headers["retry-after"]) > 0
        assert (await ask(each, "/streams/bookings", bearer(hs()))).status == 429, "a good token is no way out for who guesses"


async def test_what_is_refused_holds_no_place(site: Servers) -> None:
    """A request that is refused late, is a HEAD, or is cut off at once takes no place from the user whose token it has."""
    async with web(site, connections_per_user=1, connections_per_address=1) as each:
        await until(lambda: not each.hub.roster.subscribers)
        for method, path in (
            ("HEAD", "/streams/bookings"),
            ("GET", "/streams/bookings?nonsense=1"),
            ("GET", "/streams/bookings?status=eq."),
            ("GET", "/streams/bookings?id=gt.x"),
            ("GET", "/streams/bookings,changes"),
            ("GET", "/streams/bookings,nonsense"),
            ("GET", "/streams/bookings?format=nonsense&snapshot=1"),
        ):
            for _ in range(5):
                assert (await ask(each, path, bearer(hs(sub="4")), method=method)).status != 429
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", each.port)
            writer.write(request(each.port, "/streams/bookings?snapshot=1", bearer(hs(sub="4"))))
            await writer.drain()
            writer.transport.abort()

        async def free() -> bool:
            return (await ask(each, "/streams/bookings", bearer(hs(sub="4")))).status == 200

        await until(free)


async def test_one_user_too_many_in_two_processes(gates: Mapping[str, Web], site: Servers) -> None:
    """Streams of one user are counted in all processes together, even when they come at once."""
    async with web(site, connections_per_user=3) as one, web(site, connections_per_user=3) as two:
        streams = await asyncio.gather(
            *((one, two)[n % 2].request("/streams/bookings", {"Authorization": f"Bearer {hs(sub='5')}"}) for n in range(16))
        )
        assert sorted(stream.status for stream in streams) == [200] * 3 + [429] * 13
        for stream in streams:
            await stream.close()


@pytest.mark.parametrize(
    "since", ["abcd-7%0a%0aevent:%20bookings%0adata:%20canary", "x%0d%0aid:%20y", "a%00b", "%ff", "y" * 3000, "7" * 400]
)
async def test_hostile_id(gate: Web, site: Servers, since: str) -> None:
    """An id that is none of ours starts the stream anew, and writes no line into it, also where the only answer is `reconnect`."""
    browser = {"Accept": "text/event-stream", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"}
    for name in ("lastEventId", "last_event_id"):
        async with opened(gate, f"/streams/bookings?{name}={since}") as stream:
            assert (await stream.next()).data["status"] == "reset"
            assert (await stream.next()).name == "reset"
        async with web(site, connections_per_user=1, query_tokens=True) as each, opened(each):
            stream = await each.request(f"/streams/bookings?{name}={since}&access_token={hs()}", browser)
            assert stream.status == 200, stream.body
            first = stream.body or await stream._reader.read()
            assert b"canary" not in first
            assert b"event: reconnect" in first
            assert first.count(b"\n\n") == 1
            assert first.count(b"id: ") == 1


# ---- revoking and renewing ----

ADMIN: Mapping[str, Any] = {"sub": "13", "role": "admin"}

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


# ---- HTTP ----

Bytes = Callable[[int], bytes]


def head(*lines: str, path: str = "/streams", method: str = "GET", tail: bytes = b"") -> Bytes:
    """Writes a request's head with a good token, and what comes behind it."""
    return lambda port: request(port, path, bearer(hs()), *lines, method=method).replace(b"Content-Length: 0\r\n", b"") + tail


SMUGGLED = b"GET /streams HTTP/1.1\r\nHost: x\r\nX: "

WIRE: Mapping[str, tuple[Bytes, tuple[int, ...]]] = {
    "5,000 headers": (head(*(f"X-{n}: canary" for n in range(5000))), (431,)),
    "5,000 short headers": (head(*("a:b" for _ in range(9000))), (431,)),
    "400 kB header": (head("X: " + "canary" * 70_000), (431,)),
    "1 MB header": (head("X: " + "x" * 2**20), (431,)),
    "1 MB token": (lambda port: request(port, "/streams", bearer("A" * 2**20)), (431,)),
    "40 kB cookie": (head("Cookie: " + "a=canary; " * 4000), (431,)),
    "1 MB header's name": (head("X" * 2**20 + ": 1"), (431,)),
    "17 kB address": (head(path="/streams?x=" + "y" * 17_000), (414,)),
    "100 kB address": (head(path="/streams/" + "y" * 100_000), (414, 431)),
    "1 MB address": (head(path="/streams/" + "y" * 2**20), (414, 431)),
    "100 kB query": (head(path="/streams?" + "a=b&" * 25_000), (414, 431)),
    "two Content-Length": (head("Content-Length: 5", "Content-Length: 6", method="POST", tail=b"hello!"), (400,)),
    "two equal Content-Length": (head("Content-Length: 5", "Content-Length: 5", method="POST", tail=b"hello"), (400,)),
    "Content-Length of a list": (head("Content-Length: 5, 6", method="POST", tail=b"hello!"), (400,)),
    "Content-Length negative": (head("Content-Length: -1", method="POST"), (400,)),
    "Content-Length with a plus": (head("Content-Length: +5", method="POST", tail=b"hello"), (400,)),
    "Content-Length in hex": (head("Content-Length: 0x5", method="POST", tail=b"hello"), (400,)),
    "Content-Length huge": (head("Content-Length: " + "9" * 30, method="POST"), (400, 413)),
    "Content-Length and chunked": (
        head("Content-Length: 6", "Transfer-Encoding: chunked", method="POST", tail=b"0\r\n\r\n" + SMUGGLED),
        (400,),
    ),
    "chunked and Content-Length": (
        head("Transfer-Encoding: chunked", "Content-Length: 60", method="POST", tail=b"0\r\n\r\n" + SMUGGLED),
        (400,),
    ),
    "chunked, another spelling": (head("Transfer-Encoding: xchunked", method="POST", tail=b"0\r\n\r\n" + SMUGGLED), (400, 501)),
    "chunked before identity": (head("Transfer-Encoding: chunked, identity", method="POST", tail=b"0\r\n\r\n"), (400, 501)),
    "chunked with a blank before the colon": (head("Transfer-Encoding : chunked", method="POST", tail=b"0\r\n\r\n"), (400,)),
    "chunk of no size": (head("Transfer-Encoding: chunked", method="POST", tail=b"canary\r\n\r\n"), (400, 405)),
    "blank before the colon": (head("X-Canary : 1"), (400,)),
    "header without a colon": (head("canary"), (400,)),
    "header without a name": (head(": canary"), (400,)),
    "folded header": (head("X: 1\r\n canary: 2"), (400,)),
    "CR in a header": (head("X: 1\rX-Canary: 2"), (400,)),
    "LF in a header's name": (head("X\nCanary: 2"), (400,)),
    "NUL in a header": (head("X: 1\0canary"), (400,)),
    "NUL in a header's name": (head("X\0canary: 1"), (400,)),
    "NUL in the token": (lambda port: request(port, "/streams", bearer(hs() + "\0")), (400,)),
    "CR in the token": (lambda port: request(port, "/streams", bearer(hs() + "\rX: canary")), (400,)),
    "NUL in Last-Event-ID": (head("Last-Event-ID: abcd-\x007", path="/streams/bookings"), (400,)),
    "CR in Last-Event-ID": (head("Last-Event-ID: abcd-\r7", path="/streams/bookings"), (400,)),
    "NUL in the path": (head(path="/streams\0canary"), (400,)),
    "CR in the path": (head(path="/streams\rX-Canary:1"), (400,)),
    "blank in the path": (head(path="/streams canary"), (400,)),
    "NUL in the query": (head(path="/streams?a=\0canary"), (400,)),
    "an unknown version": (lambda port: b"GET /streams HTTP/9.9\r\nHost: x\r\n\r\n", (400, 505)),
    "no version": (lambda port: b"GET /streams\r\n\r\n", (400, 401, 505)),
    "an unknown method": (lambda port: b"CANARY /streams HTTP/1.1\r\nHost: x\r\n\r\n", (400, 401, 405, 501)),
    "CONNECT": (lambda port: b"CONNECT canary.example:443 HTTP/1.1\r\nHost: canary.example\r\n\r\n", (400, 401, 404, 405)),
    "TRACE": (head(method="TRACE"), (400, 405)),
    "a TLS greeting": (lambda port: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300, (400,)),
    "HTTP/2's greeting": (lambda port: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    "only line ends": (lambda port: b"\r\n" * 100 + b"canary\r\n\r\n", (400,)),
    "noise": (lambda port: bytes(range(256)) * 20 + b"\r\n\r\n", (400,)),
    "absolute form": (head(path="http://canary.example/admin/revocations"), (400, 404, 405, 421)),
    "absolute form of another scheme": (head(path="file:///etc/passwd"), (400, 404, 421)),
    "asterisk": (head(path="*"), (400, 404)),
    "up to admin": (head(path="/streams/../admin/revocations"), (400, 404, 405)),
    "up to admin, escaped": (head(path="/streams/..%2fadmin"), (404,)),
    "up to admin, escaped, deeper": (head(path="/streams/..%2fadmin%2frevocations"), (404,)),
    "up to admin, twice escaped": (head(path="/streams/%252e%252e%252fadmin"), (404,)),
    "up to a file": (head(path="/streams/..%2f..%2f..%2fetc%2fpasswd"), (404,)),
    "backslashes": (head(path="/streams/..%5cadmin"), (404,)),
    "%00": (head(path="/streams/%00"), (404,)),
    "%00 behind a stream": (head(path="/streams/bookings%00"), (404,)),
    "line break behind a stream": (head(path="/streams/bookings%0d%0aX-Canary:1"), (404,)),
    "not UTF-8": (head(path="/streams/%ff%fe"), (404,)),
    "slash behind a stream": (head(path="/streams/bookings/"), (307, 404)),
    "two slashes": (head(path="//canary.example/streams"), (404,)),
    "comma bomb": (head(path="/streams/" + "," * 8000), (400, 404)),
    "many streams": (head(path="/streams/" + ",".join(f"s-{n}" for n in range(1000))), (400,)),
    "many parameters": (head(path="/streams/bookings?" + "&".join(f"a{n}=b" for n in range(2000))), (400,)),
    "parameter of NUL": (head(path="/streams/bookings?status=eq.%00"), (400,)),
    "parameter of SQL": (head(path="/streams/bookings?id=eq.1;drop%20table%20bookings"), (400,)),
    "range of everything": (head("Range: bytes=0-,0-,0-", path="/streams/canary-none"), (404,)),
    "upgrade": (head("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", path="/streams/none"), (400, 404, 426)),
    "method override": (head("X-HTTP-Method-Override: POST", path="/admin/revocations"), (404, 405)),
    "rewritten path": (head("X-Original-URL: /admin", "X-Rewrite-URL: /admin", path="/streams/none"), (404,)),
}
"""What no browser sends, and what the one answer to it may be. Of an unparsable request only the status counts."""

UNPARSED = (400, 501, 505)


@pytest.mark.parametrize("name", WIRE)
async def test_hostile_bytes(gate: Web, name: str) -> None:
    """What is no request, or too much of one, gets one answer and no stream; the next client is served as before."""
    make, statuses = WIRE[name]
    data = make(gate.port)
    answer = await exchange(gate.port, data)
    assert answer.status in statuses, (answer.raw, answer.body)
    assert b"\r\nX-Canary" not in answer.raw
    assert "etc/passwd" not in answer.headers.get("location", "")
    if answer.status not in UNPARSED and answer.status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert not [word for word in told(answer) if word.lower() != "canary"]
    assert (await ask(gate, "/streams", bearer(hs()))).status == 200
    assert not gate.hub.roster.subscribers


async def test_smuggled_request(gate: Web) -> None:
    """A request inside another's body is nobody's: a body that can be read in two ways ends the connection."""
    inner = f"GET /streams HTTP/1.1\r\nHost: x\r\n{bearer(hs())}\r\n\r\n"
    for lines in (
        (f"Content-Length: {len(inner) + 5}", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", f"Content-Length: {len(inner) + 5}"),
        ("Transfer-Encoding: identity, chunked", f"Content-Length: {len(inner) + 5}"),
        ("Content-Length: 5", f"Content-Length: {len(inner) + 5}"),
        ("Transfer-Encoding:\tchunked", f"Content-Length: {len(inner) + 5}"),
        ("Transfer-Encoding: \x0bchunked", f"Content-Length: {len(inner) + 5}"),
    ):
        outer = "\r\n".join(("POST /auth/session HTTP/1.1", f"Host: 127.0.0.1:{gate.port}", bearer(hs()), *lines))
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(f"{outer}\r\n\r\n0\r\n\r\n{inner}".encode())
        writer.write_eof()
        async with asyncio.timeout(60):
            everything = await reader.read()
        writer.close()
        assert b'"streams"' not in everything, (lines, everything)
        assert everything.count(b"HTTP/1.1 ") <= 1, (lines, everything)


HALVES: Mapping[str, tuple[bytes, bytes]] = {
    "nothing": (b"", b""),
    "half a line": (b"GET /stre", b""),
    "a head without end": (b"GET /streams HTTP/1.1\r\nHost: x\r\n", b""),
    "a letter at a time": (b"GET /streams HTTP/1.1\r\nHost: x\r\nX: ", b"x"),
    "a header at a time": (b"GET /streams HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n"),
    "line ends at a time": (b"", b"\r\n"),
    "half a body": (b"POST /admin/revocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 500\r\n\r\n{", b""),
    "a body at a time": (b"POST /admin/revocations HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: 500\r\n\r\n{", b" "),
}
"""What comes at first, and then twice a second."""


async def test_half_sent_requests_are_gone(gate: Web) -> None:
    """Whoever does not finish a request is cut off, also who goes on sending a little, and keeps no connection."""

    async def waited(first: bytes, then: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
        writer.write(first.replace(b"%s", hs(None, **ADMIN).encode()))
        closing = asyncio.create_task(reader.read())
        try:
            with contextlib.suppress(ConnectionError):
                while not (await asyncio.wait({closing}, timeout=0.5))[0]:
                    writer.write(then)
                await closing
        finally:
            closing.cancel()
            writer.close()

    attempts = {name: asyncio.create_task(waited(*half)) for name, half in HALVES.items()}
    await asyncio.wait(attempts.values(), timeout=60)
    left = [name for name, attempt in attempts.items() if not attempt.done()]
    for attempt in attempts.values():
        attempt.cancel()
    assert not left


# ---- legitimate carriers ----


async def test_each_legitimate_carrier_opens_a_stream(gate: Web) -> None:
    """Bearer, cookie, ticket and a ticket's reconnect open a stream: the refusals are not refusals of everything."""
    own = f"http://127.0.0.1:{gate.port}"
    session = await ask(gate, "/auth/session", bearer(hs()), f"Origin: {APP}", method="POST")
    cookie = session.headers["set-cookie"].split(";")[0]
    assert cookie.startswith(f"{COOKIE}=")
    path = f"/streams/bookings?ticket={await issue(gate)}"
    for address, headers in (
        ("/streams/bookings", {"Authorization": f"Bearer {hs()}"}),
        ("/streams/bookings", {"Authorization": f"bearer {hs()}"}),
        ("/streams/bookings", {"Authorization": f"Bearer {hs()}", "Cookie": f"{COOKIE}={hs()}", "Origin": APP}),
        ("/streams/bookings", {"Cookie": cookie, "Origin": APP}),
        ("/streams/bookings", {"Cookie": f"a=b; {cookie}; c=d", "Origin": own}),
        (path, {"Origin": APP}),
    ):
        async with opened(gate, address, headers) as stream:
            assert (await stream.next()).name == "ready"
            again = stream.headers.get("set-cookie", "").split(";")[0]
    for _ in range(3):
        async with opened(gate, path, {"Origin": APP, "Cookie": again}) as stream:
            assert (await stream.next()).name == "ready"
            again = stream.headers.get("set-cookie", again).split(";")[0]
    refused(await ask(gate, path, f"Origin: {APP}"), 401)


# ---- what it costs ----


async def call(web: Web, token: str) -> int:
    """Calls the application as a server does, and returns the status: no socket, no parser, and so nothing but the refusal."""
    header = f"Bearer {token}".encode("utf-8", "surrogateescape")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/streams",
        "raw_path": b"/streams",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", header)],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", web.port),
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await web.app(scope, receive, send)
    return statuses[0]


async def cost(web: Web, token: str, times: int) -> float:
    """Returns the median of what a call costs, in seconds of this process."""
    spent = []
    for _ in range(times):
        begun = time.process_time()
        await call(web, token)
        spent.append(time.process_time() - begun)
    return statistics.median(spent)


@pytest.mark.long
async def test_no_token_is_slower_than_a_good_one(gates: Mapping[str, Web]) -> None:
    """No hostile token costs five times what a good one does: nobody is held up by refusals more than by service."""
    slow: dict[str, float] = {}
    for name, (gate, make) in TOKENS.items():
        good, bad = GOOD[gate](), make()
        assert await call(gates[gate], good) == 200
        assert await call(gates[gate], bad) < 500, name
        # The best of several rounds: noise of the machine only ever adds.
        ratios = [await cost(gates[gate], bad, 40) / await cost(gates[gate], good, 40) for _ in range(5)]
        if min(ratios) > 5:
            slow[name] = min(ratios)
    assert not slow


async def traces(gates: Mapping[str, Web], site: Servers) -> dict[str, object]:
    """Counts what a request could leave behind."""
    lines = (await ask(gates["secret"], "/metrics")).body.decode().splitlines()
    return {
        "tasks": len(asyncio.all_tasks()),
        "files": len(os.listdir("/proc/self/fd")),
        "keys": await keys(site),
        "subscribers": sum(len(each.hub.roster.subscribers) for each in gates.values()),
        "series": sorted(line.rpartition(" ")[0] for line in lines if not line.startswith("#") and "rowcast_" in line),
    }


async def calm(gates: Mapping[str, Web], site: Servers, expected: Mapping[str, object] | None = None) -> dict[str, object]:
    """Returns the counts when they are as expected, or stay the same for a while; or as they are after half a minute."""
    seen, same = await traces(gates, site), 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            while seen != expected and (expected is not None or same < 20):
                await asyncio.sleep(0.05)
                again = await traces(gates, site)
                seen, same = again, same + 1 if again == seen else 0
    return seen


async def test_nothing_is_left_behind(gates: Mapping[str, Web], site: Servers) -> None:
    """After the tables have been sent many times there are as many tasks, connections, streams, series and keys as before."""

    async def everything() -> None:
        await asyncio.gather(
            *(ask(gates[gate], "/streams/bookings", bearer(make())) for gate, make in hostile),
            *(exchange(gates["secret"].port, make(gates["secret"].port)) for make, _ in WIRE.values()),
            *(ask(gates["secret"], "/streams/bookings", *make()) for make, _ in CARRIERS.values()),
        )

    hostile = list(TOKENS.values())
    await everything()
    await until(lambda: not any(each.hub.roster.subscribers for each in gates.values()))
    before = await calm(gates, site)
    for _ in range(8):
        await everything()
    after = await calm(gates, site, before)
    assert after == before


# ---- keys that are fetched ----


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
