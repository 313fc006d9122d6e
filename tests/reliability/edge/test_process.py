"""Web processes as they really are: stopped, killed, without file descriptors. Who was connected gets everything all the same."""

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.gateway.fanout.traffic import go_on
from tests.reliability.edge.load import Load, loaded
from tests.support import sse
from tests.support.cluster import Doors, Program
from tests.support.gateway import bridge, token, until
from tests.support.ledger import Reader, agreed, reading
from tests.support.process import environment, free_port
from tests.support.servers import Servers


@asynccontextmanager
async def _webs(servers: Servers, directory: Path, count: int) -> AsyncIterator[list[Program]]:
    """Starts a bridge, and web processes."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bridge(servers))
        programs = []
        for number in range(count):
            port = free_port()
            env = environment(servers, HOST="127.0.0.1", PORT=str(port))
            programs.append(Program(f"web {number}", ["web"], env, directory / f"web-{number}.log", port))
            stack.push_async_callback(programs[-1].kill)
        await asyncio.gather(*(program.start() for program in programs))
        yield programs


def _doors(programs: Sequence[Program]) -> Doors:
    return Doors([program.port for program in programs])


async def test_redis_closes_a_subscription_that_does_not_read(servers: Servers, tmp_path: Path) -> None:
    """A process that stands still until Redis closes its subscription reads what was published meanwhile in the log, on open streams."""
    connection = await servers.connect()
    redis: Any = Redis.from_url(servers.redis_url)
    async with redis, _webs(servers, tmp_path, 1) as (web,), reading([reader := Reader(_doors([web]), "bookings", 1)]):
        limit = (await redis.config_get("client-output-buffer-limit"))["client-output-buffer-limit"]
        await redis.config_set("client-output-buffer-limit", "pubsub 100000 0 0")
        before = await _closed(redis)
        web.pause()
        try:
            for n in range(500):
                # More than the network between them holds.
                await connection.execute("update bookings set notes = repeat('x', 60000) || $1 where id = 1", str(n))
                if n % 20 == 0 and await _closed(redis) > before:
                    break
            assert await _closed(redis) > before
        finally:
            web.resume()
            await redis.config_set("client-output-buffer-limit", limit)
        await connection.execute("update bookings set notes = 'afterwards' where id = 1")
        await until(lambda: reader.lines and "afterwards" in reader.lines[-1].data, within=60)
        _, faults = await agreed(servers, [reader])
    await connection.close()
    assert faults == []
    assert (reader.statuses, reader.resets) == (["fresh"], [])


async def _closed(redis: Any) -> int:
    return int((await redis.info("stats"))["client_output_buffer_limit_disconnections"])


async def _killed(servers: Servers, directory: Path, clients: int, kills: int, doors: type[Doors] = Doors) -> Load:
    """Kills one web process after the other under load; each is started again."""
    async with _webs(servers, directory, 2) as programs:
        door = doors([program.port for program in programs])
        readers = [Reader(door, "bookings,services", 1 + number % 8) for number in range(clients)]
        async with loaded(servers, readers) as load:
            for number in range(kills):
                victim = programs[number % len(programs)]
                await victim.kill()
                await go_on(readers)
                await victim.start()
                await go_on(readers)
    return load


async def test_web_processes_are_killed(servers: Servers, tmp_path: Path) -> None:
    """Clients of a process that is killed go on at the other, each with its last id, and have every event once."""
    _complete(await _killed(servers, tmp_path, clients=20, kills=2))


@pytest.mark.long
@pytest.mark.timeout(400)
async def test_web_processes_are_killed_again_and_again(servers: Servers, tmp_path: Path) -> None:
    """The same with more clients, and more often."""
    _complete(await _killed(servers, tmp_path, clients=60, kills=4))


def _complete(load: Load) -> None:
    assert load.faults == []
    assert load.resets == []
    assert {reader.statuses[0] for reader in load.readers} == {"fresh"}
    again = [status for reader in load.readers for status in reader.statuses[1:]]
    assert again
    assert set(again) == {"resumed"}


class _LosesOne(Doors):
    """Loses the first event of each stream that is resumed."""

    async def open(self, streams: str, sub: object, role: str | None, since: str | None, **claims: Any) -> sse.Stream:
        stream = await super().open(streams, sub, role, since, **claims)
        following, lost = stream.next, since is None

        async def but_one(within: float = 20) -> sse.Event:
            nonlocal lost
            event = await following(within)
            if not lost and not event.control:
                lost = True
                event = await following(within)
            return event

        stream.next = but_one  # type: ignore[method-assign]
        return stream


async def test_control_one_event_is_lost(servers: Servers, tmp_path: Path) -> None:
    """Did a resumed stream lack one event, the check would see it."""
    load = await _killed(servers, tmp_path, clients=8, kills=1, doors=_LosesOne)
    assert any("missing" in fault for fault in load.faults)


async def _ask(port: int) -> asyncio.StreamWriter | None:
    """Opens a stream; None where nobody answers."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /streams/services HTTP/1.1\r\nHost: rowcast\r\nAuthorization: Bearer {token(1)}\r\n\r\n".encode())
        answer = await reader.read(100)
    except OSError:
        return None
    if not answer.startswith(b"HTTP/1.1 200"):
        writer.close()
        return None
    return writer


async def _let_in(port: int) -> bool:
    writer = await _ask(port)
    if writer is not None:
        writer.close()
    return writer is not None


async def _crowd(servers: Servers, web: Program, limited: bool) -> tuple[int, Load]:
    """Asks for many more streams than a process has descriptors for, if it is limited; returns how many it has not let in."""
    assert web.process is not None
    pid = web.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    redis: Any = Redis.from_url(servers.redis_url)
    async with redis, loaded(servers, [Reader(_doors([web]), "services", 1)]) as load:
        if limited:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{pid}/fd")) + 10, limits[1]))
        answers = await asyncio.gather(*(_ask(web.port) for _ in range(60)))
        crowd = [writer for writer in answers if writer is not None]
        # Who is there gets what comes, also when there is hardly room for the tail's own connection.
        await go_on(load.readers)
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        for writer in crowd:
            writer.close()
        await go_on(load.readers)
        # Those who have left are forgotten one by one.
        await until(lambda: _let_in(web.port))
    return answers.count(None), load


async def test_no_descriptors_are_left(servers: Servers, tmp_path: Path) -> None:
    """Who comes then is refused at once, who is there is not harmed, and when some have left others are let in."""
    async with _webs(servers, tmp_path, 1) as (web,):
        refused, load = await _crowd(servers, web, limited=True)
    assert refused > 20
    assert load.faults == []
    assert load.statuses == {("fresh",)}


async def test_control_enough_descriptors(servers: Servers, tmp_path: Path) -> None:
    """With descriptors for all, all of the same crowd are let in: it is their number that was refused."""
    async with _webs(servers, tmp_path, 1) as (web,):
        refused, load = await _crowd(servers, web, limited=False)
    assert refused == 0
    assert load.faults == []
