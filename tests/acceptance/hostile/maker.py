"""Makers of claims and of tokens: as an honest issuer signs them, and as nobody should."""

import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from jwt.algorithms import RSAAlgorithm

from tests.auth.pem import forge, part, private_key, public_pem
from tests.support.gateway import SECRET

FAMILY = {"rsa": "RS256", "p256": "ES256", "ed25519": "EdDSA"}
NAN, INFINITY = float("nan"), float("inf")

ADMIN: Mapping[str, Any] = {"sub": "13", "role": "admin"}

Make = Callable[[], str]


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


def unencoded(given: Mapping[str, Any]) -> str:
    """Signs a payload that stands in the token as it is (RFC 7797)."""
    text = f"{part({'alg': 'HS256', 'b64': False, 'crit': ['b64']})}.{json.dumps(given, separators=(',', ':'))}"
    return f"{text}.{part(hmac.digest(SECRET.encode(), text.encode(), 'sha256'))}"


OWN_KEY = {"kty": "oct", "k": part(b"canary" * 8)}
"""A key that the attacker brings along, and signs with."""
