"""One web process for all the bad requests of a module: none of them may change what the next one sees."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.support.gateway import Web, gateway
from tests.support.servers import Servers, fresh


@pytest.fixture(scope="module")
def module_servers(run_servers: Servers) -> Iterator[Servers]:
    """A database and an empty Redis for the module."""
    with fresh(run_servers) as each:
        yield each


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def web(module_servers: Servers, way_out: str) -> AsyncIterator[Web]:
    """A bridge and a web process, for the module."""
    async with gateway(module_servers) as each:
        yield each
