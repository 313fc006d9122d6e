"""A stream through nginx, Caddy and HAProxy ends when its client does, when it reads nothing, and not when the proxy is reloaded."""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from gateway.fanout.subscriber import State
from tests.support.behind import BUFFERING, behind, change, heard, sample
from tests.support.curl import VERSIONS, ask, listening
from tests.support.front import NAME, Front, each_proxy
from tests.support.gateway import token, until
from tests.support.servers import Servers
from tests.support.sinks import waiting

LARGE = "x" * 200_000
MUCH = 200
"""So many changes to and from it, 80 MB, are more than kernels keep for two connections."""
RELOADED = {"nginx": "gracefully shutting down", "haproxy": "(?s)New worker.*New worker", "caddy": "load complete"}
"""What a proxy's log says then."""


@each_proxy
async def test_a_client_leaves(servers: Servers, tmp_path: Path, proxy: str) -> None:
    """A client that goes away is gone for the gateway too, though nothing is sent that could not arrive."""
    async with behind(servers, proxy, tmp_path, heartbeat="1h") as (web, each):
        for version in VERSIONS:
            async with listening(each, version=version) as answer:
                assert (await answer.stream.next()).name == "ready"
                assert sample(web, "rowcast_connections") == 1
            await until(lambda: sample(web, "rowcast_connections") == 0)
        assert sample(web, "rowcast_endings_total", reason="gone") == 2


async def test_control_caddy_that_flushes(servers: Servers, tmp_path: Path) -> None:
    """With `flush_interval -1`, which the docs warn of, Caddy keeps to itself that a client has gone."""
    flushing = {"lb_policy least_conn": "lb_policy least_conn\n\t\tflush_interval -1"}
    async with behind(servers, "caddy", tmp_path, flushing, heartbeat="1h") as (web, each):
        async with listening(each) as answer:
            assert (await answer.stream.next()).name == "ready"
        for _ in range(20):
            assert (await ask(each, "/streams")).status == 401
        assert sample(web, "rowcast_connections") == 1
        await _write_much(servers, lambda: sample(web, "rowcast_connections") == 0)
        await until(lambda: sample(web, "rowcast_connections") == 0)


@asynccontextmanager
async def _reading_nothing(each: Front) -> AsyncIterator[None]:
    """Opens a stream over TLS and HTTP/1.1, with small buffers, and never reads it."""
    context = ssl.create_default_context(cafile=str(each.certificate.chain))
    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.connect(("127.0.0.1", each.port))
        with await asyncio.to_thread(context.wrap_socket, plain, server_hostname=NAME) as secure:
            lines = ("GET /streams/bookings HTTP/1.1", f"Host: {NAME}:{each.port}", f"Authorization: Bearer {token()}")
            secure.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
            yield


async def _write_much(servers: Servers, enough: Callable[[], bool] = lambda: False) -> None:
    """Writes large changes until it is enough, but not more than much."""
    connection = await servers.connect()
    for number in range(MUCH):
        if not enough():
            await connection.execute("update bookings set notes = $1 where id = 1", f"{number}{LARGE}")
    await connection.close()


@each_proxy
async def test_a_reader_that_does_not_read(servers: Servers, tmp_path: Path, proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy takes little more than its client does: the gateway sees a slow reader, and ends it; the proxy has not kept it all."""
    monkeypatch.setattr("gateway.fanout.ticker.SLOW_SECONDS", 1.0)
    async with behind(servers, proxy, tmp_path) as (web, each), _reading_nothing(each):
        await until(lambda: web.hub.roster.subscribers)
        before = each.memory_bytes
        await _write_much(servers)
        await until(lambda: sample(web, "rowcast_endings_total", reason="slow") == 1)
        await until(lambda: sample(web, "rowcast_connections") == 0)
        # Caddy lets up to 30 MB of garbage lie.
        assert each.memory_bytes - before < MUCH * len(LARGE)


async def test_control_a_proxy_that_takes_everything(servers: Servers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An nginx that buffers reads in its client's place: the gateway gets rid of all of it, and sees nobody who is slow."""
    monkeypatch.setattr("gateway.fanout.ticker.SLOW_SECONDS", 1.0)
    async with behind(servers, "nginx", tmp_path, BUFFERING) as (web, each), _reading_nothing(each):
        await until(lambda: web.hub.roster.subscribers)
        (subscriber,) = web.hub.roster.subscribers
        await _write_much(servers)
        await until(lambda: subscriber.position == MUCH and subscriber.state is State.LIVE and waiting(subscriber.sink) == 0)
        assert sample(web, "rowcast_connections") == 1


async def _reloaded(proxy: str, each: Front) -> None:
    """Lets a proxy read its configuration again. One that is still about to start may not hear it: it is told again."""

    def said() -> bool:
        return re.search(RELOADED[proxy], each.log.read_text()) is not None

    each.reload()
    with suppress(TimeoutError):
        await until(said, 10)
    if not said():
        each.reload()
        await until(said, 40)


@each_proxy
async def test_the_proxy_is_reloaded(servers: Servers, tmp_path: Path, proxy: str) -> None:
    """A proxy that reads its configuration again cuts nobody: the streams that it has go on."""
    async with behind(servers, proxy, tmp_path) as (_, each), listening(each) as answer:
        assert (await answer.stream.next()).name == "ready"
        await _reloaded(proxy, each)
        async with listening(each) as newcomer:
            assert (await newcomer.stream.next()).name == "ready"
            for notes in "12":
                await change(servers, notes)
                assert (await heard(answer), await heard(newcomer)) == ([notes], [notes])
