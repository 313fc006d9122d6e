"""Fixtures of hostile tokens and requests, written against docs/protocol.md, security.md and configuration.md alone."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.hostile.client import APP, OTHER, keys
from tests.auth.pem import public_pem
from tests.support.gateway import Web, bridge, until, web
from tests.support.servers import Servers, fresh

GATES: Mapping[str, Mapping[str, Any]] = {
    "secret": {"cors_origins": f"{APP},{OTHER}"},
    "second": {"cors_origins": f"{APP},{OTHER}"},
    "narrow": {"jwt_algorithms": "HS256"},
    "strict": {"jwt_issuer": "https://issuer.example", "jwt_audience": "rowcast"},
    "short": {"max_token_lifetime": "1h"},
    "query": {"query_tokens": True},
    "rsa": {"jwt_public_key": public_pem("rsa")},
    "p256": {"jwt_public_key": public_pem("p256")},
    "ed25519": {"jwt_public_key": public_pem("ed25519")},
}
"""The gateways, and what is configured. Those with a public key have the secret too, which must then be good for nothing."""


@pytest.fixture(scope="package")
def site(run_servers: Servers) -> Iterator[Servers]:
    """A database and an empty Redis for the package."""
    with fresh(run_servers) as each:
        yield each


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def gates(site: Servers) -> AsyncIterator[Mapping[str, Web]]:
    """All gateways, and a bridge that publishes."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(bridge(site))
        await until(lambda: keys(site))  # the bridge's own, which are nobody's trace
        yield {name: await stack.enter_async_context(web(site, **changes)) for name, changes in GATES.items()}


@pytest.fixture
def gate(gates: Mapping[str, Web]) -> Web:
    """The gateway with a shared secret."""
    return gates["secret"]


@pytest.fixture(autouse=True)
def no_crash(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing that a stranger sends leaves a traceback in the log."""
    yield
    assert not [record for record in caplog.records if record.exc_info]
