"""Keys and tokens made for a test, also such as no honest issuer makes."""

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey


@cache
def private_key(kind: str) -> PrivateKey:
    """Makes a key once a run: rsa, weak-rsa, p256, p384 or ed25519."""
    if kind == "ed25519":
        return Ed25519PrivateKey.generate()
    if kind in ("rsa", "weak-rsa"):
        return generate_rsa(65537, 2048 if kind == "rsa" else 1024)
    return generate_private_key(SECP256R1() if kind == "p256" else SECP384R1())


def public_pem(kind: str) -> str:
    """Returns the public half as PEM."""
    return private_key(kind).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def part(value: Any) -> str:
    """Encodes one part of a token: bytes as they are, anything else as JSON."""
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forge(header: Any, claims: Any, secret: bytes = b"") -> str:
    """Puts a token together by hand, signed with HMAC-SHA256, whatever its header says."""
    signed = f"{part(header)}.{part(claims)}"
    return f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"
