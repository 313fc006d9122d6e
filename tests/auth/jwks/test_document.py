"""Of a document only keys that can verify are taken, and what is skipped is told once, without its secrets."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from auth.jwks import Jwks, JwksUnavailable
from tests.auth.jwks.issuer import FORMAT, Clock, Endpoint, jwk, known, refused, token
from tests.auth.pem import part, private_key


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
