"""One reader's trouble is nobody else's: what is shared between readers, and what must not be."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from auth.principal import Principal
from gateway import wire
from gateway.fanout import together
from gateway.fanout.archive import Archive
from gateway.fanout.backlog import Backlog
from gateway.fanout.channel import Run
from gateway.fanout.frame import Cursor
from gateway.fanout.look import Looks
from gateway.fanout.page import Page
from gateway.fanout.sink import HIGH_WATER_BYTES, BufferSink
from gateway.fanout.subscriber import State, Subscriber
from gateway.fanout.tail import Tail
from gateway.fanout.ticker import Ticker
from gateway.http import app
from gateway.wire import Entry
from streams.bookings import bookings
from streams.services import services
from tests.gateway.fanout.manual import manual
from tests.gateway.fanout.test_backlog import backlog
from tests.support.gateway import until, web
from tests.support.ledger import Reader, reading
from tests.support.servers import Servers

MINE, OTHER = ["bookings-changes-1"], ["bookings-changes-2"]


@pytest.mark.parametrize("how", ["an entry of somebody else's", "no log at all", "a position below zero"])
async def test_a_log_that_makes_no_sense(servers: Servers, how: str) -> None:
    """Readers that are answered together with one whose channel's log is odd, or whose question is, get their pages from Redis."""
    async with manual(servers) as bridge, backlog(servers) as pages:
        await bridge.change(5)
        epoch = bridge.place.epoch
        log = wire.log_prefix(epoch, bridge.place.life) + OTHER[0]
        if how == "an entry of somebody else's":
            await bridge.redis.xadd(log, {"x": "y"})
        elif how == "no log at all":
            await bridge.redis.set(log, "x")
        after = -1 if how == "a position below zero" else 1
        mine, other = await asyncio.gather(pages.read(MINE, epoch, 1), pages.read(OTHER, epoch, after))
        assert mine.source == "redis"
        assert other.source == "postgres"


def test_an_id_below_the_first_is_none_of_ours() -> None:
    """No event that is one of several has position 0."""
    assert Cursor.parse("abcd-0-bookings") is None
    assert Cursor.parse("abcd-0") == Cursor("abcd", 0)


