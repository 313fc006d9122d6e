"""Which addresses keys are fetched from, and that whoever answers there is who they say."""

import datetime
import ssl
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from structlog.testing import capture_logs

from auth.jwks import Jwks, JwksUnavailable
from auth.key import KeyConfigError
from tests.auth.jwks.issuer import Endpoint, jwk, known
from tests.auth.pem import private_key


@pytest.mark.parametrize(
    "url",
    [
        "https://issuer.example/.well-known/jwks.json",
        "HTTPS://issuer.example:8443/keys?tenant=1",
        "https://10.0.0.1/keys",
        "http://localhost/keys",
        "http://LOCALHOST:8080/keys",
        "http://127.0.0.1:8080/keys",
        "http://127.255.0.9/keys",
        "http://[::1]:8080/keys",
    ],
)
async def test_url_is_taken(url: str) -> None:
    """https anywhere, and http to this machine."""
    await Jwks(url).close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys",
        "/etc/passwd",
        "//issuer.example/keys",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "ftp://issuer.example/keys",
        "data:application/json,{}",
        "ws://localhost/keys",
        "javascript:0",
        "https:",
        "https:///keys",
        "https://issuer.example:0/keys",
        "https://issuer.example:65536/keys",
        "https://issuer.example:canary/keys",
        "https://issuer.example/\nkeys",
        " https://issuer.example/keys",
        "http://issuer.example/keys",
        "http://localhost.issuer.example/keys",
        "http://127.0.0.1.issuer.example/keys",
        "http://10.0.0.1/keys",
        "http://0.0.0.0/keys",
        "http://128.0.0.1/keys",
        "http://[::2]/keys",
        "http://127.0.0.1@issuer.example/keys",
        "http://127.0.0.1\\@issuer.example/keys",
        "https://user:canary@issuer.example/keys",
        "https://user:canary/more@issuer.example/keys",
        "https://canary@issuer.example/keys",
        "http://:canary@localhost/keys",
        "https://" + "a" * 70_000,
    ],
)
def test_url_is_refused(url: str) -> None:
    """Anything else is refused at the start, naming the setting, and no password in it is shown."""
    with pytest.raises(KeyConfigError, match="ROWCAST_JWKS_URL") as error:
        Jwks(url)
    assert "canary" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None


async def test_query_is_asked_and_not_logged(endpoint: Endpoint) -> None:
    """The URL's query goes to the endpoint and not into our log."""
    jwks = Jwks(f"{endpoint.url}?key=canary#canary")
    endpoint.status = "500 Oops"
    with capture_logs() as logs, pytest.raises(JwksUnavailable):
        await jwks.refresh()
    assert endpoint.requests[0].startswith("GET /keys?key=canary HTTP/1.1\r\n")
    assert [entry["url"] for entry in logs] == [endpoint.url]
    assert "canary" not in str(logs)
    await jwks.close()


async def test_clear_text_goes_past_the_proxy(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """http to this machine does not go over the environment's proxy, which could answer with keys of its own."""
    proxy = Endpoint()
    await proxy.start()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    endpoint.publish(jwk("p256", "a"))
    jwks = Jwks(endpoint.url)
    await jwks.refresh()
    assert known(jwks, "a") == {"a"}
    assert not proxy.requests
    await jwks.close()
    await proxy.stop()


def self_signed(folder: Path) -> SimpleNamespace:
    """Makes a certificate for this machine that nobody has signed; returns a server's context, and where the certificate lies."""
    key = cast("Any", private_key("p256"))
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    localhost = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    certificate = folder / "certificate.pem"
    certificate.write_bytes(made.add_extension(localhost, False).sign(key, SHA256()).public_bytes(Encoding.PEM))
    secret = folder / "key.pem"
    secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, secret)
    return SimpleNamespace(context=context, certificate=certificate)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_certificate_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Over https an endpoint whose certificate nobody trusts, or is another host's, brings no keys; one that is trusted does."""
    tls = self_signed(tmp_path)
    endpoint = Endpoint()
    await endpoint.start(tls.context)
    endpoint.publish(jwk("p256", "a"))
    url = f"https://{host}:{endpoint.port}/keys"
    stranger = Jwks(url)
    with pytest.raises(JwksUnavailable):
        await stranger.refresh()
    assert not endpoint.requests
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.certificate))
    trusting = Jwks(url)
    if host == "localhost":
        await trusting.refresh()
        assert known(trusting, "a") == {"a"}
    else:
        with pytest.raises(JwksUnavailable):
            await trusting.refresh()
    await stranger.close()
    await trusting.close()
    await endpoint.stop()
