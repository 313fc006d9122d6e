"""The public keys that an issuer publishes and rotates, fetched from its JWKS URL (RFC 7517).

- Keys come from the configured URL alone: no header of a token (`jku`, `jwk`, `x5u`) brings a key or an address.
- A known key serves until another answer of the endpoint replaces it: whatever goes wrong there, the old keys stay.
- However many tokens name an unknown key, the endpoint is asked once in ten seconds, and one at a time.
- One algorithm per key, from its family: a published key never verifies an HMAC, and no secret or private key is taken from a document.
"""

import asyncio
import contextlib
import ipaddress
import json
import math
import time
from typing import Any

import httpx2
import jwt
import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from auth.key import Key, KeyConfigError

_FRESH_SECONDS = 300
_COOLDOWN_SECONDS = 10
_PATIENCE_SECONDS = 5
_MAX_BYTES = 262_144
_MAX_KEYS = 64
_MAX_KID = 256
_FAMILIES = ("RS256", "ES256", "EdDSA")
_PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
"""What RFC 7518 §6 writes private keys and secrets with."""

log = structlog.get_logger()


class JwksUnavailable(Exception):
    """No key is known, and the endpoint does not answer."""


class UnknownKey(Exception):
    """The token names a key that is not known (yet)."""


class _Unfit(Exception):
    """A key or a document cannot be used; the reason is safe to log."""


