"""A bridge may die at any point: another one goes on, and no client loses an event or gets one twice."""

import asyncio
import random
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.gateway.fanout.traffic import Traffic, audience, writing
from tests.support import crash
from tests.support.gateway import until, web
from tests.support.ledger import Reader, agreed, reading
from tests.support.process import command, environment, started
from tests.support.servers import Servers


async def _first_event(servers: Servers, readers: list[Reader]) -> None:
    """Waits until a bridge is at work."""
    connection = await servers.connect()
    await connection.execute("update services set description = 'the first' where id = 1")
    await connection.close()
    await until(lambda: readers[-1].lines)


async def _check(servers: Servers, readers: list[Reader], traffic: Traffic) -> None:
    """Everybody has everything, on the connection that they opened first; the log is complete; Redis has each position once."""
    ledger, faults = await agreed(servers, readers)
    assert faults == []
    assert [(reader.statuses, reader.resets) for reader in readers] == [(["fresh"], [])] * len(readers)
    assert traffic.faults(ledger) == []
    assert ledger.head > 20
    await ledger.check_redis(servers)


@pytest.mark.parametrize("point", crash.POINTS)
async def test_bridge_dies(servers: Servers, tmp_path: Path, point: str) -> None:
    """A bridge that dies at the point leaves nothing undone and nothing done twice for the one that stands by."""
    fuse, env = tmp_path / "fuse", environment(servers)
    async with web(servers) as gateway, reading(readers := audience(gateway)):
        with started(crash.command(point, fuse), env, tmp_path / "mortal.log") as mortal:
            await _first_event(servers, readers)
            with started(command("bridge"), env, tmp_path / "bridge.log"):
                async with writing(servers, writers=2) as traffic:
                    fuse.touch()
                    await until(lambda: mortal.poll() is not None)
                    before = len(readers[-1].lines)
                    await until(lambda: len(readers[-1].lines) > before + 5)
                assert mortal.returncode == crash.EXIT_CODE, (tmp_path / "mortal.log").read_text()
                await _check(servers, readers, traffic)


async def test_control_successor_begins_at_the_head(servers: Servers, tmp_path: Path) -> None:
    """A successor that does not ask Redis how far it is leaves out what the one before had not sent, and the check sees it."""
    fuse, env = tmp_path / "fuse", environment(servers)
    connection = await servers.connect()
    async with web(servers) as gateway, reading(readers := audience(gateway)[-1:]):
        with started(crash.command("after-commit", fuse), env, tmp_path / "mortal.log") as mortal:
            await _first_event(servers, readers)
            fuse.touch()
            while mortal.poll() is None:
                await connection.execute("update services set description = 'unsent' where id = 1")
            before = len(readers[-1].lines)
            with started(crash.command(crash.FORGETFUL, fuse), env, tmp_path / "bridge.log"):
                while len(readers[-1].lines) == before:
                    await connection.execute("update services set description = 'sent' where id = 1")
                _, (fault,) = await agreed(servers, readers)
    assert "missing" in fault
    await connection.close()


async def test_bridges_are_killed(servers: Servers, tmp_path: Path, chance: random.Random) -> None:
    """Bridges that are killed at random moments, one after the other, are as good as one that lives."""
    logs = [tmp_path / f"{number}.log" for number in range(4)]
    async with web(servers) as gateway, reading(readers := audience(gateway)):
        with ExitStack() as stack:
            living = {log: stack.enter_context(started(command("bridge"), environment(servers), log)) for log in logs}

            def active() -> list[Path]:
                return [log for log in living if "is active" in log.read_text()]

            await _first_event(servers, readers)
            async with writing(servers, writers=2) as traffic:
                while len(living) > 1:
                    await until(active)
                    await asyncio.sleep(chance.uniform(0, 0.5))
                    bridge = living.pop(active()[0])
                    bridge.send_signal(signal.SIGKILL)
                    bridge.wait()
            await _check(servers, readers, traffic)
