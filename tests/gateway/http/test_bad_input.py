"""Bad requests over a real socket: each is refused for what it is, by a problem that names it, and costs the next one nothing."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jwt
import orjson
import pytest

from tests.auth.pem import forge, part, private_key, public_pem
from tests.support import sse
from tests.support.gateway import SECRET, Web, token

pytestmark = pytest.mark.asyncio(loop_scope="module")

INVALID = 'Bearer error="invalid_token"'
SCOPE = 'Bearer error="insufficient_scope"'
TITLES = {400: "Bad request", 401: "Not authenticated", 403: "Not allowed", 404: "Not found", 405: "Method not allowed"}
Header = Mapping[str, str]


def bearer(text: str) -> Header:
    return {"Authorization": f"Bearer {text}"}


def signed(algorithm: str = "HS256", secret: str = SECRET, **changes: Any) -> Header:
    """Returns the header with a token of a customer, changed; `...` takes a claim away."""
    claims = {"sub": "1", "role": "customer", "exp": int(time.time()) + 3600} | changes
    return bearer(jwt.encode({name: value for name, value in claims.items() if value is not ...}, secret, algorithm))


def problem(stream: sse.Stream, status: int, challenge: str | None, named: str) -> None:
    """Holds an answer against RFC 9457 and RFC 6750, and sees that it names what is wrong and nothing more."""
    assert stream.status == status, stream.body
    assert stream.headers["content-type"] == "application/problem+json"
    assert stream.headers["cache-control"] == "no-store"
    assert stream.headers.get("www-authenticate") == challenge
    body = orjson.loads(stream.body)
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["status"] == status
    assert body["title"] in (TITLES[status], "Invalid token")
    assert named in body["detail"]
    assert len(body["detail"]) < 200
    assert SECRET not in body["detail"]


@pytest.fixture(autouse=True)
def no_crash(web: Web, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No bad request leaves a traceback in the log, or a stream in the hub."""
    yield
    assert not [record for record in caplog.records if record.exc_info]
    assert not web.hub.roster.subscribers


TOKENS: Mapping[str, tuple[Callable[[], Header], str | None, str]] = {
    "no token": (dict, "Bearer", "Authorization"),
    "basic": (lambda: {"Authorization": "Basic dXNlcjpwYXNz"}, "Bearer", "Authorization"),
    "digest": (lambda: {"Authorization": 'Digest username="u"'}, "Bearer", "Authorization"),
    "no token behind the scheme": (lambda: {"Authorization": "Bearer"}, INVALID, "Bearer"),
    "blank token": (lambda: {"Authorization": "Bearer    "}, INVALID, "Bearer"),
    "no token at all": (lambda: bearer("nonsense"), INVALID, "malformed"),
    "two parts": (lambda: bearer("a.b"), INVALID, "malformed"),
    "two tokens": (lambda: bearer(f"{token()} {token()}"), INVALID, "malformed"),
    "not ASCII": (lambda: bearer("ü.ü.ü"), INVALID, "malformed"),
    "too large": (lambda: bearer(token(padding="x" * 8192)), INVALID, "too large"),
    "bad signature": (lambda: bearer(token()[:-6] + "AAAAAA"), INVALID, "signature"),
    "another secret": (lambda: signed(secret="x" * 64), INVALID, "signature"),
    "HS384 of another secret": (lambda: signed("HS384", "x" * 64), INVALID, "signature"),
    "HS512, longer than the secret": (lambda: bearer(forge({"alg": "HS512"}, {"sub": "1"})), INVALID, "algorithm"),
    "RS256 header": (lambda: bearer(forge({"alg": "RS256"}, {"sub": "1", "exp": 2e9}, SECRET.encode())), INVALID, "algorithm"),
    "RS256": (lambda: bearer(jwt.encode({"sub": "1", "exp": 2**31}, private_key("rsa"), "RS256")), INVALID, "algorithm"),
    "ES256": (lambda: bearer(jwt.encode({"sub": "1", "exp": 2**31}, private_key("p256"), "ES256")), INVALID, "algorithm"),
    "EdDSA": (lambda: bearer(jwt.encode({"sub": "1", "exp": 2**31}, private_key("ed25519"), "EdDSA")), INVALID, "algorithm"),
    "a public key as the secret": (lambda: bearer(forge({"alg": "HS256"}, {"sub": "1"}, public_pem("rsa").encode())), INVALID, "signature"),
    "none": (lambda: bearer(f"{part({'alg': 'none'})}.{part({'sub': '1', 'exp': 2**31})}."), INVALID, "algorithm"),
    "nested header": (lambda: bearer(f"{part(b'[' * 5900)}.e30.AA"), INVALID, "malformed"),
    "no exp": (lambda: signed(exp=...), INVALID, "exp"),
    "no sub": (lambda: signed(sub=...), INVALID, "sub"),
    "expired": (lambda: signed(exp=int(time.time()) - 60), INVALID, "expired"),
    "exp as text": (lambda: signed(exp=str(int(time.time()) + 60)), INVALID, "exp"),
    "exp in milliseconds": (lambda: signed(exp=int(time.time() * 1000) + 60_000), INVALID, "exp"),
    "exp 1e308": (lambda: signed(exp=1e308), INVALID, "exp"),
    "exp true": (lambda: signed(exp=True), INVALID, ""),
    "sub empty": (lambda: signed(sub=""), INVALID, "sub"),
    "sub with a line break": (lambda: signed(sub="1\n2"), INVALID, "sub"),
    "roles of no kind": (lambda: signed(roles={"admin": True}), INVALID, "roles"),
}


