"""`aiohttp-sse-client`."""

import asyncio

from aiohttp_sse_client import client  # type: ignore[import-untyped]  # it ships no types

from tests.clients.adapters.job import Job


def listen(job: Job) -> None:
    asyncio.run(_listen(job))


async def _listen(job: Job) -> None:
    async with client.EventSource(job.url, headers=job.headers) as source:
        async for event in source:
            job.event(event.last_event_id, event.type, event.data)
