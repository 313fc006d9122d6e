"""`httpx-sse`."""

import httpx
from httpx_sse import connect_sse

from tests.clients.adapters.job import Job


def listen(job: Job) -> None:
    with httpx.Client(timeout=None) as client, connect_sse(client, "GET", job.url, headers=job.headers) as source:
        for event in source.iter_sse():
            job.event(event.id, event.event, event.data)
