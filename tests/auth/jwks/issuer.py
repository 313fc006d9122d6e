"""An issuer that publishes keys, from an endpoint that may do anything; and tokens that it signs."""

import asyncio
import json
import ssl
from typing import Any, cast

import jwt
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from structlog.testing import capture_logs

from auth.jwks import Jwks, UnknownKey
from auth.key import Key
from tests.auth.pem import private_key

FAMILY = {"rsa": "RS256", "p256": "ES256", "ed25519": "EdDSA"}
FORMAT: dict[str, Any] = {"rsa": RSAAlgorithm, "weak-rsa": RSAAlgorithm, "p256": ECAlgorithm, "p384": ECAlgorithm, "ed25519": OKPAlgorithm}
CLAIMS = {"sub": "canary-subject", "exp": 2_000_000_000}
LIMIT = 262_144


class Endpoint:
    """An HTTP server on a free port that answers what the test sets, as soon as it may, and keeps the requests."""

    def __init__(self) -> None:
        self.status = "200 OK"
        self.headers = ""
        self.body = b""
        self.drips = False
        self.requests: list[str] = []
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}/keys"

    async def stop(self) -> None:
        self._server.close()
        for serving in self._serving:
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def publish(self, *keys: Any) -> None:
        self.body = json.dumps({"keys": keys}).encode()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        try:
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            self.asked.set()
            await self.may_answer.wait()
            writer.write(f"HTTP/1.1 {self.status}\r\nConnection: close\r\n{self.headers}\r\n".encode())
            while self.drips:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.001)
            writer.write(self.body)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


class Clock:
    """The module's monotonic time, which only the test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def jwk(kind: str, kid: Any = ..., **more: Any) -> dict[str, Any]:
    """Returns a public key as an issuer publishes it, with changes; `...` takes a member away."""
    made = FORMAT[kind].to_jwk(private_key(kind).public_key(), as_dict=True) | {"kid": kid} | more
    return {name: value for name, value in made.items() if value is not ...}


def token(kind: str, kid: str | None = None, **header: Any) -> str:
    """Signs a token with a key of the kind; its header names the key, if it is given a name."""
    named = {} if kid is None else {"kid": kid}
    return jwt.encode(CLAIMS, private_key(kind), FAMILY[kind], headers=named | header)


def opens(key: Key, signed: str) -> bool:
    """Says whether a token is verified with a key and its algorithms."""
    return jwt.decode(signed, key.verifier, algorithms=list(key.algorithms)) == CLAIMS


def known(jwks: Jwks, *kids: str) -> set[str]:
    """Returns which of the names find a key."""
    found = set()
    for kid in kids:
        try:
            jwks.find(token("p256", kid))
        except UnknownKey:
            continue
        found.add(kid)
    return found


async def refused(endpoint: Endpoint, jwks: Jwks, *keys: Any) -> list[str]:
    """Publishes keys beside a good one, and returns why those are skipped, having seen that the good one is known."""
    endpoint.publish(*keys, jwk("p256", "good"))
    with capture_logs() as logs:
        await jwks.refresh()
    assert opens(jwks.find(token("p256", "good")), token("p256", "good"))
    assert {entry["log_level"] for entry in logs} <= {"warning"}
    return [entry["reason"] for entry in logs]
