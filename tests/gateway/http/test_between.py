"""What stands between the application and the socket: middleware that has its own ideas, TLS."""

import asyncio
import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.http.edge import Edge
from tests.gateway.http.raw import arrive, burst, get, serving
from tests.support.gateway import positions, until
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.uvicorn]


class _Pure:
    """Adds a header to the head as it goes by."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Between"] = "yes"
            await send(message)

        await self._app(scope, receive, named)


class _Yielding(_Pure):
    """Lets the loop turn before and after the head goes by."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def late(message: Message) -> None:
            await asyncio.sleep(0.01)
            await send(message)
            await asyncio.sleep(0.01)

        await super().__call__(scope, receive, late)


class _Holding(BaseHTTPMiddleware):
    """Holds the head back, as Starlette's own base class does."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = await call_next(request)
        answer.headers["X-Between"] = "yes"
        return answer


class _HoldingLong(BaseHTTPMiddleware):
    """Holds the head back for a while."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = await call_next(request)
        await asyncio.sleep(0.05)
        answer.headers["X-Between"] = "yes"
        return answer


class _HoldingUntil(BaseHTTPMiddleware):
    """Holds the head back until it is told to send it."""

    def __init__(self, app: Any, told: asyncio.Event) -> None:
        super().__init__(app)
        self._told = told

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        answer = await call_next(request)
        await self._told.wait()
        return answer


@pytest.mark.parametrize("middleware", [[_Pure], [_Yielding], [_Holding], [_HoldingLong], [_Holding, _Yielding, _Holding]])
async def test_middleware(module_servers: Servers, middleware: list[Any]) -> None:
    """What a middleware adds to the head is seen, events arrive one after the other, the body ends well, and nothing is left over."""

    def prepare(app: Starlette) -> None:
        for each in middleware:
            app.add_middleware(each)

    async with serving(module_servers, prepare, timeout_keep_alive=0.1) as (bridge, web):
        client = await web.send(get())
        stream = await client.stream()
        assert stream.headers["x-between"] == "yes"
        for _ in range(3):
            await arrive(bridge, stream)
        web.hub.end(next(iter(web.hub.roster.subscribers)), "max-age")
        assert (await client.rest()).endswith(b"\r\n0\r\n\r\n")
        gone = await web.send(get())
        await gone.stream()
        gone.reset()
        await until(lambda: web.nobody)


async def test_leaving_while_a_middleware_holds_the_head(module_servers: Servers) -> None:
    """A client that leaves before its head was sent leaves nothing behind."""
    told = asyncio.Event()
    async with serving(module_servers, lambda app: app.add_middleware(_HoldingUntil, told=told)) as (_, web):
        client = await web.send(get())
        await until(lambda: web.server.server_state.tasks)
        client.reset()
        await until(lambda: not web.server.server_state.connections)
        told.set()
        await until(lambda: web.nobody and not web.server.server_state.tasks)


async def test_tls(module_servers: Servers, tmp_path: Path, way_out: str) -> None:
    """Over TLS a connection is handed over as well: bursts arrive whole, the body ends well, and nothing is left over."""
    certificate, key = _self_signed(tmp_path)
    trusting = ssl.create_default_context(cafile=certificate)
    async with serving(module_servers, ssl_certfile=certificate, ssl_keyfile=key, timeout_keep_alive=0.1) as (bridge, web):
        client = await web.send(get(), ssl=trusting, server_hostname="127.0.0.1")
        stream = await client.stream()
        subscriber = next(iter(web.hub.roster.subscribers))
        assert isinstance(subscriber.sink, Edge) == (way_out == "handed over")
        start = bridge.place.position
        await burst(bridge, 150)
        assert positions(await stream.events(150)) == list(range(start + 1, start + 151))
        web.hub.end(subscriber, "max-age")
        assert (await client.rest()).endswith(b"\r\n0\r\n\r\n")
        gone = await web.send(get(), ssl=trusting, server_hostname="127.0.0.1")
        await gone.stream()
        gone.writer.transport.abort()
        await until(lambda: web.nobody)
        assert web.sample("rowcast_endings_total", reason="gone") == 1


def _self_signed(directory: Path) -> tuple[Path, Path]:
    """Writes a certificate for 127.0.0.1 and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "rowcast")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    return files
