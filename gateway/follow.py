"""`rowcast tail`: follows streams in a terminal, and resumes by itself."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2

from gateway import backoff


class FollowError(Exception):
    """The gateway refuses for good."""


@dataclass(frozen=True)
class Event:
    """One event as it came: `data` is JSON text."""

    id: str
    name: str
    data: str


async def follow(url: str, streams: str, token: str, since: str | None) -> AsyncIterator[Event]:
    """Yields events until `closed`; comes back after any interruption with the last id. Raises FollowError when refused for good."""
    last_id = since
    failures = 0
    async with httpx2.AsyncClient(timeout=httpx2.Timeout(10, read=60)) as client:
        while True:
            headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
            if last_id:
                headers["Last-Event-ID"] = last_id
            pause = 0.0
            try:
                async with client.stream("GET", f"{url.rstrip('/')}/streams/{streams}", headers=headers) as response:
                    if response.status_code >= 400:
                        body = (await response.aread()).decode(errors="replace")
                        if response.status_code not in (429, 500, 502, 503, 504):
                            raise FollowError(f"{response.status_code}: {body}")
                        pause = float(response.headers.get("Retry-After", 1))
                    else:
                        failures = 0
                        async for event in _events(response.aiter_bytes()):
                            last_id = event.id or last_id
                            yield event
                            if event.name == "closed":
                                return
            except httpx2.TransportError:
                failures += 1
            await asyncio.sleep(pause or 0.1 + backoff.pause(failures, 0.5, 10.0))


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """Reads events as in WHATWG HTML §9.2.6; lines end with LF and nothing else, whatever Unicode calls a line."""
    fields: dict[str, str] = {}
    pending = b""
    async for chunk in chunks:
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line:
                name, _, value = line.decode().partition(":")
                fields[name] = value.removeprefix(" ")
            elif fields:
                if "data" in fields:
                    yield Event(fields.get("id", ""), fields.get("event", "message"), fields["data"])
                fields = {}
