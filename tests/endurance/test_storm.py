"""A short storm: everything broken in turn, and nothing lost; and one with bridges that forget, which is found out."""

import asyncio
import random
from dataclasses import replace
from pathlib import Path

import pytest

from tests.endurance import storm
from tests.endurance.storm import Plan, Result
from tests.support import crash

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]


async def _run(plan: Plan, directory: Path) -> Result:
    def say(seconds: float, text: str) -> None:
        print(f"{seconds:5.0f} {text}")  # noqa: T201 - shown when it fails

    return await storm.run(plan, directory, asyncio.Event(), say)


async def test_storm(tmp_path: Path, chance: random.Random) -> None:
    """Whatever is killed, stopped, paused and emptied in turn, nothing is lost, doubled, out of order, or told to others."""
    plan = Plan(50, chance.randrange(2**32), clients=60, rate=200, writers=4, processes=1, calm=(0.1, 0.8), long=2.5, quiet=240)
    result = await _run(plan, tmp_path)
    assert result.faults == 0, result
    assert result.verdict.clients == 60
    assert result.verdict.received > result.committed > 1000
    assert sum(result.troubles.values()) > 5


async def test_control_bridges_that_forget(tmp_path: Path, chance: random.Random) -> None:
    """Where bridges go on from the head of the log, whatever Redis has, the clients lose events, and the storm counts them."""
    forgetful = ("tests.support.crash", (crash.FORGETFUL, str(tmp_path / "fuse")))
    only = ("Redis killed", "Redis paused", "CLIENT KILL TYPE normal")
    # Whose last event was forgotten never has it: nobody waits for that.
    often = Plan(12, chance.randrange(2**32), 20, 200, writers=4, processes=1, calm=(0.1, 0.8), long=2.5, quiet=30)
    plan = replace(often, only=only, bridge=forgetful)
    result = await _run(plan, tmp_path)
    assert result.verdict.lost > 0
    assert result.verdict.leaked == result.verdict.malformed == 0, result
    assert (result.contradictions, result.gaps, result.writers_errors) == ([], 0, {}), "the Postgres log is as it should be"
