"""Two gateways, tokens that are all different, and what an admin and a client ask about access."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.support import sse
from tests.support.gateway import Web, token, web
from tests.support.servers import Servers

ADMIN = {"Authorization": f"Bearer {token(13, 'admin')}"}
numbers = itertools.count()


async def post(gateway: Web, path: str, headers: dict[str, str], body: bytes = b"") -> sse.Stream:
    """Asks, and returns the whole answer."""
    answer = await sse.request(gateway.host, gateway.port, path, headers, method="POST", body=body)
    await answer.close()
    return answer


async def revoke(gateway: Web, body: bytes) -> None:
    """Revokes as an admin."""
    answer = await post(gateway, "/admin/revocations", ADMIN, body)
    assert answer.status == 204, answer.body


async def opened(gateway: Web, given: str, streams: str = "bookings") -> sse.Stream:
    """Asks for streams with a token; the answer is open where it is one."""
    stream = await gateway.request(f"/streams/{streams}", {"Authorization": f"Bearer {given}"})
    if stream.status != 200:
        await stream.close()
    return stream


@asynccontextmanager
async def two(servers: Servers, **changes: Any) -> AsyncIterator[tuple[Web, Web]]:
    """Starts two web processes of the same settings."""
    async with web(servers, **changes) as one, web(servers, **changes) as other:
        yield one, other


def given_token(**claims: Any) -> str:
    """Returns a token of user 1 that no other is like."""
    return token(1, jti=f"token-{next(numbers)}", **claims)
