"""`launchdarkly-eventsource`, of Python."""

from ld_eventsource import SSEClient  # type: ignore[import-untyped]  # it ships no types
from ld_eventsource.config import ConnectStrategy  # type: ignore[import-untyped]  # it ships no types

from tests.clients.adapters.job import Job


def listen(job: Job) -> None:
    client = SSEClient(ConnectStrategy.http(job.url, headers=job.headers))
    for event in client.events:
        job.event(event.last_event_id, event.event, event.data)
