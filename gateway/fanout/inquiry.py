"""⑧ Why somebody did, or did not, get an event: the checks that stand on its way to them, one after the other.

- Whoever decides in earnest is asked here too: the log, `Stream.channels`, the judge, the look. Nothing is decided a second time.
- As of now, with the rights that the question names: nobody has written down what they were when it was sent.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import orjson
from redis.exceptions import RedisError

from auth.principal import Principal
from gateway.fanout.archive import Archive
from gateway.fanout.census import Census
from gateway.fanout.frame import Cursor
from gateway.fanout.judge import Judge
from gateway.fanout.look import Form, Look
from gateway.fanout.page import Page
from gateway.fanout.sink import BufferSink
from gateway.fanout.subscriber import Subscriber
from gateway.wire import Entry
from streams import format as formats
from streams.filter import Filter
from streams.payload import RESET, Change, Delivery, Shape, deliveries, published
from streams.stream import Stream

_NAMED = 3
"""Channels that are named of a row's several owners."""


@dataclass(frozen=True)
class Question:
    """`principal` has claims; `id` is the event's, as it came; `filter` is what they asked for themselves."""

    principal: Principal
    stream: Stream
    id: str
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One check: what is so."""

    check: str
    holds: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """In a word, in a sentence, and what was checked up to there.

    `delivered`, `left` (as a DELETE of a row that is theirs no more), `reset`; or what does not hold: `not-found` (no such id),
    `too-old`, `another-stream`, `not-allowed`, `not-for-them`, `hidden` by row-level security, `filtered`.
    """

    verdict: str
    because: str
    steps: Sequence[Step]


class _Stop(Exception):
    """A check does not hold."""

    def __init__(self, verdict: str, because: str) -> None:
        super().__init__(because)
        self.verdict = verdict
        self.because = because


class _Way:
    """The checks up to the first that does not hold."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def check(self, check: str, holds: bool, so: str, verdict: str, otherwise: str) -> None:
        """Notes one. Raises _Stop with a verdict if it does not hold."""
        self.steps.append(Step(check, holds, so if holds else otherwise))
        if not holds:
            raise _Stop(verdict, otherwise)


class Inquiry:
    """Answers for any user."""

    def __init__(self, archive: Archive, judge: Judge, census: Census) -> None:
        self._archive = archive
        self._judge = judge
        self._census = census

    async def explain(self, question: Question) -> Verdict:
        """Returns why. Raises ArchiveUnavailable or SnapshotUnavailable."""
        way = _Way()
        try:
            cursor, change, shape = await self._found(question, way)
            entry = _addressed(question, cursor, change, shape, way)
            if entry.kind == RESET:
                reason = orjson.loads(entry.data)["reason"]
                return Verdict("reset", f"It is no row but a reset ({reason}): all who listen are told to fetch anew.", way.steps)
            entry = await self._judged(question, entry, way)
            entry = _filtered(question, entry, way)
        except _Stop as stop:
            return Verdict(stop.verdict, stop.because, way.steps)
        way.steps.append(await self._connected(question, cursor))
        who = f"{question.principal.subject} on {question.stream.name}"
        if entry.kind == "DELETE" and "left" in formats.members(entry.data.decode()):
            return Verdict("left", f"It tells {who} that the row is theirs to see no more: a DELETE with `left`, of its key.", way.steps)
        return Verdict("delivered", f"It goes to {who} as {_a(entry.kind)}: live, or when they resume with an earlier id.", way.steps)

    async def _found(self, question: Question, way: _Way) -> tuple[Cursor, Change, Shape]:
        cursor = Cursor.parse(question.id)
        way.check("id", cursor is not None, "It is an id of ours.", "not-found", "It is no id of ours, which are <epoch>-<position>.")
        assert cursor is not None
        found = await self._archive.find(cursor.position)
        bounds = found.bounds
        way.check(
            "epoch",
            cursor.epoch == bounds.epoch and cursor.position > bounds.after_position,
            f"It is of this life of the log, epoch {bounds.epoch}.",
            "not-found",
            f"It is of no event of this life of the log, which is epoch {bounds.epoch} and begins after position {bounds.after_position}:"
            " who comes back with it gets a reset.",
        )
        way.check(
            "position",
            cursor.position <= bounds.head,
            f"The log is at {bounds.head}, and has reached it.",
            "not-found",
            f"Nothing has that position yet: the log is at {bounds.head}.",
        )
        way.check(
            "kept",
            found.change is not None,
            f"The log has it: it is kept from {bounds.earliest} on.",
            "too-old",
            f"It is kept no more: the oldest that is kept is {bounds.earliest}, and who comes back with an earlier id gets a reset.",
        )
        assert found.change is not None
        assert found.shape is not None
        return cursor, found.change, found.shape

    async def _judged(self, question: Question, entry: Entry, way: _Way) -> Entry:
        """Returns an entry as row-level security lets them see it, where the stream asks for that."""
        if not question.stream.rls:
            return entry
        look = Look(Form(question.stream, "raw", False), None, False)
        reader = Subscriber("", question.principal, [look], BufferSink())
        page = await self._judge.judged(reader, Page(entry.epoch, [entry], entry.position, False, "postgres"))
        seen = page.entries[0] if page.entries else None
        way.check(
            "row-level security",
            seen is not None,
            f"Its policies, asked with the claims {question.principal.claims}, let them have it as {_a(seen.kind if seen else '')}.",
            "hidden",
            f"Its policies, asked with the claims {question.principal.claims}, hide the row from them now.",
        )
        assert seen is not None
        return seen

    async def _connected(self, question: Question, cursor: Cursor) -> Step:
        """Says how far their open streams are: what has come to whom nobody writes down."""
        name = question.stream.name
        try:
            count = await self._census.ask(question.principal.subject)
        except (RedisError, OSError):
            return Step("connected", False, "Which streams of theirs are open cannot be asked while Redis is away.")
        at = [Cursor.parse(each["position"]) for each in count.connections if name in each["streams"]]
        past = [each for each in at if each is not None and each.epoch == cursor.epoch and each.position >= cursor.position]
        if not at:
            return Step("connected", False, f"They have no stream of {name} open: it is kept for when they come back with an earlier id.")
        return Step(
            "connected", bool(past), f"Open streams of {name} that they have: {len(at)}; that have come to it, or past it: {len(past)}."
        )


