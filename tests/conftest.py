"""Fixtures: `servers` is a database of the test's own and an empty Redis; `chance` what a test leaves to chance.

The run's seed stands in its head; `--seed` does the same again, for one test alone too, as far as processes and networks let it.
"""

import random
import secrets
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import guard
from tests.support.servers import Servers, fresh, running
from tests.support.sinks import way_out

__all__ = ["way_out"]

# A shell in the background has it ignored, and what is started here would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
if settings.get_current_profile_name() != "ci":
    # No test asserts a time, nor that of making up its examples: the machines are shared.
    settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("shared")


@pytest.fixture(scope="session")
def run_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """One Postgres and one Valkey for the whole run."""
    with running(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@pytest.fixture
def servers(run_servers: Servers) -> Iterator[Servers]:
    """A migrated database with the example tables, and an empty Redis."""
    with fresh(run_servers) as each:
        yield each


@pytest.fixture(autouse=True)
def chance(request: pytest.FixtureRequest) -> random.Random:
    """The chance of one test, from the run's seed and the test's name; what takes it from the module `random` is seeded too."""
    seed = f"{request.config.getoption('--seed')} {request.node.nodeid}"
    random.seed(seed)
    return random.Random(seed)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long tests too")
    parser.addoption("--seed", type=int, default=secrets.randbits(32), help="what is left to chance follows from it (default: another)")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--hypothesis-seed") is None:
        config.option.hypothesis_seed = str(config.getoption("--seed"))


def pytest_sessionstart(session: pytest.Session) -> None:
    standing = guard.stand()
    session.config.add_cleanup(lambda: guard.leave(standing))
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    if reporter is not None:
        reporter.write_line(f"seed {session.config.getoption('--seed')} (the same again: --seed {session.config.getoption('--seed')})")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    long = config.getoption("--long")
    left_out = {item for item in items if _elsewhere(item) or not (long or _short(item))}
    config.hook.pytest_deselected(items=list(left_out))
    items[:] = [item for item in items if item not in left_out]


def _short(item: pytest.Item) -> bool:
    """Whether a test runs each time; what takes long does not do so over every way out."""
    ways = ("handed over",) if item.get_closest_marker("one_way") else ("handed over", "sse-starlette")
    few = item.get_closest_marker("one_way") or item.get_closest_marker("two_ways")
    return not item.get_closest_marker("long") and (not few or _way_out(item) in ways)


def _elsewhere(item: pytest.Item) -> bool:
    """Whether a test looks into a server that this way out has not."""
    return item.get_closest_marker("uvicorn") is not None and _way_out(item) == "hypercorn"


def _way_out(item: pytest.Item) -> str:
    callspec = getattr(item, "callspec", None)
    return str(callspec.params.get("way_out", "handed over")) if callspec is not None else "handed over"
