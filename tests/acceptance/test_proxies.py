"""A stream through nginx, Caddy and HAProxy, as docs/proxies.md configures them: event by event, for as long as it lasts, and no longer.

Nothing is known by its time: the next change is written only when the one before it has been received.
"""

import asyncio
import json
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.behind import BUFFERING, behind, change, heard, sample
from tests.support.curl import VERSIONS, ask, listening
from tests.support.front import PROXIES, each_proxy, front
from tests.support.gateway import gateway, token, until
from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers

TIMEOUTS = {"nginx": ("proxy_read_timeout 60s", "send_timeout 60s"), "haproxy": ("timeout client 60s", "timeout server 60s"), "caddy": ()}
"""What limits silence in the documented configurations. Caddy's has no such thing."""
SMALL = "bookings?format=diff"
"""Its events are so small that whoever waits for more does."""


def impatient(proxy: str, seconds: str = "2s") -> dict[str, str]:
    """Returns what makes a proxy lose its patience sooner."""
    return {line: line.replace("60s", seconds) for line in TIMEOUTS[proxy]}


@each_proxy
@pytest.mark.parametrize("version", VERSIONS)
async def test_event_by_event(servers: Servers, tmp_path: Path, proxy: str, version: str) -> None:
    """Each event arrives before the next change is written, as it is; and who comes back with its id gets what was missed."""
    async with behind(servers, proxy, tmp_path) as (_, each):
        accepting = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, br, zstd"}
        async with listening(each, "", SMALL, version, **accepting) as answer:
            assert answer.version == VERSIONS[version]
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-store"
            assert not {"content-encoding", "content-length"} & set(answer.headers)
            last = await answer.stream.next()
            assert last.data["status"] == "fresh"
            for number in range(10):
                await change(servers, f"number {number} ✓")
                (last,) = await answer.stream.events(1)
                assert last.data["changes"]["notes"]["new"] == f"number {number} ✓"
        await change(servers, "missed")
        async with listening(each, last.id, SMALL, version) as again:
            assert (await again.stream.next()).data["status"] == "resumed"
            assert await heard(again) == ["missed"]


async def test_control_buffering(servers: Servers, tmp_path: Path) -> None:
    """Where nginx buffers, nothing has come when the gateway has sent four small events; at the end all of it comes together."""
    async with behind(servers, "nginx", tmp_path, BUFFERING) as (web, each), asyncio.TaskGroup() as group:
        headers = {"Authorization": f"Bearer {token()}"}
        opening = group.create_task(ask(each, f"/streams/{SMALL}", headers, "--http1.1"))
        await until(lambda: web.hub.roster.subscribers)
        await change(servers, "1", "2", "3")
        await until(lambda: sample(web, "rowcast_deliveries_total", stream="bookings") == 3)
        for _ in range(20):
            assert (await ask(each, "/streams")).status == 401
        assert not opening.done()
        (subscriber,) = web.hub.roster.subscribers
        web.hub.end(subscriber, "max-age")
        answer = await opening
        assert [event.name async for event in answer.stream] == ["ready", "bookings", "bookings", "bookings", "reconnect"]
        await answer.close()


