"""Published keys are fetched, replaced and asked for rarely; what was known stays known meanwhile."""

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from auth.jwks import Jwks, JwksUnavailable, UnknownKey
from tests.auth.jwks.issuer import CLAIMS, FAMILY, Clock, Endpoint, jwk, known, opens, token
from tests.auth.pem import forge


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
