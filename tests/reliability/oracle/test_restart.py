"""The restart matrix: whatever part is restarted, and however, under writers and restless clients, each view ends as what Postgres shows.

- Real processes: two bridges, two web processes, Postgres and Redis of their own.
- The clients keep their last id, come to whichever web process takes them, and fetch anew only when they are told to.
"""

import random
from pathlib import Path

import pytest

from tests.reliability.oracle.restart import PARTS, WAYS, restart
from tests.reliability.oracle.stage import Stage, staged
from tests.support.oracle import ALWAYS, ASKED

ROUNDS = 3
REASONS = {"truncated", "capture-failed", "shutdown", "unavailable"}
"""Why clients are told to fetch anew, or to come back: no restart makes the history of anybody incomplete.

The second where a table that names owners is emptied while it is looked in: from outside that is no other than a table written anew.
"""


async def _cell(stage: Stage, part: str, way: str) -> None:
    """Restarts in the middle of transactions, lets these go on for a while, and looks when all is quiet."""
    async with stage.going_on():
        await stage.progress()
        await restart(stage, part, way)
        await stage.progress()
    assert await stage.settle() == [], f"{part}, {way}"
    assert stage.told() <= REASONS, f"{part}, {way}"


@pytest.mark.timeout(300)
async def test_each_part(tmp_path: Path, chance: random.Random) -> None:
    """Views are what Postgres shows after a bridge and Redis were killed, web processes rolled, and Postgres restarted in good order."""
    async with staged(tmp_path, chance, [*ALWAYS, *chance.sample(ASKED, 4)]) as stage:
        for part, way in (("bridge", "kill"), ("web", "rolling"), ("postgres", "graceful"), ("redis", "kill")):
            await _cell(stage, part, way)


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", PARTS)
async def test_matrix(tmp_path: Path, chance: random.Random, part: str) -> None:
    """Views are what Postgres shows after a part was restarted in each way, some times over."""
    async with staged(tmp_path, chance, [*ALWAYS, *ASKED]) as stage:
        for way in WAYS:
            for _ in range(ROUNDS):
                await _cell(stage, part, way)


@pytest.mark.long
@pytest.mark.timeout(300)
async def test_one_after_the_other(tmp_path: Path, chance: random.Random) -> None:
    """Views are what Postgres shows after twelve restarts of anything in any way, between which it is never quiet."""
    cells = [(part, way) for part in PARTS for way in WAYS]
    chance.shuffle(cells)
    async with staged(tmp_path, chance, [*ALWAYS, *ASKED]) as stage:
        async with stage.going_on():
            for part, way in cells:
                await restart(stage, part, way)
        assert await stage.settle() == [], cells
        assert stage.told() <= REASONS, cells
