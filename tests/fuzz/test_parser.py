"""What others may write into Redis: its readers take it or raise ValueError, and what they take is of the types that they say."""

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import Callable
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from auth.key import shared_secret
from auth.revocation import Revocation, Revocations
from auth.ticket import Redeemed, Tickets
from auth.token import TokenError, Verifier
from gateway import wire
from gateway.fanout import census
from gateway.fanout.control import Control
from gateway.fanout.frame import Cursor
from gateway.fanout.roster import Roster
from gateway.fanout.snapshot import Seen
from gateway.wire import Beat, Entry
from streams import format as formats
from tests.fuzz import head
from tests.fuzz.conftest import examples, few_or_many
from tests.fuzz.credential import JSON
from tests.support.gateway import SECRET

Read = Callable[[bytes], object]
_REPLY = "0123456789abcdef" * 2
_CLAIMS = {"sub": "1", "exp": int(time.time()) + 600, "role": "customer"}


class _Kept:
    """Stands for Redis, which has just this."""

    def __init__(self, value: bytes) -> None:
        self._value = value

    async def getdel(self, key: str) -> bytes:
        return self._value

    async def set(self, key: str, value: bytes, ex: int) -> None:
        assert ex > 0


def _redeem(data: bytes) -> object:
    verifier = Verifier(shared_secret(SECRET))
    tickets = Tickets(cast("Redis", _Kept(data)), 600)
    try:
        return asyncio.run(tickets.redeem(verifier, "ticket", "", "", "/streams/bookings"))
    except TokenError as error:
        raise ValueError from error


def _count(data: bytes) -> object:
    count = asyncio.run(census._count([data, data], 1, 10))
    # An admin is told so.
    orjson.dumps([count.connections, count.total, count.streams])
    return count


def _take(data: bytes) -> object:
    async def take() -> object:
        control = Control(cast("Redis", None), Revocations(cast("Redis", None), wire.CONTROL), Roster(), lambda subscriber, reason: None)
        todo = control.take(data)
        # Let what was put off until the loop's next turn happen.
        await asyncio.sleep(0)
        assert todo is None or callable(todo)
        for revocation in control.revocations._written:
            Revocation.decode(revocation)
        return todo

    return asyncio.run(take())


PARSERS: dict[str, tuple[Read, list[Any]]] = {
    "entry": (lambda data: wire.decode("bookings-changes-1", 3, data), [["k3f9", 7, "bookings", "INSERT", 77, ["changes"]]]),
    "entry with lots": (
        lambda data: wire.decode("alerts", 3, data + b"\nabcd"),
        [["k3f9", 7, "alerts", "several", 77, [], [["INSERT", 1, ["1"]], ["DELETE", 3, ["2", "3"]]]]],
    ),
    "published": (lambda data: wire.decode_published("bookings-changes-1", b"3 " + data), [["k3f9", 7, "bookings", "INSERT", 77, []]]),
    "published, any": (lambda data: wire.decode_published("bookings-changes-1", data), []),
    "beat": (Beat.decode, [["k3f9", "abcd", 7, 8, 0.5], ["k3f9", "abcd", 7, 8, 0]]),
    "revocation": (Revocation.decode, [["1", "", 1.5, 2.5], ["", "jti", 0, 1764000000]]),
    "control": (
        _take,
        [
            {"revoke": ["1", "", 1.5, 2.5]},
            {"renew": "0" * 16, "claims": _CLAIMS, "reply": _REPLY},
            {"renewal": "renewed", "reply": _REPLY},
            {"disconnect": "0" * 16, "reply": _REPLY},
            {"disconnected": True, "reply": _REPLY},
            {"census": {"subject": None, "most": 10}, "reply": _REPLY},
            {"counted": _REPLY},
        ],
    ),
    "census": (
        _count,
        [
            {
                "total": 1,
                "streams": {"bookings": 1},
                "connections": [{"connection": "0", "subject": "1", "since": "x", "position": "abcd-1", "streams": []}],
            }
        ],
    ),
    "ticket": (_redeem, [{"origin": "", "key": shared_secret(SECRET).fingerprint, "claims": _CLAIMS}]),
    "seen": (lambda data: Seen.parse(data.decode()), []),
}
"""Readers of what somebody else may have written, and messages that they take."""


