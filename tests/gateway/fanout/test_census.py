"""The census: every process is asked and missed where it does not answer, and neither question nor answer hurts anybody."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import orjson
import pytest
from redis.asyncio import Redis

from auth.principal import Principal
from auth.revocation import Revocations
from gateway import wire
from gateway.fanout import census, control
from gateway.fanout.census import Census
from gateway.fanout.control import Control
from gateway.fanout.look import Looks
from gateway.fanout.roster import Roster
from gateway.fanout.sink import BufferSink
from gateway.fanout.subscriber import State, Subscriber
from gateway.task import ended
from streams.catalog import load
from tests.gateway.fanout.manual import manual
from tests.support.gateway import Web, bridge, until, web
from tests.support.servers import Servers

CATALOG, LOOKS = load("streams"), Looks()
QUESTION = {"subject": None, "most": 1000}
REPLY = "0123456789abcdef" * 2


def roster(count: int, subject: str = "1") -> Roster:
    """Returns subscribers of bookings, and of services besides where their number is odd."""
    made = Roster()
    for number in range(count):
        looks = [LOOKS.of(CATALOG[name], "raw", False) for name in ("bookings", "services")[: 1 + number % 2]]
        principal = Principal(subject, frozenset({"customer"}), subject, time.time() + 60)
        made.subscribers.add(Subscriber(f"{number:016x}", principal, looks, BufferSink()))
    return made


@asynccontextmanager
async def client(servers: Servers) -> AsyncIterator["Redis"]:
    async with Redis.from_url(servers.redis_url, protocol=3) as redis:
        yield redis


@contextmanager
def turns() -> Iterator[Callable[[], int]]:
    """Counts how often others have had their turn."""
    counted = itertools.count()
    running = True

    def turn() -> None:
        if running:
            next(counted)
            asyncio.get_running_loop().call_soon(turn)

    turn()
    yield lambda: next(counted)
    running = False


@asynccontextmanager
async def another(servers: Servers, answers: Callable[[Redis, dict[str, Any]], Any]) -> AsyncIterator[None]:
    """Another process, which does what it is told to with each question."""
    async with client(servers) as redis, redis.pubsub() as pubsub:
        await pubsub.subscribe(wire.CONTROL)

        async def listen() -> None:
            async for heard in pubsub.listen():
                if heard["type"] == "message" and "census" in (message := orjson.loads(heard["data"])):
                    await answers(redis, message)

        task = asyncio.create_task(listen())
        yield
        await ended([task])


async def say(redis: "Redis", message: dict[str, Any], answer: bytes) -> None:
    """Answers as processes do."""
    await redis.rpush(f"rowcast:{{0}}:census:{message['reply']}", answer)
    await redis.publish(wire.CONTROL, orjson.dumps({"counted": message["reply"]}))


ONE = {"connection": "f" * 16, "subject": "2", "streams": ["services"], "since": "2026-01-01T00:00:00Z", "position": "abcd-1"}


async def test_every_process_is_asked(servers: Servers) -> None:
    """What another process says is told with what this one has, in order of age; nothing of it stays in Redis."""

    async def answer(redis: "Redis", message: dict[str, Any]) -> None:
        await say(redis, message, orjson.dumps({"total": 1, "streams": {"services": 1}, "connections": [ONE]}))

    async with bridge(servers), web(servers) as gateway, gateway.stream("bookings,services") as stream, another(servers, answer):
        await stream.until("ready")
        count = await gateway.hub.controls.census.ask()
        assert (count.total, count.streams, count.processes, count.complete) == (2, {"bookings": 1, "services": 2}, 2, True)
        assert [each["subject"] for each in count.connections] == ["2", "1"]
        assert [each["streams"] for each in (await gateway.hub.controls.census.ask("1")).connections] == [
            ["services"],
            ["bookings", "services"],
        ]
        nothing = await gateway.hub.controls.census.ask(most=0)
        assert (nothing.connections, nothing.total) == ([], 2)
        async with client(servers) as redis:
            assert not [key async for key in redis.scan_iter("rowcast:{0}:census:*")]


ANSWERS: Sequence[bytes | None] = (
    b"",
    b"\xff",
    b"[]",
    b"5",
    b"{}",
    b'{"total": 1, "streams": {}}',
    b'{"total": [], "streams": {}, "connections": []}',
    b'{"total": 1, "streams": [], "connections": []}',
    b'{"total": 1, "streams": {"services": "many"}, "connections": []}',
    b'{"total": 1, "streams": {}, "connections": [5]}',
    b'{"total": 1, "streams": {}, "connections": [{}]}',
    b'{"total": 1, "streams": {}, "connections": [{"connection": "x", "subject": "1", "since": "", "position": 5}]}',
    b'{"total": 1, "streams": {}, "connections": [{"connection": "x", "subject": "1", "since": "", "position": ""}]}',
    b'{"total": 1, "streams": {}, "connections": [' + b" " * 2_000_000 + b"]}",
    None,
)


async def test_an_answer_that_is_none(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever another process says, or if it says nothing at all, the others are told; and that one is missing."""
    monkeypatch.setattr(census, "_SECONDS", 0.3)
    saying: list[bytes | None] = []

    async def answer(redis: "Redis", message: dict[str, Any]) -> None:
        if (data := saying[-1]) is not None:
            await say(redis, message, data)

    async with bridge(servers), web(servers) as gateway, gateway.stream() as stream, another(servers, answer):
        await stream.until("ready")
        for data in ANSWERS:
            saying.append(data)
            count = await gateway.hub.controls.census.ask()
            assert (len(count.connections), count.total, count.streams) == (1, 1, {"bookings": 1}), data
            assert (count.processes, count.complete) == (1, False), data


