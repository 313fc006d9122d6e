"""`sseclient-py`, over requests."""

from typing import Any

import requests
from sseclient import SSEClient

from tests.clients.adapters.job import Job


def listen(job: Job) -> None:
    response: Any = requests.get(job.url, headers=job.headers, stream=True)
    for event in SSEClient(response).events():
        job.event(event.id, event.event, event.data)
