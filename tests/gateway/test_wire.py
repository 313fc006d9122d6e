"""What bridge and web say to each other: names of keys, bytes of entries."""

import contextlib
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from gateway import wire
from gateway.wire import Beat, Entry
from sql import SEPARATOR
from streams.payload import RESET, Change, Delivery, Feed, Shape, deliveries, published
from tests.support.gateway import gateway
from tests.support.servers import Servers

CHANNELS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
POSITIONS = st.integers(1, 2**53)


def change(position: int, txid: int = 7) -> Change:
    return Change(position, txid, "U", "{}", None, None, None, None, None, None, datetime.now(UTC))


@given(CHANNELS, POSITIONS, POSITIONS, st.sampled_from(["INSERT", RESET]), st.lists(CHANNELS, max_size=4), st.binary(max_size=200))
def test_entry_round_trip(channel: str, position: int, txid: int, kind: str, later: list[str], data: bytes) -> None:
    """An entry is read as it was written, whatever its data, and however long its numbers are."""
    payload = wire.encode("k3f9", change(position, txid), Delivery(channel, "orders", kind, data, tuple(later)))
    assert wire.decode(channel, 3, payload) == Entry(channel, position, 3, "k3f9", "orders", kind, txid, tuple(later), data)


OWNER = st.sampled_from(["a", "b", "b-a", "ä", "1"])
OWNERS = st.none() | st.frozensets(OWNER, min_size=1).map(lambda owners: SEPARATOR.join(f"alerts-{owner}" for owner in sorted(owners)))


@given(st.sampled_from("IUD"), OWNERS, OWNERS, st.text(max_size=20))
def test_several_owners_round_trip(op: str, now: str | None, before: str | None, text: str) -> None:
    """Of a row with several owners, sent once, each gets what it would get alone, and nobody else anything."""
    shape = Shape("public", "alerts", (Feed("alerts", "alerts", 0, b"[]", several=True),))
    row, old = (orjson.dumps({"id": 1, "text": each}).decode() for each in (text, text + "before"))
    whole = Change(7, 77, op, '{"id":1}', None, [row], [old], [now], [before], None, datetime(2026, 5, 4, tzinfo=UTC))
    sent = published(whole, shape)
    alone: dict[str, list[tuple[str, bytes]]] = {}
    for delivery in deliveries(whole, shape):
        alone.setdefault(delivery.channel, []).append((delivery.kind, delivery.data))
    assert len(sent) == bool(alone)
    read = [wire.decode("alerts", 3, wire.encode("k3f9", whole, each)) for each in sent]
    assert [(entry.kind, entry.data, entry.position, entry.previous) for entry in read] == [(wire.SEVERAL, b"", 7, 3)] * len(read)
    for owner in ("a", "b", "b-a", "ä", "1", "c", ""):
        found = [(part.kind, part.data) for entry in read for part in entry.for_channels((f"alerts-{owner}", "alerts", "others-a"))]
        assert found == alone.get(f"alerts-{owner}", [])


@pytest.mark.parametrize(
    "lots", [None, 5, [["UPDATE", 9, ["a"]]], [["UPDATE", "x", ["a"]]], [["UPDATE", 2, 5]], [["UPDATE", 2, [{}]]], [[]]]
)
def test_odd_lots_are_a_value_error(lots: object) -> None:
    """What does not fit the data that follows is no entry."""
    with pytest.raises(ValueError):
        wire.decode("c", 0, orjson.dumps(["k3f9", 1, "alerts", wire.SEVERAL, 7, [], lots]) + b"\n{}")
    with pytest.raises(ValueError):
        wire.decode("c", 0, orjson.dumps(["k3f9", 1, "alerts", wire.SEVERAL, 7, []]) + b"\n{}")