def _typed(value: object) -> bool:
    """Whether a value has what its class says that it has, as far as what follows relies on it."""
    if isinstance(value, Beat):
        words = isinstance(value.epoch, str) and isinstance(value.life, str)
        return words and all(isinstance(each, int) for each in (value.position, value.head)) and isinstance(value.lag_seconds, int | float)
    if isinstance(value, Entry):
        parts = [value, *(part for _, part in value.lots)]
        return all(
            isinstance(each.kind, str) and isinstance(each.position, int) and isinstance(each.txid, int) and isinstance(each.data, bytes)
            for each in parts
        )
    if isinstance(value, Revocation):
        return all(
            isinstance(getattr(value, field.name), str if field.type in (str, "str") else float) for field in dataclasses.fields(value)
        )
    return not isinstance(value, Redeemed) or value.seconds > 0


@st.composite
def messages(draw: st.DrawFn, good: list[Any]) -> bytes:
    """Bytes; JSON; a good message with other values in it; or one that was damaged on its way."""
    if not good or draw(st.integers(0, 5)) == 0:
        return draw(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
    data = json.dumps(_changed(draw, draw(st.sampled_from(good)))).encode()
    return draw(head.damaged(data)) if draw(st.integers(0, 3)) == 0 else data


def _changed(draw: st.DrawFn, value: Any) -> Any:
    if draw(st.integers(0, 7)) == 0:
        return draw(JSON | st.sampled_from(["nan", "inf", "1e999", -1, 2**63, 2**64 - 1, 10**30, [], {}, "x" * 1000, True]))
    if isinstance(value, dict):
        changed = {name: _changed(draw, each) for name, each in value.items() if draw(st.integers(0, 15))}
        return changed | ({"extra": draw(JSON)} if draw(st.integers(0, 7)) == 0 else {})
    if isinstance(value, list):
        changed_list = [_changed(draw, each) for each in value if draw(st.integers(0, 15))]
        return changed_list + ([draw(JSON)] if draw(st.integers(0, 15)) == 0 else [])
    return value


def readings(read: Read, good: list[Any], count: int) -> None:
    """Has anything read, and holds a reader to its word."""

    @examples(count)
    @given(messages(good))
    def see(data: bytes) -> None:
        try:
            value = read(data)
        except ValueError:
            return
        assert _typed(value), value

    see()


@few_or_many(50, 600)
@pytest.mark.parametrize("parser", PARSERS)
def test_any_message(parser: str, count: int) -> None:
    """What is none of ours raises ValueError, and nothing else comes out of it."""
    readings(*PARSERS[parser], count)


@pytest.mark.parametrize("parser", [name for name, (_, good) in PARSERS.items() if good])
def test_good_message(parser: str) -> None:
    """What is ours is read: the law above is no law of refusals."""
    read, good = PARSERS[parser]
    for each in good:
        assert _typed(read(json.dumps(each).encode()))


def test_control_a_beat_that_is_taken_as_it_comes() -> None:
    """A reader that checks nothing is found out."""
    with pytest.raises((AssertionError, TypeError)):
        readings(lambda data: Beat(*orjson.loads(data)), PARSERS["beat"][1], 300)


@few_or_many(100, 1500)
def test_any_cursor(count: int) -> None:
    """A text is an id of ours, and then is written as it was read, but for zeros before a number; or it is none."""

    @examples(count)
    @given(st.text(max_size=30) | st.from_regex(r"[0-9a-z]{4,16}-[0-9]{1,18}(-[a-z][a-z-]{0,30})?", fullmatch=True))
    def see(text: str) -> None:
        cursor = Cursor.parse(text)
        if cursor is not None:
            assert Cursor.parse(str(cursor)) == cursor
            assert len(str(cursor)) <= 68

    see()


@few_or_many(50, 1500)
def test_any_object(count: int) -> None:
    """A JSON object is taken apart as Python's reader takes it, value by value; what is none raises ValueError."""
    exact: dict[str, Any] = {"parse_int": str, "parse_float": str, "parse_constant": str}

    @examples(count)
    @given(st.dictionaries(st.text(max_size=8), JSON, max_size=5), st.sampled_from([None, 1]), st.booleans(), st.data())
    def see(value: dict[str, Any], indent: int | None, ascii: bool, data: st.DataObject) -> None:
        text = json.dumps(value, indent=indent, ensure_ascii=ascii)
        apart = formats.members(text)
        assert {name: json.loads(each, **exact) for name, each in apart.items()} == json.loads(text, **exact)
        hurt = data.draw(head.damaged(text.encode("utf-8", "surrogatepass"))).decode("utf-8", "replace")
        with contextlib.suppress(ValueError):
            formats.members(hurt)

    see()
