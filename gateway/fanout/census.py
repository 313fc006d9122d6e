"""⑦ Which streams are open, in all web processes: asked over the control channel, answered through a list in Redis.

- Answers do not go over the control channel, where every process would have to read them all. They lie in Redis until they are
  fetched by the one who has asked; only that one is there is said aloud.
- How many there should be PUBLISH says: a process that has stopped is subscribed still, and is missed.
- Bounded are what a process tells, how many it answers at a time, and how long it is waited for. The loop is never held for long.
"""

import asyncio
import contextlib
import math
import re
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import orjson
import structlog
from redis.asyncio import Redis

from gateway import wire
from gateway.fanout.roster import Roster
from gateway.fanout.subscriber import State, Subscriber
from gateway.fanout.ticker import iso

MOST = 1_000
"""Connections that are told, by one process and by all."""
_MOST_BYTES = 524_288
"""Of one process's answer, about: that many with streams and names of a usual length have half of it."""
_AT_ONCE = 4
_SLICE = 100
"""Connections that are looked at before others have their turn: a hundred take 0.2 ms, and two to tell of all of them."""
_SECONDS = 2.0
_KEPT_SECONDS = 30
_ANSWERS = f"rowcast:{wire.SHARD}:census:"
_REPLY = re.compile("[0-9a-f]{32}")

log = structlog.get_logger()


@dataclass(frozen=True)
class Count:
    """What was told. `total` are those that were asked for, of which `connections` are at most so many; `streams` counts all that are open.

    `processes` have answered, and if it is `complete` there are no others.
    """

    connections: Sequence[Mapping[str, Any]]
    total: int
    streams: Mapping[str, int]
    processes: int
    complete: bool


class _Asked:
    """A question that was asked: how many have said that they have answered it."""

    def __init__(self) -> None:
        self._heard = 0
        self._wanted = math.inf
        self._all = asyncio.Event()

    def hear(self) -> None:
        self._heard += 1
        self._look()

    async def wait(self, wanted: int) -> None:
        """Returns when so many have answered, or it has taken too long; they may have done so before it is known how many they are."""
        self._wanted = wanted
        self._look()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS):
                await self._all.wait()

    def _look(self) -> None:
        if self._heard >= self._wanted:
            self._all.set()