async def test_a_slow_replay(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replays from Postgres that were asked for together with one that hangs are answered."""
    read, hangs = Archive.read, asyncio.Event()

    async def slow(self: Archive, channels: Sequence[str], after: int, limit: int) -> Any:
        if list(channels) == OTHER:
            await hangs.wait()
        return await read(self, channels, after, limit)

    monkeypatch.setattr(Archive, "read", slow)
    async with manual(servers) as bridge, backlog(servers) as pages:
        await bridge.change(5)
        await bridge.redis.flushall()
        waits = asyncio.create_task(pages.read(OTHER, bridge.place.epoch, 1))
        others: list[Page] = await asyncio.gather(*(pages.read(MINE, bridge.place.epoch, after) for after in range(5)))
        assert [len(page.entries) for page in others] == [5, 4, 3, 2, 1]
        assert not waits.done()
        hangs.set()
        await waits


async def test_questions_of_those_who_left() -> None:
    """What nobody waits for any more is not asked."""
    asked: list[int] = []
    held = asyncio.Event()

    async def answer(some: Sequence[int]) -> Sequence[int]:
        asked.extend(some)
        await held.wait()
        return some

    questions = together.Together(answer)
    first, *gone, stays = [asyncio.create_task(questions.ask(number)) for number in range(100)]
    await until(lambda: asked)
    for each in gone:
        each.cancel()
    await asyncio.gather(*gone, return_exceptions=True)
    held.set()
    assert (await first, await stays) == (0, 99)
    assert asked == [0, 99]


def _live(*streams: Any) -> tuple[Subscriber, BufferSink]:
    sink = BufferSink()
    subscriber = Subscriber(
        "connection", Principal("1", frozenset(), "1", 4e9), [Looks().of(each, "raw", chunked=False) for each in streams], sink
    )
    subscriber.start(Cursor("abcd", 0))
    subscriber.state = State.LIVE
    return subscriber, sink


def _entry(position: int, size: int = 10) -> Entry:
    channel = ("bookings-changes-1", "services-changes")[position % 2]
    return Entry(channel, position, position - 1, "abcd", "bookings", "UPDATE", 1, (), b"x" * size)


async def test_a_flood_on_several_streams_is_bounded() -> None:
    """A subscriber of two streams that gets five megabytes at once takes what its connection may hold, and leaves the rest to the log."""
    subscriber, sink = _live(bookings, services)
    subscriber.offer([_entry(position, 1000) for position in range(1, 5001)])
    assert subscriber.state is State.BEHIND
    written = await sink.take()
    assert written is not None
    assert HIGH_WATER_BYTES <= len(written) < 2 * HIGH_WATER_BYTES
    assert written.count(b"id: ") == subscriber.position


async def test_a_write_that_fails_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever could not be written an event reads it in the log: its position is still the one before."""
    subscriber, _ = _live(bookings)

    def fail(sink: BufferSink, data: bytes) -> None:
        raise RuntimeError("no way out")

    monkeypatch.setattr(BufferSink, "write", fail)
    with pytest.raises(RuntimeError):
        subscriber.take(Run([_entry(1)]), 0.0)
    with pytest.raises(RuntimeError):
        subscriber.offer([_entry(1), _entry(2)])
    assert subscriber.position == 0


async def test_the_ticker_outlives_a_connection_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that raises whatever is done to it is looked at again, and the others are."""
    looks: list[str] = []

    def fail(sink: BufferSink) -> None:
        looks.append("look")
        raise RuntimeError("no way out")

    class Hub:
        heartbeat_seconds = 0.02

        def flush(self) -> None: ...
        def complete(self, subscriber: Subscriber) -> int:
            return 0

        def end(self, subscriber: Subscriber, reason: str) -> None: ...
        def release(self) -> None: ...

    monkeypatch.setattr(BufferSink, "begin", fail)
    ticker = Ticker(Hub())
    ticker.add(_live(bookings)[0])
    task = asyncio.create_task(ticker.run())
    await until(lambda: task.done() or len(looks) > 2)
    assert not task.done()
    task.cancel()


async def test_a_channel_given_up_and_wanted_again_at_once() -> None:
    """The tail asks for it, and for others, though what it waits for was confirmed in the same turn."""

    class Connection:
        def __init__(self) -> None:
            self.sent: list[tuple[str, ...]] = []

        async def send_command(self, *words: str, check_health: bool) -> None:
            self.sent.append(words)

    class Hub:
        channels = ()

    # They stand for what is sent to and for the hub: only the order of what is asked matters here.
    tail, connection = Tail("redis://127.0.0.1:1", Hub()), Connection()  # type: ignore[arg-type]  # as few of its methods as are called
    tasks = [asyncio.create_task(tail._command(connection)), asyncio.create_task(tail.listen(["a", "b"]))]  # type: ignore[arg-type]  # as few of its methods as are called
    await until(lambda: connection.sent == [("SUBSCRIBE", "a", "b")])
    for number, channel in enumerate((b"a", b"b"), 1):
        await tail._take([b"subscribe", channel, number])
    assert tail.forget("b")
    again = tail.listen(["b"])
    again.send(None)  # in this very turn
    await until(lambda: connection.sent[1:] == [("UNSUBSCRIBE", "b"), ("SUBSCRIBE", "b")])
    await tail._take([b"subscribe", b"b", 2])
    tasks.append(asyncio.create_task(tail.listen(["z"])))
    await until(lambda: connection.sent[3:] == [("SUBSCRIBE", "z")])
    again.close()
    for task in tasks:
        task.cancel()


@pytest.mark.parametrize("message", ['0 ["e","x","s","change",1,[]]\n{}', '0 ["EPOCH",99,7,"change",1,["bookings-changes-1"]]\n{}', "0"])
async def test_a_message_of_somebody_elses(servers: Servers, monkeypatch: pytest.MonkeyPatch, message: str) -> None:
    """Whatever somebody else publishes on a channel of ours, readers get what is ours."""
    died: list[BaseException | None] = []

    def note(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            died.append(task.exception())

    monkeypatch.setattr(app, "_end_loudly", note)
    async with manual(servers) as bridge, web(servers) as gateway:
        reader = Reader(gateway, "bookings", 1)
        async with reading([reader]):
            await bridge.change()
            await until(lambda: len(reader.lines) == 1)
            await bridge.redis.publish(MINE[0], message.replace("EPOCH", bridge.place.epoch))
            await bridge.change()
            await until(lambda: died or len(reader.lines) == 2)
    assert died == []


async def test_a_repair_asks_for_itself(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read for the tail, for which everybody waits, waits for no reader."""
    async with manual(servers) as bridge, backlog(servers) as pages:
        await bridge.change(3)
        monkeypatch.setattr(together, "_PATIENCE_SECONDS", 60)
        never = asyncio.Event()

        async def hang(some: Sequence[object]) -> Sequence[object]:
            await never.wait()
            return some

        monkeypatch.setattr(pages._recent._pages, "_answer", hang)
        waits = asyncio.create_task(pages.read(MINE, bridge.place.epoch, 0))
        page = await _within(pages, bridge.place.epoch)
        assert [entry.position for entry in page.entries] == [1, 2, 3]
        waits.cancel()


async def _within(pages: Backlog, epoch: str) -> Page:
    async with asyncio.timeout(20):
        return await pages.read(MINE, epoch, 0, alone=True)