QUESTIONS: Sequence[dict[str, Any]] = (
    {"census": None, "reply": REPLY},
    {"census": [], "reply": REPLY},
    {"census": {}, "reply": REPLY},
    {"census": {"subject": 5, "most": 1}, "reply": REPLY},
    {"census": {"subject": ["1"], "most": 1}, "reply": REPLY},
    {"census": {"subject": None, "most": "1"}, "reply": REPLY},
    {"census": {"subject": None, "most": True}, "reply": REPLY},
    {"census": {"subject": None, "most": 1.5}, "reply": REPLY},
    {"census": QUESTION},
    {"census": QUESTION, "reply": ""},
    {"census": QUESTION, "reply": [REPLY]},
    {"census": QUESTION, "reply": "x" * 32},
    {"census": QUESTION, "reply": REPLY + "\n"},
    {"census": QUESTION, "reply": f"{REPLY}/../meta"},
    {"census": {"subject": "x" * 100_000, "most": 1}, "reply": REPLY},
    {"census": QUESTION, "reply": REPLY, "more": "x" * 100_000},
    {"disconnect": "f" * 16},
)


async def test_a_question_that_is_none(servers: Servers) -> None:
    """What is not exactly a question is answered by nobody, and writes nothing; neither does what is too large to be one."""
    made = roster(1)
    next(iter(made.subscribers)).connection = "f" * 16
    ended: list[str] = []
    async with client(servers) as redis:
        each = Control(redis, Revocations(redis, wire.CONTROL), made, lambda subscriber, reason: ended.append(reason))
        for message in QUESTIONS:
            with pytest.raises(ValueError, match="ours"):
                each.take(orjson.dumps(message))
        assert (ended, await redis.dbsize()) == ([], 0)


