"""The response of a stream: its headers to the letter, for every method, and what a page of another origin may read."""

import re

import pytest

from tests.support.gateway import Web, token, until
from tests.support.gateway import web as served
from tests.support.servers import Servers

BEARER = {"Authorization": f"Bearer {token()}"}
HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}
ORIGIN = "https://shop.example"


@pytest.mark.asyncio(loop_scope="module")
async def test_headers_of_a_stream(web: Web) -> None:
    """A good request is answered 200 with exactly the headers of the contract, and no length."""
    async with web.stream("bookings") as stream:
        assert stream.status == 200
        found = {name: value for name, value in stream.headers.items() if name not in ("date", "server", "connection")}
        assert found == HEADERS | {"transfer-encoding": "chunked"}


@pytest.mark.asyncio(loop_scope="module")
async def test_head(web: Web) -> None:
    """HEAD is answered with the headers of the stream and the end of the response, and joins nothing."""
    before = (await web.request("/metrics")).body
    answer = await web.request("/streams/bookings", BEARER, method="HEAD")
    assert answer.status == 200
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert await answer._reader.read() == b""
    after = (await web.request("/metrics")).body
    connects = re.compile(rb"rowcast_connects_total (\S+)")
    assert connects.findall(before) == connects.findall(after)


@pytest.mark.asyncio(loop_scope="module")
async def test_head_states_no_length(web: Web) -> None:
    """HEAD names no length, for the stream has none (RFC 9110 §8.6)."""
    answer = await web.request("/streams/bookings", BEARER, method="HEAD")
    assert "content-length" not in answer.headers


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("path", "headers", "status"), [("bookings", {}, 401), ("nonsense", BEARER, 404), ("provider-bookings", BEARER, 403)]
)
async def test_head_is_refused_as_get_is(web: Web, path: str, headers: dict[str, str], status: int) -> None:
    """HEAD is refused with the status with which GET is."""
    assert (await web.request(f"/streams/{path}", headers, method="HEAD")).status == status
    assert (await web.request(f"/streams/{path}", headers)).status == status


@pytest.mark.asyncio(loop_scope="module")
async def test_ready(web: Web) -> None:
    """The first event is `ready` and has what the contract lists, in its types; `retry` is jittered."""
    async with web.stream("bookings,services", sub=2, ttl=1000) as stream:
        ready = await stream.next()
    assert set(ready.data) == {"status", "streams", "connection", "from", "expires_at", "heartbeat"}
    assert (ready.name, ready.data["status"], ready.data["streams"]) == ("ready", "fresh", ["bookings", "services"])
    assert ready.data["from"] == ready.id
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", ready.data["expires_at"])
    assert re.fullmatch(r"[0-9a-f]{16}", ready.data["connection"])
    assert ready.data["heartbeat"] == 8


@pytest.mark.asyncio(loop_scope="module")
async def test_list_of_streams(web: Web) -> None:
    """GET /streams lists what the caller may open, and nothing else."""
    for role, has, not_has in (("customer", "bookings", "provider-bookings"), ("provider", "provider-bookings", "bookings")):
        answer = await web.request("/streams", {"Authorization": f"Bearer {token(role=role)}"})
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["cache-control"] == "no-store"
        assert f'"/streams/{has}"'.encode() in answer.body
        assert f'"/streams/{not_has}"'.encode() not in answer.body


@pytest.mark.asyncio(loop_scope="module")
async def test_without_cors_no_origin_is_named(web: Web) -> None:
    """Where no origins are configured, no page of another origin is let in."""
    async with web.stream("bookings") as stream:
        assert not [name for name in stream.headers if name.startswith("access-control")]
    answer = await web.request("/streams/bookings", {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}, method="OPTIONS")
    assert answer.status == 405
    await until(lambda: not web.hub.roster.subscribers)


async def test_cors(servers: Servers) -> None:
    """A configured origin may read streams and refusals, with its credentials, also after the preflight of a long id; another may not."""
    async with served(servers, cors_origins=(ORIGIN,)) as web:
        stream = await web.request("/streams/bookings", {**BEARER, "Origin": ORIGIN})
        assert stream.headers["access-control-allow-origin"] == ORIGIN
        assert stream.headers["access-control-allow-credentials"] == "true"
        assert "Origin" in stream.headers["vary"]
        await stream.close()
        refused = await web.request("/streams/bookings", {"Origin": ORIGIN})
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, ORIGIN)
        preflight = {
            "Origin": ORIGIN,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization,last-event-id,cache-control",
        }
        allowed = await web.request("/streams/bookings", preflight, method="OPTIONS")
        assert (allowed.status, allowed.headers["access-control-allow-origin"]) == (200, ORIGIN)
        assert {"authorization", "last-event-id"} <= set(allowed.headers["access-control-allow-headers"].lower().split(", "))
        denied = await web.request("/streams/bookings", preflight | {"Origin": "https://evil.example"}, method="OPTIONS")
        assert "access-control-allow-origin" not in denied.headers
        stranger = await web.request("/streams/bookings", {**BEARER, "Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in stranger.headers
        await stranger.close()
