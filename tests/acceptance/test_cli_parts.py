"""`rowcast bridge`, `web` and `tail` as processes: what they carry, and how they end."""

import asyncio
import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from gateway import wire
from tests.support import sse
from tests.support.gateway import bridge_of, token, until
from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers

Process = subprocess.Popen[bytes]


@dataclass
class Parts:
    """A bridge and a web process, their address, and their environment."""

    servers: Servers
    port: int
    env: dict[str, str]
    directory: Path
    stack: ExitStack
    bridge: Process
    web: Process

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *args: str, log: str) -> Process:
        """Starts one more command; its output goes to a file."""
        return self.stack.enter_context(started(command(*args), self.env, self.directory / log, cwd=self.directory))

    def lines(self, log: str) -> list[str]:
        path = self.directory / log
        return path.read_text().splitlines() if path.exists() else []

    async def open(self, **headers: str) -> sse.Stream:
        return await sse.request("127.0.0.1", self.port, "/streams/bookings", {"Authorization": f"Bearer {token()}"} | headers)

    async def change(self, notes: str) -> None:
        connection = await self.servers.connect()
        await connection.execute("update bookings set notes = $1 where id = 1", notes)
        await connection.close()


@pytest.fixture
async def parts(servers: Servers, tmp_path: Path) -> AsyncIterator[Parts]:
    """Starts `rowcast bridge` and `rowcast web`, and waits until they are ready."""
    port = free_port()
    env = environment(servers, PORT=str(port), ROWCAST_DRAIN="1s")
    with ExitStack() as stack:
        bridge, web = (
            stack.enter_context(started(command(name), env, tmp_path / f"{name}.log", cwd=tmp_path)) for name in ("bridge", "web")
        )
        wait_ready(f"http://127.0.0.1:{port}")
        yield Parts(servers, port, env, tmp_path, stack, bridge, web)


async def ended(process: Process) -> int:
    """Waits until a process has ended, and returns its exit code."""
    await until(lambda: process.poll() is not None)
    return int(process.returncode)


async def test_tail(parts: Parts) -> None:
    """`rowcast tail --output json` prints one line of JSON an event, follows a restart of the gateway, and ends with 130 at Ctrl-C."""
    tail = parts.start("tail", "bookings", "--token", token(), "--url", parts.base, "--output", "json", "--control", log="tail.log")

    def events() -> list[dict[str, object]]:
        return [json.loads(line) for line in parts.lines("tail.log") if not line.startswith("rowcast: ")]

    await until(lambda: len(events()) == 1)
    await parts.change("the first")
    await until(lambda: len(events()) == 2)
    parts.web.send_signal(signal.SIGTERM)
    assert await ended(parts.web) == 0
    await parts.change("while the gateway was away")
    parts.start("web", log="web.log")
    await until(lambda: len([event for event in events() if event["event"] == "bookings"]) == 2)
    tail.send_signal(signal.SIGINT)
    assert await ended(tail) == 130
    found = events()
    assert [event["event"] for event in found] == ["ready", "bookings", "reconnect", "ready", "bookings"]
    data = [event["data"] for event in found if event["event"] == "bookings"]
    assert [each["record"]["notes"] for each in data if isinstance(each, dict)] == ["the first", "while the gateway was away"]
    assert all(set(event) == {"id", "event", "data"} for event in found)


async def test_tail_is_refused(parts: Parts) -> None:
    """`rowcast tail` with a token that is refused ends with one line that says why, and does not try again."""
    refused = {
        "bad": ("bookings", "nonsense", "malformed"),
        "foreign": ("provider-bookings", token(), "provider"),
        "lost": ("nonsense", token(), "nonsense"),
    }
    tails = {
        name: parts.start("tail", streams, "--token", credential, "--url", parts.base, log=name)
        for name, (streams, credential, _) in refused.items()
    }
    for name, (_, credential, reason) in refused.items():
        assert await ended(tails[name]) == 3
        (line,) = parts.lines(name)
        assert reason in line
        assert credential == "nonsense" or credential not in line


