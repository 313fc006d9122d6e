"""Clients that come, do something, and go: each opens a stream as somebody, in one of the ways in which streams are opened and left.

- What a visitor receives is held against the rules of the wire, and must come in order and once.
- Whatever a visitor does, being refused for want of room, or cut off, is no fault. Any other answer than the right one is.
"""

import asyncio
import random
import secrets
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import orjson

from tests.support import sse
from tests.support.gateway import token
from tests.support.process import rowcast

_HOST = "127.0.0.1"
_PATIENCE = 60.0
"""For an answer that must come, where the machine is busy with others."""
_TTL = 60
_IDS = 500
_MOST = 20
_AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: closing resets."""


class Refused(Exception):
    """There is no room now."""


class TooSlow(Exception):
    """The machine is so busy that a token has expired before it was used."""


def in_time(since: float, seconds: float) -> None:
    """Raises TooSlow where a token of so many seconds, signed at a time, has expired: what it gets then is right."""
    if time.time() >= since + seconds - 1:
        raise TooSlow


class Who(NamedTuple):
    """What is asked for, as whom."""

    streams: str
    sub: int
    roles: Sequence[str]


class Heard(NamedTuple):
    """How reading ended: with the event that was waited for, with the stream's end, or neither."""

    last_id: str
    event: sse.Event | None
    ended: bool


class Visitors:
    """What all of them share: where the web processes are, who there is, and what has been done. `faults` must stay empty."""

    def __init__(self, ports: Sequence[int], customers: Sequence[int], providers: Sequence[int], env: Mapping[str, str]) -> None:
        self.did: Counter[str] = Counter()
        self.faults: list[str] = []
        self.open = 0
        self.ids: list[str] = []
        """Some of those that were received, however long ago."""
        self.ports = ports
        self._customers, self._providers = customers, providers
        self._env = env

    async def run(self, visits: Mapping[str, tuple[float, Callable[["Visitors"], Awaitable[None]]]], idle: float) -> None:
        """Makes one visit after the other, of kinds that are weighted, until cancelled; rests for up to `idle` seconds between them."""
        kinds, weights = list(visits), [weight for weight, _ in visits.values()]
        while True:
            kind = random.choices(kinds, weights)[0]
            try:
                await visits[kind][1](self)
                self.did[kind] += 1
            except Refused:
                self.did["no room"] += 1
            except TooSlow:
                self.did["too slow"] += 1
            except (OSError, EOFError) as error:
                # TimeoutError is an OSError too, and must not come.
                self.did["cut off"] += 1
                if isinstance(error, TimeoutError):
                    self._fault(kind, "waited for too long")
            except AssertionError as error:
                self._fault(kind, str(error))
            await asyncio.sleep(random.uniform(0, idle))

    def _fault(self, kind: str, what: str) -> None:
        self.did["faults"] += 1
        if len(self.faults) < _MOST:
            self.faults.append(f"{kind}: {what[:400]}")

    def somebody(self) -> Who:
        """Chooses somebody, and what they listen to."""
        customer, provider = random.choice(self._customers), random.choice(self._providers)
        return random.choice(
            (
                Who("bookings", customer, ["customer"]),
                Who("bookings,services", customer, ["customer"]),
                Who("payments", random.randint(1, 8), ["customer"]),
                Who("notifications,properties", customer, []),
                Who("provider-bookings", provider, ["provider"]),
                Who("bookings,provider-bookings,services", provider, ["customer", "provider"]),
            )
        )

    @asynccontextmanager
    async def stream(self, who: Who, *, since: str = "", query: str = "", given: str = "", **options: Any) -> AsyncIterator[sse.Stream]:
        """Opens streams, and leaves no connection behind. `given` is a token, instead of one of the usual kind. Raises Refused."""
        bearer = given or token(who.sub, None, _TTL, roles=list(who.roles))
        headers = {"Authorization": f"Bearer {bearer}"} | ({"Last-Event-ID": since} if since else {})
        stream = await self.ask(f"/streams/{who.streams}{query}", headers, **options)
        if stream.status in (429, 503):
            raise Refused
        assert stream.status == 200, f"{stream.status} {stream.body[:200]!r}"
        self.open += 1
        try:
            yield stream
        finally:
            self.open -= 1
            stream.abort()

    async def ask(self, path: str, headers: Mapping[str, str], **options: Any) -> sse.Stream:
        """Asks one of the web processes; whoever asks ends the connection."""
        async with asyncio.timeout(_PATIENCE):
            return await sse.request(_HOST, random.choice(self.ports), path, headers, **options)

    async def answer(self, path: str, headers: Mapping[str, str], **options: Any) -> sse.Stream:
        """Asks for what is no stream, and leaves."""
        answer = await self.ask(path, headers, **options)
        answer.abort()
        return answer

    async def administer(self, method: str, path: str, body: Any = None) -> sse.Stream:
        """Asks for something as an admin."""
        headers = {"Authorization": f"Bearer {token(13, 'admin', _TTL)}"}
        return await self.answer(f"/admin/{path}", headers, method=method, body=orjson.dumps(body) if body is not None else b"")

    async def revoke(self, what: Mapping[str, str]) -> None:
        """Revokes by the API, now and then by the command."""
        if random.random() < 0.05:
            options = [part for name, value in what.items() for part in (f"--{name}", value)]
            done = await asyncio.to_thread(rowcast, "revoke", *options, env=self._env, timeout=120)
            assert done.returncode == 0, done.stderr
            self.did["revoked by command"] += 1
        else:
            answer = await self.administer("POST", "revocations", what)
            assert answer.status == 204, answer.body

    async def first(self, stream: sse.Stream) -> sse.Event:
        """Returns the first event, which says how the stream begins. Raises Refused where it is sent away."""
        event = await stream.next(_PATIENCE)
        if event.name == "reconnect":
            raise Refused
        assert event.name == "ready", event
        self.did[f"ready, {event.data['status']}"] += 1
        return event

    async def read(self, stream: sse.Stream, seconds: float, name: str = "") -> Heard:
        """Reads for so long, or up to an event of a name, or to the end. Nothing can be read after it."""
        last: sse.Event | None = None
        last_id = ""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    event = await stream.next(3600)
                    last_id = event.id
                    self._remember(event.id)
                    if event.name == name:
                        return Heard(last_id, event, False)
                    if event.name == "reset":
                        last = None
                    if not event.control:
                        assert last is None or _after(last, event), f"{event.id} {event.name} comes after {last.id} {last.name}"
                        last = event
        except EOFError:
            return Heard(last_id, None, True)
        except TimeoutError:
            return Heard(last_id, None, False)

    def _remember(self, id: str) -> None:
        if len(self.ids) < _IDS:
            self.ids.append(id)
        elif random.random() < 0.002:
            self.ids[random.randrange(_IDS)] = id

    async def closed(self, stream: sse.Stream, reason: str, since: float, seconds: float) -> None:
        """Reads up to the `closed` of this reason. An end for another one may come first; its token is of then, for so many seconds."""
        heard = await self.read(stream, _PATIENCE, "closed")
        assert heard.event is not None or heard.ended, f"a stream that is {reason} goes on"
        if heard.event is not None and heard.event.data["reason"] != reason:
            in_time(since, seconds)
            raise AssertionError(f"{heard.event} instead of {reason}")


def _after(before: sse.Event, event: sse.Event) -> bool:
    return event.position > before.position or (event.position == before.position and event.id != before.id)


def reset(stream: sse.Stream) -> None:
    """Leaves with RST."""
    stream._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    stream.abort()


def named() -> str:
    """Returns a token's id that no other has."""
    return secrets.token_hex(8)
