"""The gateway behind a proxy is upgraded: its clients are told, come back through the proxy, and miss nothing."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import sse
from tests.support.curl import ask, listening
from tests.support.front import Front, each_proxy, front
from tests.support.gateway import bridge, token, until
from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers

CLIENTS = 8
RENEWAL = "/streams/connections/0123456789abcdef/token"
ONLY_READING = {
    "nginx": {"!~ ^(GET|HEAD)$": "= NONE"},
    "caddy": {"\t\t\tmethod GET HEAD\n": ""},
    "haproxy": {"{ path_beg /streams/ } METH_GET": "{ path_beg /streams/ }"},
}
"""What takes away that only a GET is told to come back."""
HASTE = 10
"""A client waits a tenth of the time that it is told to."""


@dataclass
class Follower:
    """A client that comes back whenever its stream ends, with its last id, and keeps all that it was told."""

    front: Front
    last: str
    heard: list[str] = field(default_factory=list)
    began: list[str] = field(default_factory=list)
    ended: list[tuple[str, str, str]] = field(default_factory=list)
    """Of each `reconnect` its reason, its id, and the id that the client had."""

    async def run(self) -> None:
        """Follows until the last notes have come."""
        since = ""
        while self.last not in self.heard:
            headers = {"Authorization": f"Bearer {token()}"} | ({"Last-Event-ID": since} if since else {})
            answer = await ask(self.front, "/streams/bookings", headers)
            assert answer.status == 200, answer.body
            retry_ms = 0
            async for event in answer.stream:
                if event.name == "bookings":
                    self.heard.append(event.data["record"]["notes"])
                elif event.name == "ready":
                    self.began.append(event.data["status"])
                else:
                    self.ended.append((event.data["reason"], event.id, since))
                    retry_ms = event.data["retry"]
                since = event.id
                if self.last in self.heard:
                    break
            await answer.close()
            await asyncio.sleep(retry_ms / 1000 / HASTE)


@asynccontextmanager
async def web_process(servers: Servers, port: int, directory: Path) -> AsyncIterator[subprocess.Popen[bytes]]:
    """Runs `rowcast web` on a port."""
    env = environment(servers, PORT=str(port), ROWCAST_DRAIN="2s")
    with started(command("web"), env, directory / f"web-{port}.log", cwd=directory) as process:
        await asyncio.to_thread(wait_ready, f"http://127.0.0.1:{port}")
        yield process


async def leave(process: "subprocess.Popen[bytes]") -> None:
    """Tells a gateway to end, and waits until it has, as it should."""
    process.send_signal(signal.SIGTERM)
    await until(lambda: process.poll() is not None)
    assert process.returncode == 0


async def connections(port: int) -> int:
    """Returns how many streams a gateway has open."""
    metrics = (await sse.request("127.0.0.1", port, "/metrics")).body.decode()
    return next(int(float(line.split()[1])) for line in metrics.splitlines() if line.startswith("rowcast_connections "))


async def write(servers: Servers, notes: str) -> None:
    connection = await servers.connect()
    await connection.execute("update bookings set notes = $1 where id = 1", notes)
    await connection.close()


@asynccontextmanager
async def writing(servers: Servers) -> AsyncIterator[list[str]]:
    """Writes one change after the other, numbered; yields what was written so far."""
    connection = await servers.connect()
    written: list[str] = []
    enough = asyncio.Event()

    async def work() -> None:
        while not enough.is_set():
            await connection.execute("update bookings set notes = $1 where id = 1", str(len(written)))
            written.append(str(len(written)))
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        try:
            yield written
        finally:
            enough.set()
    await connection.close()


@each_proxy
async def test_one_gateway_after_the_other(servers: Servers, tmp_path: Path, proxy: str) -> None:
    """Two gateways are upgraded under changes, and one is killed: each client finds the other one, and has every change once."""
    ports = [free_port(), free_port()]
    async with bridge(servers), asyncio.TaskGroup() as group:
        async with web_process(servers, ports[0], tmp_path) as one, web_process(servers, ports[1], tmp_path) as other:
            with front(proxy, ports, tmp_path) as each:
                followers = [Follower(each, "the last") for _ in range(CLIENTS)]
                following = [group.create_task(follower.run()) for follower in followers]

                async def everybody_has_begun() -> bool:
                    there = [await connections(port) for port in ports]
                    return sum(there) == CLIENTS and all(there) and all(follower.began for follower in followers)

                await until(everybody_has_begun)
                async with writing(servers) as written:
                    await until(lambda: written)
                    await leave(one)
                    await until(lambda: _are_on(ports[1]))
                    async with web_process(servers, ports[0], tmp_path) as new:
                        await until(lambda: _sends_to(each, ports[0]))
                        await leave(other)
                        await until(lambda: _are_on(ports[0]))
                        async with web_process(servers, ports[1], tmp_path):
                            await until(lambda: _sends_to(each, ports[1]))
                            new.kill()
                            await until(lambda: _are_on(ports[1]))
                            many = len(written)
                            await until(lambda: len(written) > many)
                            await write(servers, "the last")
                            await asyncio.gather(*following)
        for follower in followers:
            # Once more than they were told to: nobody announces that a gateway is killed.
            assert follower.began == ["fresh"] + ["resumed"] * (len(follower.ended) + 1)
            # Nobody had to be told by the proxy that there is no gateway.
            assert {reason for reason, *_ in follower.ended} == {"shutdown"}
            numbers = [int(notes) for notes in follower.heard if notes != "the last"]
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert numbers[-1] >= many


async def _are_on(port: int) -> bool:
    return await connections(port) == CLIENTS


async def _sends_to(each: Front, port: int) -> bool:
    """Says whether one who comes now is sent to this gateway: it has the fewest streams."""
    async with listening(each):
        return await connections(port) > 0


@each_proxy
async def test_the_only_gateway(servers: Servers, tmp_path: Path, proxy: str) -> None:
    """While the only gateway is upgraded the proxy tells clients to come back, under their own id; nothing is missed."""
    port = free_port()
    async with bridge(servers), asyncio.TaskGroup() as group:
        with ExitStack() as stack:
            async with web_process(servers, port, tmp_path) as web:
                each = stack.enter_context(front(proxy, [port], tmp_path))
                follower = Follower(each, "after")
                following = group.create_task(follower.run())
                await until(lambda: follower.began)
                await write(servers, "before")
                await until(lambda: follower.heard)
                await leave(web)
            await write(servers, "meanwhile")
            await until(lambda: len([reason for reason, *_ in follower.ended if reason == "unavailable"]) >= 2, 60)
            for path, headers, told in (
                ("/streams/bookings", {}, "none-0"),
                ("/streams/bookings?lastEventId=k3f9-12", {}, "k3f9-12"),
                ("/streams/bookings?lastEventId=k3f9-12", {"Last-Event-ID": "k3f9-13"}, "k3f9-13"),
                ("/streams/bookings", {"Last-Event-ID": "data: <b>%0a"}, "none-0"),
            ):
                away = await ask(each, path, headers)
                assert (away.status, away.headers["cache-control"]) == (200, "no-store")
                assert away.headers["content-type"] == "text/event-stream; charset=utf-8"
                event = await away.stream.next()
                assert (event.name, event.id, event.data["reason"]) == ("reconnect", told, "unavailable")
                await away.close()
            for path in ("/auth/ticket", RENEWAL, "/streams/bookings"):
                assert (await ask(each, path, method="POST")).status in (502, 503, 504)
            async with web_process(servers, port, tmp_path):
                await until(lambda: len(follower.began) == 2, 60)
                await write(servers, "after")
                await following
    assert follower.heard == ["before", "meanwhile", "after"]
    assert follower.began == ["fresh", "resumed"]
    assert all(id == since for reason, id, since in follower.ended if reason == "unavailable")


@each_proxy
async def test_control_of_who_is_told(tmp_path: Path, proxy: str) -> None:
    """A proxy that does not look at the method says 200 to who renews a token, though there is no gateway."""
    with front(proxy, [free_port()], tmp_path, ONLY_READING[proxy]) as each:
        answer = await ask(each, RENEWAL, method="POST")
        assert (answer.status, (await answer.stream.next()).name) == (200, "reconnect")
        await answer.close()
