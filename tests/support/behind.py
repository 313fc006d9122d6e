"""A gateway behind a proxy, in the test's event loop: what happens to it, and what has come through."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.curl import Answer
from tests.support.front import Front, front
from tests.support.gateway import Web, gateway, until
from tests.support.servers import Servers

BUFFERING = {"proxy_buffering off;": "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;"}
"""Lets nginx buffer, whatever the gateway says."""


async def change(servers: Servers, *notes: str) -> None:
    """Changes a booking of customer 1, once for each of the notes."""
    connection = await servers.connect()
    for each in notes:
        await connection.execute("update bookings set notes = $1 where id = 1", each)
    await connection.close()


async def heard(answer: Answer, count: int = 1, within: float = 300) -> list[Any]:
    """Returns the notes of the next bookings."""
    found = [event.data for event in await answer.stream.events(count, within)]
    return [data["changes"]["notes"]["new"] if "changes" in data else data["record"]["notes"] for data in found]


def sample(web: Web, name: str, **labels: str) -> float:
    """Returns a number that a gateway counts."""
    value = web.app.state.meter.registry.get_sample_value(name, labels)
    assert value is not None
    return float(value)


@asynccontextmanager
async def behind(
    servers: Servers, proxy: str, directory: Path, changes: dict[str, str] | None = None, **settings: Any
) -> AsyncIterator[tuple[Web, Front]]:
    """Runs a gateway, and a proxy before it."""
    async with gateway(servers, **settings) as web:
        # Else a proxy that asks whether it is ready leaves it out at first.
        await until(lambda: web.hub.tail.connected)
        with front(proxy, [web.port], directory, changes) as each:
            yield web, each
