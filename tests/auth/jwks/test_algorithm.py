"""The algorithms come from the key and the settings, never from the token."""

import json
from typing import Any

import jwt
import pytest

from auth.jwks import Jwks, UnknownKey
from auth.key import KeyConfigError
from tests.auth.jwks.issuer import CLAIMS, FAMILY, Endpoint, jwk, known, opens, token
from tests.auth.pem import forge, part, private_key, public_pem


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