class Jwks:
    """The keys of one URL: `find` looks among those that are known, `refresh` fetches them."""

    def __init__(self, url: str, allowed: tuple[str, ...] = ()) -> None:
        """Fetches nothing yet. `allowed` narrows the algorithms.

        Raises KeyConfigError for a URL that is not https, or http to this machine, and for algorithms that no such key has.
        """
        if foreign := set(allowed) - set(_FAMILIES):
            raise KeyConfigError(
                f"ROWCAST_JWT_ALGORITHMS: {', '.join(sorted(foreign))} cannot be verified with a JWKS, only {', '.join(_FAMILIES)}"
            )
        self._url = _address(url)
        self._allowed = allowed or _FAMILIES
        # The environment's proxy may carry TLS; what is in clear stays on this machine. No connection waits minutes for the next fetch.
        self._client = httpx2.AsyncClient(
            follow_redirects=False,
            timeout=None,  # _get has one for all of it
            trust_env=self._url.scheme == "https",
            limits=httpx2.Limits(max_keepalive_connections=0),
        )
        self._keys: dict[str | None, Key] = {}
        self._refused: list[tuple[str | None, str]] = []
        self._fetched_at = -math.inf
        self._asked_at = -math.inf
        self._fetching: asyncio.Task[None] | None = None

    def find(self, token: str) -> Key:
        """Returns the key that the token's header names, or the only one that can be meant where it names none.

        Raises UnknownKey if a refresh may help, and ValueError, with a reason that is safe to show, if none will. Nothing is verified.
        """
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            raise ValueError("the token is malformed") from error
        kid = header.get("kid")
        if not self._keys or (kid is not None and kid not in self._keys):
            raise UnknownKey
        if kid is not None:
            return self._keys[kid]
        fitting = [key for key in self._keys.values() if header.get("alg") in key.algorithms]
        if len(fitting) != 1:
            raise ValueError("the token does not say which key it is signed with")
        return fitting[0]

    def knows(self, fingerprint: str) -> bool:
        """Says whether a key is among those that are known."""
        return any(key.fingerprint == fingerprint for key in self._keys.values())

    @property
    def stale(self) -> bool:
        """Whether the keys are older than five minutes, or there are none, so that it is time to refresh; known ones serve meanwhile."""
        return time.monotonic() - self._fetched_at > _FRESH_SECONDS

    async def refresh(self) -> None:
        """Fetches the keys, waits for the fetch that is under way, or does nothing if the last one began less than ten seconds ago.

        Raises JwksUnavailable if no key is known after that.
        """
        if self._fetching is None and time.monotonic() - self._asked_at >= _COOLDOWN_SECONDS:
            self._asked_at = time.monotonic()
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        if self._fetching is not None:
            # Waited for, not awaited: who asked first may leave, and takes the fetch from nobody.
            await asyncio.wait({self._fetching})
        if not self._keys:
            raise JwksUnavailable

    async def close(self) -> None:
        """Ends the fetch that is under way, if any, and the connection."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait({self._fetching})
        await self._client.aclose()

    def _fetched(self, fetching: asyncio.Task[None]) -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        try:
            self._keys = self._read(await self._get())
        except Exception as error:
            # Only our own reasons are shown: others' may quote the URL or a key.
            reason = str(error) if isinstance(error, _Unfit) else type(error).__name__
            log.warning(
                "the JWKS cannot be fetched, known keys stay", url=str(self._url.copy_with(query=None, fragment=None)), error=reason
            )
        else:
            self._fetched_at = time.monotonic()

    async def _get(self) -> bytes:
        async with asyncio.timeout(_PATIENCE_SECONDS), self._client.stream("GET", self._url) as response:
            if response.status_code != 200:
                raise _Unfit(f"status {response.status_code}")
            body = bytearray()
            async with contextlib.aclosing(response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    body += chunk
                    if len(body) > _MAX_BYTES:
                        raise _Unfit(f"more than {_MAX_BYTES} bytes")
            return bytes(body)

    def _read(self, body: bytes) -> dict[str | None, Key]:
        """Returns the usable keys of a document. Raises _Unfit if there is none; says of each other one, once, why it is skipped."""
        document = json.loads(body)
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise _Unfit("not a JWKS")
        if len(entries) > _MAX_KEYS:
            raise _Unfit(f"more than {_MAX_KEYS} keys")
        keys: dict[str | None, Key] = {}
        refused: list[tuple[str | None, str]] = []
        for jwk in entries:
            kid = None
            try:
                kid = _kid(jwk, len(entries) == 1)
                key = _key(jwk, self._allowed)
                if kid in keys:
                    raise _Unfit("another key has its kid")
                keys[kid] = key
            except _Unfit as unfit:
                refused.append((kid, str(unfit)))
        for kid, reason in refused:
            # Many issuers publish keys for encryption too, for ever.
            if (kid, reason) not in self._refused:
                log.warning("a key of the JWKS is skipped", kid=kid, reason=reason)
        self._refused = refused
        if not keys:
            raise _Unfit("no usable key")
        return keys


def _address(url: str) -> httpx2.URL:
    # Neither the URL nor the parser's text, which quotes it, is shown: there may be a password in it.
    try:
        address = httpx2.URL(url)
    except httpx2.InvalidURL:
        raise KeyConfigError("ROWCAST_JWKS_URL is not a URL") from None
    host = address.raw_host.decode()
    port = 443 if address.port is None else address.port
    if not host or address.scheme not in ("http", "https") or not 0 < port < 65536:
        raise KeyConfigError("ROWCAST_JWKS_URL must be an https URL")
    if address.userinfo:
        raise KeyConfigError("ROWCAST_JWKS_URL must not have a user or password in it")
    if address.scheme == "http" and not _loopback(host):
        raise KeyConfigError("ROWCAST_JWKS_URL must be https: who can change the answer on its way signs tokens for everybody")
    return address


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _kid(jwk: Any, alone: bool) -> str | None:
    if not isinstance(jwk, dict):
        raise _Unfit("it is no object")
    kid = jwk.get("kid")
    if "kid" not in jwk and alone:
        return None
    if not isinstance(kid, str) or not 0 < len(kid) <= _MAX_KID:
        raise _Unfit("its kid is missing, or no text of a sane length")
    return kid


def _key(jwk: dict[str, Any], allowed: tuple[str, ...]) -> Key:
    """Makes a key of a public JWK: RSA of 2048 bits or more, P-256 or Ed25519. Raises _Unfit for anything else."""
    match jwk.get("kty"), jwk.get("crv"):
        case "RSA", _:
            algorithm = "RS256"
        case "EC", "P-256":
            algorithm = "ES256"
        case "OKP", "Ed25519":
            algorithm = "EdDSA"
        case "oct", _:
            raise _Unfit("it is a shared secret, and public")
        case _:
            raise _Unfit("it is neither RSA, P-256 nor Ed25519")
    if not _PRIVATE.isdisjoint(jwk):
        raise _Unfit("it is a private key, and public")
    operations = jwk.get("key_ops", ["verify"])
    if jwk.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        raise _Unfit("it is not for signatures")
    if jwk.get("alg", algorithm) != algorithm:
        raise _Unfit(f"its alg is not {algorithm}")
    if algorithm not in allowed:
        raise _Unfit(f"{algorithm} is not allowed")
    try:
        verifier = jwt.PyJWK(jwk, algorithm).key
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise _Unfit("it cannot be read") from error
    if isinstance(verifier, RSAPublicKey) and verifier.key_size < 2048:
        raise _Unfit("it is RSA of less than 2048 bits")
    return Key(verifier, (algorithm,))