@each_proxy
@pytest.mark.parametrize("version", VERSIONS)
async def test_the_head_comes_first(servers: Servers, tmp_path: Path, proxy: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client has the response's head before there is any event."""
    async with behind(servers, proxy, tmp_path) as (web, each), asyncio.TaskGroup() as group:
        held: list[tuple[Any, ...]] = []
        join = web.hub._catch_up.join
        monkeypatch.setattr(web.hub._catch_up, "join", lambda *given: held.append(given))
        opening = group.create_task(ask(each, "/streams/bookings", {"Authorization": f"Bearer {token()}"}, version))
        await until(lambda: held)
        answer = await opening
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        join(*held[0])
        assert (await answer.stream.next()).name == "ready"
        await answer.close()


@each_proxy
async def test_idle(servers: Servers, tmp_path: Path, proxy: str) -> None:
    """A stream on which nothing happens lives through several times the proxy's patience, by its heartbeats alone."""
    async with behind(servers, proxy, tmp_path, impatient(proxy), heartbeat="500ms") as (_, each), listening(each) as answer:
        assert (await answer.stream.next()).name == "ready"
        reading = asyncio.create_task(heard(answer))
        await until(lambda: answer.stream.heartbeats >= 12 or reading.done(), 60)
        assert not reading.done()
        await change(servers, "after the silence")
        assert await reading == ["after the silence"]


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
async def test_control_idle(servers: Servers, tmp_path: Path, proxy: str) -> None:
    """Without heartbeats the same proxy cuts the same stream; the client sees an end that nobody has announced."""
    async with behind(servers, proxy, tmp_path, impatient(proxy), heartbeat="1h") as (web, each), listening(each) as answer:
        assert (await answer.stream.next()).name == "ready"
        with pytest.raises(EOFError):
            await answer.stream.next()
        await until(lambda: not web.hub.roster.subscribers)


@pytest.mark.long
@pytest.mark.timeout(400)
@pytest.mark.parametrize("version", VERSIONS)
async def test_two_idle_minutes(servers: Servers, tmp_path: Path, version: str) -> None:
    """With the settings as they are documented a stream lives through more than two idle minutes, whatever stands before it."""
    async with gateway(servers) as web, AsyncExitStack() as stack:
        await until(lambda: web.hub.tail.connected)
        fronts = [stack.enter_context(front(proxy, [web.port], tmp_path)) for proxy in PROXIES]
        answers = [await stack.enter_async_context(listening(each, version=version)) for each in fronts]
        reading = [asyncio.create_task(heard(answer)) for answer in answers]
        # One of 17 is a checkpoint.
        await until(lambda: all(answer.stream.heartbeats >= 16 for answer in answers) or any(task.done() for task in reading), 300)
        assert not any(task.done() for task in reading)
        await change(servers, "after the silence")
        assert await asyncio.gather(*reading) == [["after the silence"]] * len(PROXIES)


@each_proxy
async def test_what_goes_through(servers: Servers, tmp_path: Path, proxy: str) -> None:
    """A refusal arrives as the gateway says it, a token of 8 kB is carried, and what asks for no token is not to be had."""
    async with behind(servers, proxy, tmp_path) as (_, each):
        listed = await ask(each, "/streams", {"Authorization": f"Bearer {token()}"})
        assert (listed.status, listed.headers["content-type"]) == (200, "application/json")
        refused = await ask(each, "/streams/bookings")
        assert (refused.status, refused.headers["content-type"]) == (401, "application/problem+json")
        assert refused.headers["www-authenticate"] == "Bearer"
        for path in ("/livez", "/readyz", "/metrics"):
            assert (await ask(each, path)).status == 404
        large = token(padding="x" * 5900)
        assert 8000 < len(large) <= 8192
        headers = {"Authorization": f"Bearer {large}", "Cookie": f"__Secure-rowcast={large}; other={'x' * 8000}"}
        async with listening(each, **headers) as answer:
            assert (await answer.stream.next()).name == "ready"


@each_proxy
async def test_a_token_is_renewed(servers: Servers, tmp_path: Path, proxy: str) -> None:
    """A newer token for an open stream reaches the gateway, which takes it; for another user's stream its refusal comes back."""
    async with behind(servers, proxy, tmp_path) as (_, each), listening(each) as answer:
        connection = (await answer.stream.next()).data["connection"]
        for sub, status in ((1, 204), (2, 403)):
            headers = {"Authorization": f"Bearer {token(sub)}"}
            assert (await ask(each, f"/streams/connections/{connection}/token", headers, method="POST")).status == status


@each_proxy
@pytest.mark.parametrize("trusted", [True, False], ids=["trusted", "not trusted"])
async def test_whose_address(servers: Servers, tmp_path: Path, proxy: str, trusted: bool) -> None:
    """The log has the client's address where the proxy is trusted, whatever the client says itself, and else the proxy's."""
    port, client, forged = free_port(), "127.0.0.7", "192.0.2.66"
    headers = {"Authorization": f"Bearer {token()}", "X-Forwarded-For": forged, "X-Forwarded-Proto": "http", "Forwarded": f"for={forged}"}
    given = {"ROWCAST_TRUSTED_PROXIES": "127.0.0.1"} if trusted else {}
    log = tmp_path / "web.log"
    with ExitStack() as stack:
        stack.enter_context(started(command("web"), environment(servers, PORT=str(port), **given), log, cwd=tmp_path))
        # Before the proxy looks whether it is.
        await asyncio.to_thread(wait_ready, f"http://127.0.0.1:{port}")
        each = stack.enter_context(front(proxy, [port], tmp_path))
        answer = await ask(each, "/streams/bookings", headers, source=client)
        assert answer.status == 200
        await answer.close()
        lines = [json.loads(line) for line in log.read_text().splitlines() if '"stream opened"' in line]
        assert [line["address"] for line in lines] == [client if trusted else "127.0.0.1"]
        assert forged not in log.read_text()
        if trusted:
            # The page's scheme is https, as the proxy says, and not what the client says.
            for origin, status in ((each.origin, 204), (each.origin.replace("https", "http"), 403)):
                session = await ask(each, "/auth/session", headers | {"Origin": origin}, method="POST", source=client)
                assert session.status == status, session.body