async def test_web_drains(parts: Parts) -> None:
    """At SIGTERM `rowcast web` says `reconnect` on every open stream, with a retry, and exits 0; its log has no secret in it."""
    streams = [await parts.open() for _ in range(3)]
    assert [(await stream.next()).name for stream in streams] == ["ready"] * 3
    assert "server" not in streams[0].headers
    await sse.request("127.0.0.1", parts.port, "/streams/bookings?ticket=canary-1&access_token=canary-2", {})
    parts.web.send_signal(signal.SIGTERM)
    for stream in streams:
        goodbye = await stream.next()
        assert (goodbye.name, goodbye.data["reason"]) == ("reconnect", "shutdown")
        assert goodbye.data["retry"] > 0
        with pytest.raises(EOFError):
            await stream.next()
        await stream.close()
    assert await ended(parts.web) == 0
    log = "\n".join(parts.lines("web.log"))
    assert "Traceback" not in log
    assert "canary" not in log
    assert token().split(".")[0] not in log


async def test_web_drains_with_several_workers(parts: Parts) -> None:
    """`rowcast web --workers 2` serves from one port, and at SIGTERM says `reconnect` and exits 0 too."""
    parts.port = free_port()
    parts.env["PORT"] = str(parts.port)
    web = parts.start("web", "--workers", "2", log="workers.log")
    wait_ready(parts.base)
    stream = await parts.open()
    await stream.next()
    await parts.change("to one of two")
    (event,) = await stream.events(1)
    assert event.data["record"]["notes"] == "to one of two"
    web.send_signal(signal.SIGTERM)
    assert (await stream.next()).name == "reconnect"
    assert await ended(web) == 0
    await stream.close()


async def test_several_workers_take_nobody_while_they_drain(parts: Parts) -> None:
    """The port is closed while streams are still to be ended, so that a proxy asks another gateway."""
    parts.port = free_port()
    parts.env |= {"PORT": str(parts.port), "ROWCAST_DRAIN": "15s"}
    web = parts.start("web", "--workers", "2", log="workers.log")
    wait_ready(parts.base)
    streams = [await parts.open() for _ in range(12)]
    for stream in streams:
        await stream.next()
    web.send_signal(signal.SIGTERM)
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", parts.port)
        except ConnectionRefusedError:
            break
        except ConnectionResetError:
            # Just as it was closed.
            continue
        writer.close()
        await asyncio.sleep(0.01)
    assert web.poll() is None
    for stream in streams:
        assert (await stream.next(60)).name == "reconnect"
        await stream.close()
    assert await ended(web) == 0


async def test_bridge_ends(parts: Parts) -> None:
    """At SIGTERM `rowcast bridge` exits 0, whether it is the active one or stands by, and the one that stands by takes over."""
    other = parts.start("bridge", log="other.log")
    third = parts.start("bridge", log="third.log")
    stream = await parts.open()
    await stream.next()
    await until(lambda: _connections(parts, "rowcast listener"), 30)
    third.send_signal(signal.SIGTERM)
    assert await ended(third) == 0
    parts.bridge.send_signal(signal.SIGTERM)
    assert await ended(parts.bridge) == 0
    await parts.change("carried by the other")
    (event,) = await stream.events(1)
    assert event.data["record"]["notes"] == "carried by the other"
    other.send_signal(signal.SIGINT)
    assert await ended(other) == 0
    await stream.close()
    assert "Traceback" not in "\n".join(line for log in ("bridge.log", "other.log", "third.log") for line in parts.lines(log))


async def _connections(parts: Parts, name: str) -> bool:
    """Says whether all three bridges are connected."""
    connection = await parts.servers.connect()
    number = await connection.fetchval(
        "select count(*) from pg_stat_activity where application_name = $1 and datname = current_database()", name
    )
    await connection.close()
    return bool(number == 3)


async def test_bridge_ends_while_it_publishes(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge that is told to end at the very moment when a command has gone to Redis ends, and is not told in vain."""
    drain, told = asyncio.StreamWriter.drain, asyncio.Event()
    task = asyncio.create_task(bridge_of(servers).run())

    async def tell(writer: asyncio.StreamWriter) -> None:
        await drain(writer)
        if not told.is_set():
            told.set()
            task.cancel()

    with Redis.from_url(servers.redis_url) as redis:
        await until(lambda: redis.exists(wire.META))
    monkeypatch.setattr(asyncio.StreamWriter, "drain", tell)
    try:
        await until(told.is_set)
        await until(task.done)
        assert task.cancelled()
    finally:
        monkeypatch.undo()
        for each in asyncio.all_tasks() - {asyncio.current_task()}:
            each.cancel()
        await asyncio.gather(task, return_exceptions=True)