@given(POSITIONS, st.binary(max_size=50))
def test_published_round_trip(previous: int, data: bytes) -> None:
    """A published message is the previous position, a blank, and the entry, blanks and line breaks in the data included."""
    payload = wire.encode("k3f9", change(previous + 1), Delivery("c", "orders", "UPDATE", data))
    entry = wire.decode_published("c", b"%d %b" % (previous, payload))
    assert (entry.previous, entry.position, entry.data) == (previous, previous + 1, data)


@pytest.mark.parametrize("garbage", [b"", b"x", b"[]\n", b'["k3f9",1]\n{}', b"null\n", b"5\n", b"\xff\n", b'"abcdef"\n', b'{"a":1}\n{}'])
def test_garbage_is_a_value_error(garbage: bytes) -> None:
    """What is no entry is a ValueError, and nothing else."""
    with pytest.raises(ValueError):
        wire.decode("c", 0, garbage)
    with pytest.raises(ValueError):
        wire.decode_published("c", garbage)


@given(st.binary(max_size=60))
def test_any_bytes_are_an_entry_or_a_value_error(garbage: bytes) -> None:
    """Whatever arrives is an entry or a ValueError."""
    with contextlib.suppress(ValueError):
        wire.decode_published("c", garbage)


def test_frames_are_made_once_per_entry() -> None:
    """Each entry has frames of its own: two entries never share encoded bytes."""
    payload = wire.encode("k3f9", change(1), Delivery("c", "orders", "UPDATE", b"{}"))
    one, other = wire.decode("c", 0, payload), wire.decode("c", 0, payload)
    one.frames["raw"] = b"mine"
    assert other.frames == {}


@given(st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=16), POSITIONS, POSITIONS, st.floats(0, 1e9))
def test_beat_round_trip(epoch: str, position: int, head: int, lag: float) -> None:
    """A beat is read as it was written."""
    beat = Beat(epoch, "abcd1234", position, head, lag)
    assert Beat.decode(beat.encode()) == beat
    assert b"\n" not in beat.encode()


def test_keys_of_one_shard_share_a_hash_tag() -> None:
    """Every key carries the shard's hash tag first, so that a script finds all its keys on one node."""
    for key in (wire.META, wire.HEAD, wire.log_prefix("k3f9", "abcd") + "orders-{1}"):
        assert key.split("{", 1)[1].startswith("0}")


def test_logs_of_two_lives_have_two_keys() -> None:
    """Epoch and life are part of a log's key: nobody reads an older life's log for the present one."""
    keys = {wire.log_prefix(epoch, life) + "orders" for epoch in ("aaaa", "bbbb") for life in ("1", "2")}
    assert len(keys) == 4


def test_a_log_outlives_its_meta_by_two_marks() -> None:
    """A log lives longer than the meta key and two marks: whatever expired lies below the floor."""
    assert wire.META_TTL_SECONDS + 2 * wire.MARK_SECONDS < wire.LOG_TTL_SECONDS


def test_head_of_an_entry_is_one_line_of_json() -> None:
    """What stands before the data is one line of JSON, also where a channel's name has a line break."""
    payload = wire.encode("k3f9", change(1), Delivery("a\nb", "orders", "UPDATE", b"data", ("a\nc",)))
    head, _, data = payload.partition(b"\n")
    assert orjson.loads(head) == ["k3f9", 1, "orders", "UPDATE", 7, ["a\nc"]]
    assert data == b"data"


async def test_foreign_messages_end_nobodys_stream(servers: Servers) -> None:
    """What another program publishes on a channel of ours, or of the head, is nothing to us: streams go on."""
    async with gateway(servers) as web, web.stream("bookings") as stream:
        await stream.next()
        with Redis.from_url(servers.redis_url) as redis:
            for channel in ("bookings-changes-1", "bookings-changes", wire.HEAD):
                for message in (b"", b"hello", b'{"type": "booking.updated"}', b"1 null\n{}", b"\xff"):
                    assert redis.publish(channel, message) == 1
        connection = await servers.connect()
        await connection.execute("update bookings set notes = 'ours' where id = 1")
        (event,) = await stream.events(1)
        assert event.data["record"]["notes"] == "ours"
        await connection.close()
