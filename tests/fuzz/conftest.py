"""One database, one bridge and one web process with a neighbour for all that is thrown at them."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from subprocess import Popen

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings

from gateway.migrator import Plan, migrate
from streams.catalog import load
from tests.fuzz import declared
from tests.fuzz.ground import NEIGHBOUR, Ground, bridge, ground
from tests.support.servers import MAX_BYTES, Servers, fresh

Decorator = Callable[[Callable[..., None]], Callable[..., None]]


def examples(count: int, shrink: bool = True) -> Decorator:
    """Settings of a property that is tried so many times against processes that many share; a control need not know the smallest."""
    return settings(
        phases=tuple(Phase) if shrink else (Phase.explicit, Phase.generate),
        max_examples=count,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


def few_or_many(few: int, many: int) -> pytest.MarkDecorator:
    """Runs a test with a few examples each time, and with many in the long run."""
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=[pytest.mark.long, pytest.mark.timeout(600)])])


async def _publish(servers: Servers) -> None:
    connection = await servers.connect(server_settings={"search_path": "public"})
    await connection.execute(declared.CREATE)
    await migrate(connection, Plan(load(declared.__name__), "armed", MAX_BYTES))
    await connection.close()


@contextmanager
def published(run: Servers) -> Iterator[Servers]:
    """Makes a database with all types, and a booking of the neighbour."""
    with fresh(run) as servers:
        asyncio.run(_publish(servers))
        with psycopg.connect(servers.database_url) as database:
            database.execute(
                "insert into users (id, name, email, role) values (%s, 'Neighbour', 'neighbour@example.org', 'customer')", (NEIGHBOUR,)
            )
            database.execute(
                "insert into bookings (customer_id, service_id, booking_date, start_time, end_time)"
                " values (%s, 1, now(), now(), now() + interval '1 hour')",
                (NEIGHBOUR,),
            )
        yield servers


@pytest.fixture(scope="package")
def bridged(run_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Servers, Popen[bytes]]]:
    """The database that all share, and a bridge that publishes."""
    with published(run_servers) as servers, bridge(servers, tmp_path_factory.mktemp("bridge")) as process:
        yield servers, process


@pytest.fixture(scope="package")
def site(bridged: tuple[Servers, Popen[bytes]]) -> Servers:
    return bridged[0]


@pytest.fixture(scope="package")
def one(site: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """The web process that all share."""
    with ground(site, tmp_path_factory.mktemp("web")) as made:
        yield made


@pytest.fixture
def field(one: Ground) -> Iterator[Ground]:
    """The web process, which must be after each test as it was before."""
    yield one
    one.finish()


@pytest.fixture(scope="package")
def damaged(site: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    """A web process that breaks each law now and then, for controls."""
    with ground(site, tmp_path_factory.mktemp("broken"), "broken") as made:
        yield made