async def test_control_without_the_bound(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were messages of any size read, the largest of them would be taken."""
    monkeypatch.setattr(control, "_MOST_BYTES", 10**9)
    with pytest.raises(pytest.fail.Exception):
        await test_a_question_that_is_none(servers)


ODD: Sequence[dict[str, Any]] = (
    {"census": 5},
    {"census": {}},
    {"counted": []},
    {"counted": "x" * 1_000_000},
    {"disconnect": []},
    {"disconnected": 1, "reply": {}},
)


async def test_streams_go_on(servers: Servers) -> None:
    """Whatever is said where web processes talk, streams go on, and the next question is answered."""
    async with manual(servers) as by_hand, web(servers) as gateway, gateway.stream() as stream:
        await stream.until("ready")
        for message in ODD:
            await by_hand.redis.publish(wire.CONTROL, orjson.dumps(message))
        await by_hand.change()
        await stream.events(1)
        assert (await gateway.hub.controls.census.ask()).complete


async def _flood(gateway: Web, redis: Any, questions: int) -> int:
    """Asks at one go, and returns how many answers there are once all is quiet."""
    replies = [f"{number:032x}" for number in range(questions)]
    pipeline = redis.pipeline(transaction=False)
    for reply in replies:
        pipeline.publish(wire.CONTROL, orjson.dumps({"census": QUESTION, "reply": reply}))
    await pipeline.execute()
    # What is heard behind them is answered behind them.
    await until(lambda: _asked_again(gateway))
    await until(lambda: not gateway.hub._replies)
    return int(await redis.exists(*(f"rowcast:{{0}}:census:{reply}" for reply in replies)))


async def _asked_again(gateway: Web) -> bool:
    return (await gateway.hub.controls.census.ask()).complete


async def test_a_flood_of_questions(servers: Servers) -> None:
    """Few are answered at a time; the others get no answer, and whoever asks later does."""
    async with manual(servers) as by_hand, web(servers) as gateway, gateway.stream() as stream:
        await stream.until("ready")
        assert 0 < await _flood(gateway, by_hand.redis, 500) < 500
        await by_hand.change()
        await stream.events(1)


async def test_control_a_flood_is_answered(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were all answered that are asked, there would be as many answers as questions."""
    monkeypatch.setattr(census, "_AT_ONCE", 10**6)
    with pytest.raises(AssertionError):
        await test_a_flood_of_questions(servers)


async def test_others_have_their_turn(servers: Servers) -> None:
    """However many streams are open, a process looks at few of them at a time, and tells no more than it may."""
    async with client(servers) as redis:
        asked = Census(redis, roster(10_000))
        with turns() as taken:
            data = await asked._look(None, 10_000)
            assert taken() >= 50
        answer = orjson.loads(data)
        assert (answer["total"], answer["streams"]) == (10_000, {"bookings": 10_000, "services": 5_000})
        assert len(data) < census._MOST_BYTES * 1.1


async def test_control_in_one_go(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Did it look at all of them in one go, nobody else would have had a turn."""
    monkeypatch.setattr(census, "_SLICE", 10**6)
    with pytest.raises(AssertionError):
        await test_others_have_their_turn(servers)


async def test_more_than_may_be_told(servers: Servers) -> None:
    """A question that asks for more than there may be told gets as many, and whoever has asked is told that there are more."""
    async with client(servers) as redis:
        asked = Census(redis, roster(1_200))
        await asked.answer({"subject": None, "most": 10**9}, REPLY)()
        (data,) = await asked._fetch(REPLY)
        assert (len(orjson.loads(data)["connections"]), orjson.loads(data)["total"]) == (1_000, 1_200)
        assert (await asked.ask_here("2")).total == 0


async def test_who_has_ended_is_not_counted(servers: Servers) -> None:
    """A stream that has ended is open no more, though its connection may be."""
    made = roster(2)
    next(iter(made.subscribers)).state = State.ENDED
    async with client(servers) as redis:
        assert (await Census(redis, made).ask_here()).total == 1


async def test_nobody_listens(servers: Servers) -> None:
    """A process whose tail is just connecting tells of itself, and that it is not all."""
    async with client(servers) as redis:
        count = await Census(redis, roster(3)).ask()
        assert (count.total, count.processes, count.complete) == (3, 1, False)