def _addressed(question: Question, cursor: Cursor, change: Change, shape: Shape, way: _Way) -> Entry:
    """Returns what a change is to somebody on a stream."""
    stream, principal = question.stream, question.principal
    table = f"{shape.schema}.{shape.table}"
    way.check(
        "stream",
        any(feed.stream == stream.name for feed in shape.feeds),
        f"It is a change of {table}, of which {stream.name} tells.",
        "another-stream",
        f"It is a change of {table}, of which {stream.name} does not tell.",
    )
    roles = " or ".join(sorted(stream.roles)) or "any user"
    way.check(
        "role",
        stream.open_to(principal),
        f"{stream.name} is for {roles if stream.limit is None else 'any user'}.",
        "not-allowed",
        f"{stream.name} is for {roles}, and they are {' and '.join(sorted(principal.roles)) or 'neither'}.",
    )
    own = stream.channels(principal)
    theirs = [each for each in deliveries(change, shape, frozenset(own)) if each.stream == stream.name and each.channel in own]
    way.check(
        "channel",
        bool(theirs),
        f"It goes to {theirs[0].channel if theirs else ''}, to which they listen.",
        "not-for-them",
        f"It goes to {_whose(change, shape, stream)}, and they listen to {own[0]}.",
    )
    got = theirs[0]
    return Entry(got.channel, cursor.position, 0, cursor.epoch, got.stream, got.kind, change.txid, got.later, got.data)


def _filtered(question: Question, entry: Entry, way: _Way) -> Entry:
    """Returns an entry as it is through their filter, and through what they may see no more than."""
    filter, limit = question.filter, question.stream.limit_of(question.principal)
    if limit is not None:
        filter = filter & limit if filter is not None else limit
    if filter is None:
        return entry
    seen = Look(Form(question.stream, "raw", False), filter, strict=limit is not None).see(entry)
    said = "the filter" if limit is None else f"the filter, and {question.stream.others}, more than which they may not see,"
    way.check(
        "filter",
        seen is not None,
        f"It passes {said} as {_a(seen.kind if seen else '')}: the row was judged before and after.",
        "filtered",
        f"It does not pass {said}: the row was judged before and after.",
    )
    assert seen is not None
    return seen


def _whose(change: Change, shape: Shape, stream: Stream) -> str:
    """Names whom a change goes to on a stream."""
    channels = sorted(set(_channels(change, shape, stream)))
    if not channels:
        return "nobody, for the row is nobody's"
    more = f" and {len(channels) - _NAMED} more" if len(channels) > _NAMED else ""
    return " and ".join(channels[:_NAMED]) + more


def _channels(change: Change, shape: Shape, stream: Stream) -> Iterator[str]:
    for each in published(change, shape):
        if each.stream == stream.name:
            if isinstance(each, Delivery):
                yield each.channel
            else:
                yield from (channel for lot in each.lots for channel in lot.channels)


def _a(kind: str) -> str:
    return f"an {kind}" if kind in ("INSERT", "UPDATE") else f"a {kind}"
