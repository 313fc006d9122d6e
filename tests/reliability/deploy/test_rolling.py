"""A rolling deploy: two web processes behind a proxy are replaced one after the other, with a crowd connected and changes going on.

- Nobody loses a change, gets one twice, or out of order; everybody is told when to come back, and resumes.
- Those who come back are spread over the drain window: `spread.py` says how that can be asserted on a busy machine.
- Each process ends by itself, with exit code 0.
"""

import asyncio
import math
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.reliability.deploy import spread
from tests.reliability.deploy.crowd import PATIENCE_SECONDS, Crowd, files_for, gathered, writing
from tests.support import broken
from tests.support.cluster import Program
from tests.support.curl import listening
from tests.support.front import front
from tests.support.gateway import until
from tests.support.ledger import agreed
from tests.support.process import environment, free_port, wait_ready
from tests.support.servers import Servers
from tests.support.sse import request
from tests.support.writers import connected

FEW, MANY = 100, 2000
SHORT_SECONDS, LONG_SECONDS = 2, 15
CHANNEL = "services-changes"


class Deploy:
    """Two web processes behind a proxy, and a crowd of which all are connected."""

    def __init__(self, servers: Servers, webs: list[Program], crowd: Crowd, drain_seconds: float) -> None:
        self.servers, self.webs, self.crowd = servers, webs, crowd
        self._drain_seconds = drain_seconds

    async def replace(self, web: Program) -> tuple[float, int]:
        """Ends a web process and starts it anew, as docs/proxies.md says; returns when it was told to end, and how many it had then."""
        await until(self._all_are_counted, PATIENCE_SECONDS)
        there = await _connections(web)
        assert web.process is not None
        began = time.monotonic()
        web.process.send_signal(signal.SIGTERM)
        await until(lambda: web.process is None or web.process.poll() is not None, PATIENCE_SECONDS)
        assert web.process.returncode == 0, web.says
        web.process = None
        await web.start()
        await asyncio.to_thread(wait_ready, f"http://127.0.0.1:{web.port}")
        await until(lambda: self._is_sent_to(web), PATIENCE_SECONDS)
        await until(self._all_are_counted, PATIENCE_SECONDS)
        return began, there

    async def _all_are_counted(self) -> bool:
        return sum([await _connections(web) for web in self.webs]) == self.crowd.open == len(self.crowd.members)

    async def _is_sent_to(self, web: Program) -> bool:
        """Says whether who comes now is sent to this one: it has the fewest streams."""
        async with listening(self.crowd.front):
            return await _connections(web) > 0

    def spread(self, began: float, there: int, ended: float = math.inf, *, late: bool) -> list[str]:
        """Says what was wrong with a drain that began then, and was over before `ended`."""
        members = self.crowd.members
        told = [each for member in members for each in member.told if began <= each.at < ended]
        came = [each for member in members for each in member.came if began <= each < ended]
        assert len(told) == len(came) == there
        assert {each.reason for each in told} == {"shutdown"}
        return spread.faults(told, came, began, self._drain_seconds, late=late)

    async def faults(self) -> list[str]:
        """Makes a last change, for which all are there, waits until they have it, and says what is wrong with what they have received."""
        async with connected(self.servers) as connection:
            await connection.execute("update services set description = 'the last change' where id = 1")
        ledger, _ = await agreed(self.servers, [], PATIENCE_SECONDS)
        lines = ledger.lines({CHANNEL})
        last = lines[-1].position
        await until(lambda: all(member.positions and member.positions[-1] == last for member in self.crowd.members), PATIENCE_SECONDS)
        return self.crowd.faults(lines)


async def _connections(web: Program) -> int:
    metrics = (await request("127.0.0.1", web.port, "/metrics")).body.decode()
    return next(int(float(line.split()[1])) for line in metrics.splitlines() if line.startswith("rowcast_connections "))


@asynccontextmanager
async def deployed(
    servers: Servers,
    proxy: str,
    directory: Path,
    size: int,
    drain_seconds: float,
    *,
    module: str = "gateway",
    fault: str = "",
    remembers: bool = True,
) -> AsyncIterator[Deploy]:
    """Runs a bridge, two web processes, a proxy, and a crowd."""
    env = environment(servers, ROWCAST_DRAIN=f"{drain_seconds}s", ROWCAST_DEMO="0", LOG_LEVEL="warning")
    bridge = Program("bridge", ["bridge"], env, directory / "bridge.log")
    args = [fault, "web"] if fault else ["web"]
    webs = [
        Program(f"web {port}", args, env | {"PORT": str(port)}, directory / f"web-{port}.log", port, module=module)
        for port in (free_port(), free_port())
    ]
    with files_for(size):
        try:
            for program in (bridge, *webs):
                await program.start()
            for web in webs:
                await asyncio.to_thread(wait_ready, f"http://127.0.0.1:{web.port}")
            with front(proxy, [web.port for web in webs], directory) as each:
                async with gathered(each, size, remembers) as crowd:
                    yield Deploy(servers, webs, crowd, drain_seconds)
        finally:
            for program in (bridge, *webs):
                await program.kill()


async def _roll(deploy: Deploy, each_second: float, *, late: bool) -> None:
    """Replaces both under changes, and looks at everything."""
    async with writing(deploy.servers, each_second):
        drains = [await deploy.replace(web) for web in deploy.webs]
    assert all(there > len(deploy.crowd.members) / 4 for _, there in drains), "the proxy gives each its share"
    assert await deploy.faults() == []
    assert sum(member.cuts for member in deploy.crowd.members) == 0
    for number, (began, there) in enumerate(drains):
        until_then = drains[number + 1][0] if number + 1 < len(drains) else math.inf
        assert deploy.spread(began, there, until_then, late=late) == []


async def test_few(servers: Servers, tmp_path: Path) -> None:
    """A hundred clients behind HAProxy: nothing lost, doubled or out of order, endings spread over the window, exit code 0."""
    async with deployed(servers, "haproxy", tmp_path, FEW, SHORT_SECONDS) as deploy:
        await _roll(deploy, 20, late=False)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("proxy", ["haproxy", "caddy"])
async def test_many(servers: Servers, tmp_path: Path, proxy: str) -> None:
    """Two thousand clients behind a proxy, over TLS: nothing lost, doubled or out of order, endings spread, exit code 0."""
    async with deployed(servers, proxy, tmp_path, MANY, LONG_SECONDS) as deploy:
        await _roll(deploy, 2, late=True)


async def test_control_at_once(servers: Servers, tmp_path: Path) -> None:
    """Web processes that end all streams at once, and tell all to come back together, keep none of the bounds, and lose nothing."""
    async with deployed(servers, "haproxy", tmp_path, FEW, LONG_SECONDS, module=broken.MODULE, fault=broken.SPREAD) as deploy:
        async with writing(servers, 20):
            began, there = await deploy.replace(deploy.webs[0])
        ended, came, retries = deploy.spread(began, there, late=False)
        assert "were ended too early" in ended
        assert "came back too early" in came
        assert retries == "100% were told to wait equally long"
        assert await deploy.faults() == []


@pytest.mark.long
async def test_control_no_ids(servers: Servers, tmp_path: Path) -> None:
    """Clients that come back without their id miss what happened in between, and the check sees it."""
    async with deployed(servers, "haproxy", tmp_path, FEW, SHORT_SECONDS, remembers=False) as deploy:
        async with writing(servers, 20):
            began, there = await deploy.replace(deploy.webs[0])
        assert deploy.spread(began, there, late=False) == []
        found = await deploy.faults()
        assert len([each for each in found if "missing" in each]) == there
