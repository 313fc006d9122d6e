"""After each failure events flow again, and nothing is lost. How long it takes is measured and not asserted."""

import asyncio
from pathlib import Path

import pytest

from tests.endurance import recovery
from tests.endurance.failure import CASES, Case, Stage

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def _quiet(done: float, text: str) -> None:
    print(f"{done:3.0f} {text}")  # noqa: T201 - shown when it fails


async def test_events_flow_again(tmp_path: Path) -> None:
    """Everything that fails comes back by itself, or by being started again, and everybody has everything."""
    result = await recovery.run(1, tmp_path, asyncio.Event(), _quiet)
    recovery.tell(result)
    assert result.faults == []
    # Those through a proxy come last.
    cases = sorted(CASES, key=lambda case: case.proxied)
    assert [(each.name, len(each.first), each.never) for each in result.times] == [(case.name, 1, 0) for case in cases]


async def test_control_nothing_flows_while_there_is_no_bridge(tmp_path: Path) -> None:
    """Where nobody takes over, that is seen."""

    async def all_stop(stage: Stage) -> float:
        for bridge in stage.cluster.bridges:
            await bridge.kill()
        return asyncio.get_running_loop().time()

    result = await recovery.run(1, tmp_path, asyncio.Event(), _quiet, [Case("all bridges killed", "their end", all_stop)], within=5)
    assert [each.never for each in result.times] == [1]
    assert result.bad
