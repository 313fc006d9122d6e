"""Follows streams over HTTP as any client has to, and resumes by itself; nothing here knows a terminal.

- Whatever ends a connection, the next one goes on after the last id. An answer that will be the same next time ends it for good: 4xx,
  but not 408, 425 and 429.
- It waits as it was told, by `reconnect` or `Retry-After`; else what `retry:` said; where nothing answers, longer each time.
- Three heartbeats that do not come are a lost connection.
- The token is asked for at each connect and when it is about to expire: a newer one goes on where the old one ends.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import quote

import httpx2

from gateway import backoff

NOWHERE = "none-0"
"""The id of whoever has nothing yet."""
CONTROL = frozenset({"ready", "reset", "snapshot", "checkpoint", "auth-expiring", "reconnect", "closed"})
"""The events that are no change."""
_ANSWER_SECONDS = 30.0
_SILENT_HEARTBEATS = 3
_FIRST_ATTEMPTS = 3
_MOST_SECONDS = 30.0
_LEAST_SECONDS = 0.1
_TOLD_SECONDS = 3600.0
_MALFORMED = frozenset({400, 414, 431})
_FOR_NOW = frozenset({408, 425, 429})


class FollowError(Exception):
    """Following has ended for good; `code` is the exit code that says so."""

    code: ClassVar[int] = 1


class Unreachable(FollowError):
    """Nothing that speaks as a gateway does has ever answered."""


class Malformed(FollowError):
    """The gateway does not understand what is asked for."""

    code = 2


class Refused(FollowError):
    """The gateway does not let this token have it, or has no such stream."""

    code = 3


class _Lost(Exception):
    """There is no stream now, for a reason that may pass; `retry_seconds` is when the gateway wants to be asked again."""

    def __init__(self, why: str, retry_seconds: float | None = None) -> None:
        super().__init__(why)
        self.retry_seconds = retry_seconds


@dataclass(frozen=True)
class Wanted:
    """What to follow: streams, joined by commas, of the gateway at `url`. `token` returns the newest token that there is."""

    url: str
    streams: str
    token: Callable[[], str]
    query: tuple[tuple[str, str], ...] = ()
    since: str | None = None


@dataclass(frozen=True)
class Event:
    """One event as it came: `data` is JSON text."""

    id: str
    name: str
    data: str
    retry_seconds: float | None = None

    @cached_property
    def content(self) -> dict[str, Any]:
        """The data, numbers with all their digits; empty where it is no JSON object."""
        try:
            found = json.loads(self.data, parse_float=Decimal)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class Gap:
    """The connection is lost; the next attempt comes after a pause."""

    why: str
    pause_seconds: float


async def follow(wanted: Wanted) -> AsyncGenerator[Event | Gap, None]:
    """Yields events, and gaps between connections, until `closed`. Raises FollowError where coming back is useless."""
    each = _Follower(wanted)
    async with httpx2.AsyncClient(timeout=httpx2.Timeout(10, read=None)) as client:
        while True:
            told: float | None = None
            why = "the stream has ended"
            try:
                async with aclosing(each.connect(client)) as events:
                    async for event in events:
                        yield event
                        if event.name == "closed" and not each.has_newer_token():
                            return
                        if event.name == "reconnect":
                            told = _seconds(event.content.get("retry"), 1000)
                            why = f"the gateway has ended it: {event.content.get('reason')}"
            except _Lost as lost:
                why, told = str(lost), lost.retry_seconds
            except (httpx2.TransportError, TimeoutError) as error:
                why = str(error) or type(error).__name__
            pause = each.pause(told, why)
            yield Gap(why, pause)
            await asyncio.sleep(pause)


class _Follower:
    """What is known from one connection to the next."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._base = wanted.url.rstrip("/") + "/streams/"
        self._last_id = wanted.since or ""
        self._token = ""
        self._connection = ""
        self._retry_seconds = 1.0
        self._silence_seconds = _ANSWER_SECONDS
        self._answered = False
        self._failures = 0

    async def connect(self, client: httpx2.AsyncClient) -> AsyncGenerator[Event, None]:
        """Yields the events of one connection. Raises FollowError, _Lost, TransportError or TimeoutError."""
        self._token = self._wanted.token()
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        async with AsyncExitStack() as stack:
            async with asyncio.timeout(_ANSWER_SECONDS):
                url = self._base + quote(self._wanted.streams, safe=",")
                response = await stack.enter_async_context(client.stream("GET", url, params=self._wanted.query, headers=headers))
                await self._check(response)
            self._answered, self._failures = True, 0
            begun = False
            async for event in _events(self._chunks(response)):
                if begun or event.id != NOWHERE:
                    # Else one that refuses without a status would take away where to begin.
                    self._last_id = event.id or self._last_id
                self._retry_seconds = event.retry_seconds or self._retry_seconds
                if event.name == "ready":
                    begun = True
                    self._connection = str(event.content.get("connection", ""))
                    heartbeat = _seconds(event.content.get("heartbeat"), 1)
                    self._silence_seconds = heartbeat * _SILENT_HEARTBEATS if heartbeat else _ANSWER_SECONDS
                yield event
                if event.name == "auth-expiring":
                    await self._renew(client)

    async def _check(self, response: httpx2.Response) -> None:
        status, kind = response.status_code, response.headers.get("Content-Type", "nothing").partition(";")[0]
        if status == 200 and kind == "text/event-stream":
            return
        why = f"{status}: {_detail(await response.aread()) or response.reason_phrase}"
        if status in _FOR_NOW or status >= 500:
            self._answered = True
            raise _Lost(why, _seconds(response.headers.get("Retry-After"), 1))
        if status >= 400:
            raise (Malformed if status in _MALFORMED else Refused)(why)
        raise _Lost(f"the answer is {status} with {kind}, and no stream")

    async def _chunks(self, response: httpx2.Response) -> AsyncIterator[bytes]:
        chunks = aiter(response.aiter_bytes())
        while True:
            try:
                async with asyncio.timeout(self._silence_seconds):
                    chunk = await anext(chunks, None)
            except TimeoutError as error:
                raise _Lost(f"nothing was heard for {self._silence_seconds:g} s") from error
            if chunk is None:
                return
            yield chunk

    def has_newer_token(self) -> bool:
        """Whether there is another token than the one that is in use."""
        return self._wanted.token() != self._token

    async def _renew(self, client: httpx2.AsyncClient) -> None:
        """Gives the open stream a newer token, if there is one. Where that fails, the stream ends, and the next one has it."""
        token = self._wanted.token()
        if token == self._token:
            return
        try:
            url = f"{self._base}connections/{quote(self._connection, safe='')}/token"
            answer = await client.post(url, headers={"Authorization": f"Bearer {token}"}, timeout=_ANSWER_SECONDS)
        except httpx2.TransportError:
            return
        if answer.status_code == 204:
            self._token = token

    def pause(self, told: float | None, why: str) -> float:
        """Returns how long to wait. Raises Unreachable where nothing has ever answered."""
        told = told if told is None else min(told, _TOLD_SECONDS)
        if self._answered and not self._failures:
            # The next one is a failure unless it is answered.
            self._failures = 1
            return max(_LEAST_SECONDS, self._retry_seconds if told is None else told)
        if not self._answered and self._failures + 1 >= _FIRST_ATTEMPTS:
            raise Unreachable(f"there is no gateway at {self._wanted.url}: {why}")
        self._failures += 1
        # Longer than it is told, where that has not helped.
        return max(_LEAST_SECONDS, told or 0.0, backoff.pause(self._failures, self._retry_seconds, _MOST_SECONDS))


def _seconds(value: Any, per_second: float) -> float | None:
    """Reads a number of seconds, or of a part of them; None for anything else, such as a date."""
    try:
        seconds = float(value) / per_second
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _detail(body: bytes) -> str:
    """Returns what a problem says of itself; nothing where the answer is none, such as a proxy's page."""
    return str(Event("", "", body[:10_000].decode(errors="replace")).content.get("detail", ""))


async def _events(chunks: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    """Reads events as in WHATWG HTML §9.2.6; lines end with LF and nothing else, whatever Unicode calls a line."""
    fields: dict[str, str] = {}
    pending = b""
    async for chunk in chunks:
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if line:
                name, _, value = line.decode(errors="replace").partition(":")
                fields[name] = value.removeprefix(" ")
            elif fields:
                if "data" in fields:
                    retry = _seconds(fields.get("retry"), 1000)
                    yield Event(fields.get("id", ""), fields.get("event", "message"), fields["data"], retry)
                fields = {}
