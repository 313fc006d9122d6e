"""`requests-sse`."""

from requests_sse import EventSource

from tests.clients.adapters.job import Job


def listen(job: Job) -> None:
    with EventSource(job.url, headers=job.headers) as source:
        for event in source:
            job.event(event.last_event_id, event.type, event.data)
