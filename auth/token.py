"""A token is verified, or signed for a trial: JWT as in RFC 7519, verified as RFC 8725 advises.

- The algorithms come from the key, never from the token.
- `exp` and `sub` are required; times are plain integers in this century, so that milliseconds or 1e308 never mean "for ever".
- A token that lives too long is refused: revocations are kept for as long as a token may live, and no longer.
- No part of a token appears in an error.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jwt
import orjson
from jwt.algorithms import HMACAlgorithm

from auth.jwks import Jwks
from auth.key import Key
from auth.principal import Principal

ROLES = frozenset({"customer", "provider", "admin"})
LEEWAY_SECONDS = 10
MAX_LIFETIME_SECONDS = 7 * 86_400
_TYPES = frozenset({"JWT", "AT+JWT"})
"""What `typ` may say, if it says anything: another kind of token of the same issuer is none for us (RFC 8725 §3.11)."""
_MAX_BYTES = 8192
_LATEST = 4_102_444_800  # 2100-01-01: what lies behind it was meant in milliseconds
_MAX_SUBJECT = 128
_COMPACT = re.compile(r"[\w-]+\.[\w-]*\.[\w-]*", re.ASCII)
"""RFC 7515 §7.1: a token has one text, so no padding."""


class TokenError(Exception):
    """The token is not valid."""


class TokenMissing(TokenError):
    """There is no token."""


class TokenExpired(TokenError):
    """The token has expired."""


class _OnceChecked(HMACAlgorithm):
    """PyJWT's HMAC, which looks at a secret once and not with each token: whether it is a key in PEM, DER, SSH or JSON after all.

    That was 45 of the 160 µs that a token took when thousands came at a time.
    """

    @lru_cache(maxsize=4)  # noqa: B019 - as many instances as hashes, for as long as the process
    def prepare_key(self, key: str | bytes) -> bytes:
        return super().prepare_key(key)


for _name, _hash in (("HS256", HMACAlgorithm.SHA256), ("HS384", HMACAlgorithm.SHA384), ("HS512", HMACAlgorithm.SHA512)):
    jwt.unregister_algorithm(_name)
    jwt.register_algorithm(_name, _OnceChecked(_hash))


@dataclass(frozen=True)
class Verifier:
    """Turns a token into a principal. `issuer` and `audience` are checked where given."""

    keys: Key | Jwks
    issuer: str | None = None
    audience: str | None = None
    max_lifetime_seconds: float = MAX_LIFETIME_SECONDS

    def verify(self, token: str, keep_claims: bool = False) -> Principal:
        """Returns whom the token speaks for, perhaps with its claims. Raises TokenError with a reason that is safe to show.

        With fetched keys it raises UnknownKey where fetching them again may help.
        """
        if len(token) > _MAX_BYTES:
            raise TokenError("the token is too large")
        if _COMPACT.fullmatch(token) is None:
            raise TokenError("the token is malformed")
        try:
            key = self.keys if isinstance(self.keys, Key) else self.keys.find(token)
            decoded = jwt.decode_complete(
                token,
                key.verifier,
                algorithms=list(key.algorithms),
                issuer=self.issuer,
                audience=self.audience,
                leeway=LEEWAY_SECONDS,
                options={
                    "require": ["exp", "sub"],
                    "verify_sub": False,
                    "verify_aud": self.audience is not None,
                    "enforce_minimum_key_length": True,
                },
            )
        except jwt.ExpiredSignatureError as error:
            raise TokenExpired from error
        except jwt.MissingRequiredClaimError as error:
            raise TokenError(f"the token has no {error.claim}") from error
        except jwt.InvalidAlgorithmError as error:
            raise TokenError("the token's algorithm is not accepted") from error
        except jwt.InvalidIssuerError as error:
            raise TokenError("the token is from another issuer") from error
        except jwt.InvalidAudienceError as error:
            raise TokenError("the token is for another audience") from error
        except jwt.InvalidSignatureError as error:
            raise TokenError("the token's signature is wrong") from error
        except jwt.ImmatureSignatureError as error:
            raise TokenError("the token is not valid yet") from error
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise TokenError("the token is malformed") from error
        claims = decoded["payload"]
        if str(decoded["header"].get("typ", "JWT")).upper() not in _TYPES:
            raise TokenError("the token is of another type")
        principal = principal_of(claims, keep_claims)
        since = principal.issued_at or time.time()
        if principal.expires_at - since > self.max_lifetime_seconds + LEEWAY_SECONDS:
            raise TokenError(f"the token lives longer than {self.max_lifetime_seconds:.0f} seconds")
        return replace(principal, key=key.fingerprint) if keep_claims else principal

    def knows(self, fingerprint: str) -> bool:
        """Says whether a key is still one that tokens are verified with."""
        return self.keys.fingerprint == fingerprint if isinstance(self.keys, Key) else self.keys.knows(fingerprint)


def sign(key: Key, claims: Mapping[str, Any]) -> str:
    """Signs claims with a shared secret. Raises TokenError where the key can only verify, or no verifier would take the claims."""
    if key.secret is None:
        raise TokenError("only a public key is configured, so tokens can be verified but not signed here")
    principal_of(claims)
    return jwt.encode(dict(claims), key.secret, algorithm=key.algorithms[0])


def principal_of(claims: Mapping[str, Any], keep_claims: bool = False) -> Principal:
    """Returns whom verified claims speak for. Raises TokenError for claims that make no sense."""
    for name in ("exp", "nbf", "iat"):
        value = claims.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
            raise TokenError(f"the token's {name} is not a time in seconds")
    subject = _identity(claims["sub"], "sub")
    return Principal(
        subject=subject,
        roles=_roles(claims),
        provider_id=_identity(claims["provider_id"], "provider_id") if "provider_id" in claims else subject,
        expires_at=float(claims["exp"]),
        claims=_text(claims) if keep_claims else "",
        token_id=_identity(claims["jti"], "jti", blanks=True) if "jti" in claims else "",
        issued_at=float(claims.get("iat", 0)),
    )


def _text(claims: Mapping[str, Any]) -> str:
    try:
        return orjson.dumps(claims).decode()
    except TypeError as error:
        # Half a character, or a number that no JSON has: nobody whom they are told could read them.
        raise TokenError("the token's claims cannot be passed on") from error


def _identity(value: object, name: str, blanks: bool = False) -> str:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_SUBJECT or not text.isprintable() or (" " in text and not blanks):
        raise TokenError(f"the token's {name} is not an identifier")
    return text


def _roles(claims: Mapping[str, Any]) -> frozenset[str]:
    given = claims["roles"] if "roles" in claims else claims.get("role", [])
    roles = [given] if isinstance(given, str) else given
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise TokenError("the token's roles are neither a name nor a list of names")
    return frozenset(roles) & ROLES
