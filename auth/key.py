"""The key that tokens are verified with, and the algorithms that go with it.

- One family per key: a public key never verifies an HMAC, whatever the token's header says (algorithm confusion, RFC 8725 §3.1).
"""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

_HMAC = {"HS256": 32, "HS384": 48, "HS512": 64}
"""Each hash, and the bytes that its secret needs (RFC 7518 §3.2)."""
_SECRET_BYTES = 32


class KeyConfigError(Exception):
    """The configured key cannot be used."""


@dataclass(frozen=True)
class Key:
    """A verification key with its algorithms; `secret` only where tokens can be signed with it too."""

    verifier: str | RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey = field(repr=False)
    algorithms: tuple[str, ...]

    @cached_property
    def fingerprint(self) -> str:
        """Names the key and tells nothing of it: what was let in by it goes with it."""
        if isinstance(self.verifier, str):
            return hashlib.sha256(b"rowcast " + self.verifier.encode()).hexdigest()[:16]
        return hashlib.sha256(self.verifier.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()[:16]

    @property
    def secret(self) -> str | None:
        return self.verifier if isinstance(self.verifier, str) else None


def shared_secret(secret: str, allowed: tuple[str, ...] = ()) -> Key:
    """Makes a key of a shared secret for HS256, and from 48 and 64 bytes on for HS384 and HS512.

    Raises KeyConfigError if it is shorter than 32 bytes, or no secret at all but a key in PEM.
    """
    if "-----BEGIN " in secret:
        raise KeyConfigError("ROWCAST_JWT_SECRET is a key in PEM: a public one belongs into ROWCAST_JWT_PUBLIC_KEY")
    if len(secret.encode()) < _SECRET_BYTES:
        raise KeyConfigError(f"ROWCAST_JWT_SECRET is shorter than {_SECRET_BYTES} bytes: make one with `openssl rand -base64 48`")
    family = tuple(name for name, size in _HMAC.items() if len(secret.encode()) >= size)
    return Key(secret, _narrow(family, allowed, f"a shared secret of {len(secret.encode())} bytes"))


def public_key(pem: str, allowed: tuple[str, ...] = ()) -> Key:
    """Makes a key of a PEM public key: RSA (RS256), P-256 (ES256) or Ed25519 (EdDSA). Raises KeyConfigError for anything else."""
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyConfigError("ROWCAST_JWT_PUBLIC_KEY is not a public key in PEM") from error
    match key:
        case RSAPublicKey() if key.key_size >= 2048:
            return Key(key, _narrow(("RS256",), allowed, "an RSA key"))
        case EllipticCurvePublicKey() if isinstance(key.curve, SECP256R1):
            return Key(key, _narrow(("ES256",), allowed, "a P-256 key"))
        case Ed25519PublicKey():
            return Key(key, _narrow(("EdDSA",), allowed, "an Ed25519 key"))
    raise KeyConfigError("ROWCAST_JWT_PUBLIC_KEY must be RSA of at least 2048 bits, P-256 or Ed25519")


def _narrow(family: tuple[str, ...], allowed: tuple[str, ...], what: str) -> tuple[str, ...]:
    if foreign := set(allowed) - set(family):
        raise KeyConfigError(
            f"ROWCAST_JWT_ALGORITHMS: {', '.join(sorted(foreign))} cannot be verified with {what}, only {', '.join(family)}"
        )
    return allowed or family
