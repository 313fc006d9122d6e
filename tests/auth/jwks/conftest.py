"""An endpoint, what fetches from it, and a clock that only the test moves on."""

from collections.abc import AsyncIterator

import pytest

from auth.jwks import Jwks
from tests.auth.jwks.issuer import Clock, Endpoint


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    await endpoint.start()
    yield endpoint
    await endpoint.stop()


@pytest.fixture
async def jwks(endpoint: Endpoint) -> AsyncIterator[Jwks]:
    jwks = Jwks(endpoint.url)
    yield jwks
    await jwks.close()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("auth.jwks.time", clock)
    return clock