class Census:
    """Asks, and answers for the subscribers of this process."""

    def __init__(self, redis: "Redis", roster: Roster) -> None:
        self._redis = redis
        self._roster = roster
        self._asked: dict[str, _Asked] = {}
        self._answering = 0

    async def ask(self, subject: str | None = None, most: int = MOST) -> Count:
        """Returns what is open in all processes, of one user or of everybody. Raises RedisError."""
        reply = secrets.token_hex(16)
        asked = self._asked[reply] = _Asked()
        try:
            # This process hears it too.
            question = {"census": {"subject": subject, "most": most}, "reply": reply}
            listening = await self._redis.publish(wire.CONTROL, orjson.dumps(question))
            if not listening:
                # Not even this process, whose tail is just connecting.
                return await self.ask_here(subject, most)
            await asked.wait(listening)
        finally:
            del self._asked[reply]
        return await _count(await self._fetch(reply), listening, most)

    async def ask_here(self, subject: str | None = None, most: int = MOST) -> Count:
        """Returns what is open in this process, where the others cannot be asked."""
        return await _count([await self._look(subject, most)], math.inf, most)

    def hear(self, reply: str) -> None:
        """Takes note that somebody has answered."""
        if (asked := self._asked.get(reply)) is not None:
            asked.hear()

    def answer(self, question: Any, reply: str) -> Callable[[], Awaitable[None]]:
        """Returns what is to be done to answer. Raises ValueError, TypeError or LookupError for no question of ours."""
        subject, most = question["subject"], question["most"]
        if not isinstance(subject, str | None) or type(most) is not int or _REPLY.fullmatch(reply) is None:
            raise ValueError("not a question of ours")
        return partial(self._answer, subject, min(most, MOST), reply)

    async def _answer(self, subject: str | None, most: int, reply: str) -> None:
        if self._answering >= _AT_ONCE:
            # Who has asked sees that one is missing.
            log.warning("too many ask what is open")
            return
        self._answering += 1
        try:
            data = await self._look(subject, most)
            pipeline = self._redis.pipeline(transaction=True)
            pipeline.rpush(_ANSWERS + reply, data)
            pipeline.expire(_ANSWERS + reply, _KEPT_SECONDS)
            pipeline.publish(wire.CONTROL, orjson.dumps({"counted": reply}))
            await pipeline.execute()
        finally:
            self._answering -= 1

    async def _look(self, subject: str | None, most: int) -> bytes:
        """Returns this process's answer."""
        streams: Counter[str] = Counter()
        connections: list[orjson.Fragment] = []
        total = size = 0
        for number, subscriber in enumerate(list(self._roster.subscribers), 1):
            if number % _SLICE == 0:
                await asyncio.sleep(0)
            if subscriber.state is State.ENDED:
                continue
            for look in subscriber.looks:
                # Half of what `Counter.update` takes, ten thousand times.
                streams[look.form.stream.name] += 1
            if subject is None or subscriber.principal.subject == subject:
                total += 1
                if len(connections) < most and size < _MOST_BYTES:
                    told = orjson.dumps(_told(subscriber))
                    size += len(told)
                    connections.append(orjson.Fragment(told))
        return orjson.dumps({"total": total, "streams": streams, "connections": connections})

    async def _fetch(self, reply: str) -> Sequence[bytes]:
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.lrange(_ANSWERS + reply, 0, -1)
        pipeline.delete(_ANSWERS + reply)
        return cast("list[bytes]", (await pipeline.execute())[0])


def _told(subscriber: Subscriber) -> dict[str, Any]:
    """Returns what an admin sees of a connection: nothing of its token but whose it is, and until when."""
    formats = {look.form.format for look in subscriber.looks}
    return {
        "connection": subscriber.connection,
        "subject": subscriber.principal.subject,
        "streams": [stream.name for stream in subscriber.streams],
        # One for all of its streams, or each its own.
        "format": formats.pop() if len(formats) == 1 else None,
        "state": subscriber.state.value,
        "since": iso(time.time() - (time.monotonic() - subscriber.connected_at)),
        "address": subscriber.address,
        "position": str(subscriber.cursor),
        "expires_at": iso(subscriber.principal.expires_at),
    }


async def _count(answers: Iterable[bytes], listening: float, most: int) -> Count:
    """Puts answers together; what is none of ours is left out, and missed."""
    connections: list[Mapping[str, Any]] = []
    streams: Counter[str] = Counter()
    total = processes = 0
    for data in answers:
        await asyncio.sleep(0)
        try:
            if len(data) > 2 * _MOST_BYTES:
                raise ValueError("too large")
            answer = orjson.loads(data)
            some = [_connection(each) for each in answer["connections"]]
            counts = {str(name): _number(number) for name, number in answer["streams"].items()}
            total += _number(answer["total"])
        except (ValueError, TypeError, AttributeError, LookupError):
            log.warning("an answer that is not ours")
            continue
        processes += 1
        connections += some
        streams.update(counts)
    connections.sort(key=lambda each: (each["since"], each["connection"]))
    return Count(connections[:most], total, dict(sorted(streams.items())), processes, processes >= listening)


def _number(told: Any) -> int:
    # Sums of larger ones no JSON has.
    if type(told) is not int or not 0 <= told < 2**32:
        raise ValueError("no number of ours")
    return told


def _connection(told: dict[str, Any]) -> Mapping[str, Any]:
    words = all(isinstance(told[name], str) for name in ("connection", "subject", "since", "position"))
    if not words or not isinstance(told["streams"], list):
        raise ValueError("no connection")
    return told
