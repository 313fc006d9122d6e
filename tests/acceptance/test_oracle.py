"""The oracle: whatever is written, and whoever comes and goes, each client's view ends as what Postgres would show that user.

- Generated transactions, some left open, are given positions and published when the machine says so; clients connect with filters
  and snapshots, in all formats, to all streams that have snapshots, one or several, are cut, and come back with their last id.
- When all is quiet, a view must equal SELECT as that user's role, under row-level security, with that filter.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from gateway.fanout.judge import Judge
from gateway.fanout.look import Look
from gateway.fanout.snapshot import Reading, Seen, Snapshots
from streams import payload
from tests.support.gateway import until
from tests.support.oracle import Machine, staged
from tests.support.servers import Servers


@pytest.fixture
def stage(servers: Servers) -> Iterator[type[Machine]]:
    """The machine with a database and a gateway, in a loop of its own: hypothesis runs it from a function that is none of a loop."""
    loop = asyncio.new_event_loop()
    context = staged(servers)
    bridge, gateway, writers = loop.run_until_complete(context.__aenter__())
    attributes = {"run": staticmethod(loop.run_until_complete), "bridge": bridge, "gateway": gateway, "writers": writers}
    yield type("Staged", (Machine,), attributes)
    loop.run_until_complete(context.__aexit__(None, None, None))
    loop.close()


def _settings(examples: int, steps: int, **more: Any) -> settings:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks, database=None, **more)


@pytest.mark.timeout(600)
def test_views_are_what_postgres_shows(stage: type[Machine], pytestconfig: pytest.Config) -> None:
    """Each client's view, from snapshots and events, ends as SELECT under its role and filter."""
    long = pytestconfig.getoption("--long")
    run_state_machine_as_test(stage, settings=_settings(100 if long else 10, 40 if long else 25))


def _leave_rule_off(patch: pytest.MonkeyPatch, stage: type[Machine]) -> None:
    """Whoever a row leaves is not told."""
    of_feed = payload._of_feed
    left = b'"left":true'
    patch.setattr(
        payload, "_of_feed", lambda *args: [each for each in of_feed(*args) if isinstance(each, payload.Joint) or left not in each.data]
    )


def _filter_leave_off(patch: pytest.MonkeyPatch, stage: type[Machine]) -> None:
    """Only the row after a change is looked at."""
    see = Look.see
    patch.setattr(Look, "see", lambda self, entry: None if (seen := see(self, entry)) and b'"left":true' in seen.data else seen)


def _position_after_rows(patch: pytest.MonkeyPatch, stage: type[Machine]) -> None:
    """The position is read when the rows have been read, and not with them."""
    pages = Reading.pages

    async def slow(self: Reading, *args: Any) -> Any:
        async for page in pages(self, *args):
            yield page
        roster, rows_at = stage.gateway.hub.roster, stage.gateway.hub.roster.position
        with contextlib.suppress(TimeoutError):
            await until(lambda: roster.position > rows_at, within=0.2)
        self.cursor = replace(self.cursor, position=roster.position)
        self.seen = Seen(0, 0, frozenset())

    patch.setattr(Reading, "pages", slow)


def _row_level_security_off(patch: pytest.MonkeyPatch, stage: type[Machine]) -> None:
    """Rows and deliveries are judged as for somebody whom no policy concerns."""
    for each in (stage.gateway.hub._catch_up._snapshots, stage.gateway.hub._catch_up._judge):
        assert isinstance(each, Snapshots | Judge)
        patch.setattr(each, "_role", "postgres")
    # A policy that hides nothing is no loss.
    stage.run(stage.writers[0].execute("update bookings set notes = 'hidden', provider_id = 9 where id < 4"))


@pytest.mark.timeout(400)
@pytest.mark.parametrize(
    "off",
    [
        _leave_rule_off,
        pytest.param(_filter_leave_off, marks=pytest.mark.long),
        pytest.param(_position_after_rows, marks=pytest.mark.long),
        pytest.param(_row_level_security_off, marks=pytest.mark.long),
    ],
)
def test_control(stage: type[Machine], monkeypatch: pytest.MonkeyPatch, off: Callable[[pytest.MonkeyPatch, type[Machine]], None]) -> None:
    """With a rule switched off the oracle finds it."""
    off(monkeypatch, stage)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(stage, settings=_settings(200, 25, phases=(Phase.generate,)))