@pytest.mark.parametrize("case", TOKENS)
async def test_bad_token(web: Web, case: str) -> None:
    """A request without a good token is a 401 with a challenge: bare where there was no token, `invalid_token` where there was."""
    make, challenge, named = TOKENS[case]
    header = make()
    answer = await web.request("/streams/bookings", header)
    problem(answer, 401, challenge, named)
    for piece in header.get("Authorization", "").removeprefix("Bearer ").split("."):
        assert len(piece) < 8 or piece.encode() not in answer.body


async def test_several_authorization_headers(web: Web) -> None:
    """Two Authorization headers are a malformed request (RFC 6750 §3.1), even if both are good: nobody guesses which was meant."""
    answer = await web.request("/streams/bookings", {"Authorization": f"Bearer {token()}", "authorization": f"Bearer {token(2)}"})
    problem(answer, 400, 'Bearer error="invalid_request"', "Authorization")


async def test_every_route_of_streams_wants_a_token(web: Web) -> None:
    """The list of streams asks for a token as a stream does, and before it says whether a stream exists."""
    for path in ("/streams", "/streams/bookings", "/streams/nonsense", "/streams/bookings?nonsense=1"):
        problem(await web.request(path), 401, "Bearer", "Authorization")


REQUESTS: Mapping[str, tuple[str, str, int, str | None, str]] = {
    "wrong role": ("/streams/provider-bookings", "customer", 403, SCOPE, "provider-bookings"),
    "one of several": ("/streams/bookings,provider-bookings", "customer", 403, SCOPE, "provider-bookings"),
    "no role": ("/streams/bookings", "", 403, SCOPE, "bookings"),
    "unknown role": ("/streams/bookings", "king", 403, SCOPE, "bookings"),
    "unknown stream": ("/streams/nonsense", "customer", 404, None, "nonsense"),
    "unknown among known": ("/streams/bookings,nonsense", "customer", 404, None, "nonsense"),
    "no stream": ("/streams/,", "customer", 404, None, "''"),
    "odd stream": ("/streams/%0d%0aX-Injected:1", "customer", 404, None, r"\r\nX-Injected:1"),
    "NUL stream": ("/streams/%00", "customer", 404, None, r"\x00"),
    "not UTF-8": ("/streams/%ff", "customer", 404, None, "\ufffd"),
    "long stream": ("/streams/" + "x" * 5000, "customer", 404, None, "x" * 40),
    "many streams": ("/streams/" + ",".join(f"s-{n}" for n in range(21)), "customer", 400, None, "21"),
    "unknown parameter": ("/streams/bookings?nonsense=1", "customer", 400, None, "nonsense"),
    "unknown among known parameters": ("/streams/bookings?format=raw&colour=red", "customer", 400, None, "colour"),
    "parameter in other letters": ("/streams/bookings?Format=raw", "customer", 400, None, "Format"),
    "token in the query": ("/streams/bookings?access_token=canary", "customer", 400, None, "access_token"),
    "unknown format": ("/streams/bookings?format=xml", "customer", 400, None, "xml"),
    "empty format": ("/streams/bookings?format=", "customer", 400, None, "format"),
    "long format": ("/streams/bookings?format=" + "x" * 5000, "customer", 400, None, "x" * 40),
    "unknown path": ("/nonsense", "customer", 404, None, ""),
    "path below a stream": ("/streams/bookings/1", "customer", 404, None, ""),
}


@pytest.mark.parametrize("case", REQUESTS)
async def test_bad_request(web: Web, case: str) -> None:
    """A request for what is not there, or not the caller's, is refused by its own status and names the thing."""
    path, role, status, challenge, named = REQUESTS[case]
    answer = await web.request(path, bearer(token(role=role or None)))
    problem(answer, status, challenge, named)
    assert b"canary" not in answer.body
    assert "x-injected" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_other_methods(web: Web, method: str) -> None:
    """What is read with GET answers other methods with 405 and says which there are."""
    for path in ("/streams", "/streams/bookings"):
        answer = await web.request(path, bearer(token()), method=method, body=b"{}" if method == "POST" else b"")
        problem(answer, 405, None, "")
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


async def test_raw_nul_in_a_header(web: Web) -> None:
    """A NUL in a header never reaches the application: the HTTP parser answers 400."""
    answer = await web.request("/streams/bookings", {**bearer(token()), "Last-Event-ID": "abcd-\x007"})
    assert answer.status == 400


async def test_body_is_ignored(web: Web) -> None:
    """A GET that carries a body is answered as one without."""
    answer = await web.request("/streams/nonsense", bearer(token()), body=json.dumps({"sub": "2"}).encode())
    problem(answer, 404, None, "nonsense")


async def test_refusals_are_counted(web: Web) -> None:
    """Each refusal is counted by its status, and by nothing that a stranger chooses."""
    await web.request("/streams/canary-of-the-path", bearer(token()))
    metrics = (await web.request("/metrics")).body.decode()
    assert 'rowcast_refusals_total{status="404"}' in metrics
    assert "canary" not in metrics


async def test_good_request_negative_control(web: Web) -> None:
    """The same request with nothing wrong opens a stream: the refusals above are not refusals of everything."""
    async with web.stream("bookings") as stream:
        assert (await stream.next()).name == "ready"
    await until_left(web)


async def until_left(web: Web) -> None:
    from tests.support.gateway import until

    await until(lambda: not web.hub.roster.subscribers)
