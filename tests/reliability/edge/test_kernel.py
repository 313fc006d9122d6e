"""What is kept for clients that read nothing, in the process and in the kernel, and for those that never finish a request."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from gateway.fanout import sink
from gateway.fanout.page import PAGE_BYTES
from gateway.http import protocol, server
from gateway.http.protocol import Heads
from tests.gateway.http.raw import arrive, burst, serving
from tests.support import sinks, sse
from tests.support.gateway import token, until
from tests.support.servers import Servers

_CLIENTS = 10
_BYTES = 3_000_000


def _queued(port: int) -> list[int]:
    """Returns how many bytes the kernel has still to send, for each connection that this port has accepted."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [int(row[4].split(":")[0], 16) for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "01"]


async def _kept(servers: Servers) -> tuple[int, int]:
    """Sends megabytes to clients that read nothing, one of which does; returns the most that kernel and process kept for one."""
    async with serving(servers) as (bridge, web), web.stream("bookings") as other, AsyncExitStack() as stack:
        for _ in range(_CLIENTS):
            headers = {"Authorization": f"Bearer {token(1)}"}
            silent = await sse.request(web.host, web.port, "/streams/bookings", headers, receive_buffer=4096)
            stack.callback(silent.abort)
        await until(lambda: len(web.hub.roster.subscribers) == _CLIENTS + 1)
        start = bridge.place.position
        for _ in range(_BYTES // 240_000):
            await burst(bridge, 30)
        count = bridge.place.position - start
        events = await other.events(count)
        assert [event.position for event in events] == list(range(start + 1, start + count + 1))
        await arrive(bridge, other)
        kernel = max(_queued(web.port))
        process = max(sinks.waiting(subscriber.sink) for subscriber in web.hub.roster.subscribers)
    return kernel, process


async def test_clients_that_read_nothing(servers: Servers) -> None:
    """Of three megabytes kernel and process keep a few hundred kilobytes for each, and who reads has all of them."""
    kernel, process = await _kept(servers)
    # Linux takes twice what is asked for, and lets the last write pass the bound.
    assert 0 < kernel < 4 * server._SEND_BUFFER_BYTES
    assert 0 < process < sink.HIGH_WATER_BYTES + PAGE_BYTES


async def test_control_the_kernel_is_not_bounded(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to itself the kernel takes megabytes for whoever reads nothing."""
    monkeypatch.setattr(server, "_bound", lambda _: None)
    kernel, _ = await _kept(servers)
    assert kernel > 4 * server._SEND_BUFFER_BYTES


async def test_control_nobody_waits_for_a_head(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were connections without a whole request not looked at, they would stay."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.1)
    monkeypatch.setattr(Heads, "wait_for", lambda *_: None)
    async with serving(servers) as (_, web):
        reader, writer = await asyncio.open_connection(web.host, web.port)
        writer.write(b"GET /livez HTTP/1.1\r\nHost: loc")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await reader.read(1)
        writer.close()
