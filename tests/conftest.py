"""Fixtures: `servers` is a database of the test's own and an empty Redis."""

from collections.abc import Iterator

import pytest

from tests.support.servers import Servers, fresh, running
from tests.support.sinks import way_out

__all__ = ["way_out"]


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


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the long tests too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long") or _by_the_other_way(item)]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]


def _by_the_other_way(item: pytest.Item) -> bool:
    """Whether a test of what happens behind the way out runs over the second one."""
    callspec = getattr(item, "callspec", None)
    return item.get_closest_marker("one_way") is not None and callspec is not None and callspec.params.get("way_out") == "sse-starlette"
