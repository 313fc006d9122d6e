"""Keys: one family of algorithms each, and none that is weak."""

import pytest

from auth.key import KeyConfigError, public_key, shared_secret
from tests.auth.pem import private_key, public_pem

SECRET = "s" * 64
FAMILY = {"rsa": "RS256", "p256": "ES256", "ed25519": "EdDSA"}


def test_shared_secret_has_the_hmac_family() -> None:
    """A shared secret verifies HS256, HS384 and HS512, and can sign."""
    key = shared_secret(SECRET)
    assert key.algorithms == ("HS256", "HS384", "HS512")
    assert key.secret == SECRET


@pytest.mark.parametrize("secret", ["", "s", "s" * 31, "ü" * 15])
def test_short_secret_is_refused(secret: str) -> None:
    """A secret of fewer than 32 bytes is refused, and the error names the setting and not the secret."""
    with pytest.raises(KeyConfigError, match="ROWCAST_JWT_SECRET") as refused:
        shared_secret(secret)
    assert not secret or secret not in str(refused.value).split()


def test_secret_is_measured_in_bytes() -> None:
    """Sixteen characters of two bytes each are 32 bytes."""
    assert shared_secret("ü" * 16).secret == "ü" * 16


@pytest.mark.parametrize(("length", "algorithms"), [(32, ["HS256"]), (48, ["HS256", "HS384"]), (64, ["HS256", "HS384", "HS512"])])
def test_secret_serves_only_hashes_of_its_size(length: int, algorithms: list[str]) -> None:
    """A secret goes with the algorithms whose hash is not longer than itself (RFC 7518 §3.2)."""
    assert list(shared_secret("s" * length).algorithms) == algorithms


def test_public_key_as_shared_secret_is_refused() -> None:
    """A PEM public key in the place of the secret is refused at the start, not at the first request."""
    with pytest.raises(KeyConfigError, match="ROWCAST_JWT_SECRET"):
        shared_secret(public_pem("rsa"))


@pytest.mark.parametrize(("kind", "algorithm"), FAMILY.items())
def test_public_key_has_one_algorithm(kind: str, algorithm: str) -> None:
    """A public key verifies the one algorithm of its kind, and cannot sign."""
    key = public_key(public_pem(kind))
    assert key.algorithms == (algorithm,)
    assert key.secret is None


@pytest.mark.parametrize("kind", ["weak-rsa", "p384"])
def test_unfit_public_key_is_refused(kind: str) -> None:
    """RSA below 2048 bits and other curves are refused, naming the setting."""
    with pytest.raises(KeyConfigError, match="ROWCAST_JWT_PUBLIC_KEY"):
        public_key(public_pem(kind))


@pytest.mark.parametrize("text", ["", "not a key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", SECRET, "\x00", "ü"])
def test_text_that_is_no_key_is_refused(text: str) -> None:
    """Whatever is not a public key in PEM is refused, naming the setting."""
    with pytest.raises(KeyConfigError, match="ROWCAST_JWT_PUBLIC_KEY"):
        public_key(text)


def test_private_key_is_refused() -> None:
    """A private key where a public one belongs is refused, and does not appear in the error."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = private_key("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(KeyConfigError, match="ROWCAST_JWT_PUBLIC_KEY") as refused:
        public_key(pem)
    assert pem.splitlines()[1] not in str(refused.value)


def test_algorithms_can_be_narrowed() -> None:
    """ROWCAST_JWT_ALGORITHMS takes algorithms of the key's family away."""
    assert shared_secret(SECRET, ("HS512",)).algorithms == ("HS512",)
    assert public_key(public_pem("rsa"), ("RS256",)).algorithms == ("RS256",)


@pytest.mark.parametrize("foreign", ["RS256", "ES256", "none", "hs256", "HS1"])
def test_algorithms_cannot_be_widened(foreign: str) -> None:
    """An algorithm of another family is refused, naming it and the setting."""
    with pytest.raises(KeyConfigError, match=f"ROWCAST_JWT_ALGORITHMS.*{foreign}"):
        shared_secret(SECRET, ("HS256", foreign))
    with pytest.raises(KeyConfigError, match=r"ROWCAST_JWT_ALGORITHMS.*HS256"):
        public_key(public_pem("rsa"), ("RS256", "HS256"))
