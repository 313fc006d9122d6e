"""What is hostile costs no more than what is good, and leaves nothing behind."""

import asyncio
import contextlib
import os
import statistics
import time
from collections.abc import Mapping
from typing import Any

import pytest

from tests.acceptance.hostile.carriers import CARRIERS
from tests.acceptance.hostile.client import ask, bearer, connections, exchange, keys
from tests.acceptance.hostile.tokens import GOOD, TOKENS
from tests.acceptance.hostile.wire import WIRE
from tests.support.gateway import Web, until
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]


async def call(web: Web, token: str) -> int:
    """Calls the application as a server does, and returns the status: no socket, no parser, and so nothing but the refusal."""
    header = f"Bearer {token}".encode("utf-8", "surrogateescape")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/streams",
        "raw_path": b"/streams",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1"), (b"authorization", header)],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", web.port),
    }
    statuses: list[int] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await web.app(scope, receive, send)
    return statuses[0]


async def cost(web: Web, token: str, times: int) -> float:
    """Returns the median of what a call costs, in seconds of this process."""
    spent = []
    for _ in range(times):
        begun = time.process_time()
        await call(web, token)
        spent.append(time.process_time() - begun)
    return statistics.median(spent)


@pytest.mark.long
async def test_no_token_is_slower_than_a_good_one(gates: Mapping[str, Web]) -> None:
    """No hostile token costs five times what a good one does: nobody is held up by refusals more than by service."""
    slow: dict[str, float] = {}
    for name, (gate, make) in TOKENS.items():
        good, bad = GOOD[gate](), make()
        assert await call(gates[gate], good) == 200
        assert await call(gates[gate], bad) < 500, name
        # The best of several rounds: noise of the machine only ever adds.
        ratios = [await cost(gates[gate], bad, 40) / await cost(gates[gate], good, 40) for _ in range(5)]
        if min(ratios) > 5:
            slow[name] = min(ratios)
    assert not slow


async def traces(gates: Mapping[str, Web], site: Servers) -> dict[str, object]:
    """Counts what a request could leave behind."""
    lines = (await ask(gates["secret"], "/metrics")).body.decode().splitlines()
    return {
        "tasks": len(asyncio.all_tasks()),
        # How many connections a pool has depends on how many asked at once.
        "files": len(os.listdir("/proc/self/fd")) - await connections(site),
        "keys": await keys(site),
        "subscribers": sum(len(each.hub.roster.subscribers) for each in gates.values()),
        "series": sorted(line.rpartition(" ")[0] for line in lines if not line.startswith("#") and "rowcast_" in line),
    }


async def calm(gates: Mapping[str, Web], site: Servers, expected: Mapping[str, object] | None = None) -> dict[str, object]:
    """Returns the counts when they are as expected, or stay the same for a while; or as they are after half a minute."""
    seen, same = await traces(gates, site), 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            while seen != expected and (expected is not None or same < 20):
                await asyncio.sleep(0.05)
                again = await traces(gates, site)
                seen, same = again, same + 1 if again == seen else 0
    return seen


async def test_nothing_is_left_behind(gates: Mapping[str, Web], site: Servers) -> None:
    """After the tables have been sent many times there are as many tasks, connections, streams, series and keys as before."""

    async def everything() -> None:
        await asyncio.gather(
            *(ask(gates[gate], "/streams/bookings", bearer(make())) for gate, make in hostile),
            *(exchange(gates["secret"].port, make(gates["secret"].port)) for make, _ in WIRE.values()),
            *(ask(gates["secret"], "/streams/bookings", *make()) for make, _ in CARRIERS.values()),
        )

    hostile = list(TOKENS.values())
    await everything()
    await until(lambda: not any(each.hub.roster.subscribers for each in gates.values()))
    before = await calm(gates, site)
    for _ in range(8):
        await everything()
    after = await calm(gates, site, before)
    assert after == before
