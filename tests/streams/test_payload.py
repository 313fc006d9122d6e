"""What a change means to whom: each channel gets what its listener may see, as one line of JSON."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.payload import RESET, Change, Delivery, Feed, Shape, deliveries
from streams.stream import Stream

WHEN = datetime(2026, 5, 4, 3, 2, 1, 654321, UTC)
COLUMNS = orjson.dumps([{"name": "id", "type": "int8"}])
OWNED = Shape("public", "orders", (Feed("orders", "orders-changes", 0, COLUMNS),))
OLD_CANARY, NEW_CANARY = "canary-of-the-old-row", "canary-of-the-new-row"
NEW, OLD = f'{{"id":1,"note":"{NEW_CANARY}"}}', f'{{"id":1,"note":"{OLD_CANARY}"}}'

UPDATE = Change(7, 77, "U", '{"id":1}', None, [NEW], [OLD], ["orders-changes-a"], ["orders-changes-a"], None, WHEN)
INSERT = replace(UPDATE, op="I", old=None, old_channels=None)
DELETE = replace(UPDATE, op="D", new=None, new_channels=None)


def sent(change: Change, shape: Shape = OWNED) -> dict[str, Any]:
    """Returns what each channel got, decoded, having seen that none got two."""
    found = list(deliveries(change, shape))
    assert len({each.channel for each in found}) == len(found)
    return {each.channel: json.loads(each.data) for each in found}


def test_insert() -> None:
    """An inserted row reaches its owner whole, without an old row."""
    (delivery,) = deliveries(INSERT, OWNED)
    assert (delivery.channel, delivery.stream, delivery.kind) == ("orders-changes-a", "orders", "INSERT")
    assert orjson.loads(delivery.data) == {
        "version": 1,
        "type": "INSERT",
        "schema": "public",
        "table": "orders",
        "commit_timestamp": "2026-05-04T03:02:01.654321Z",
        "record": {"id": 1, "note": NEW_CANARY},
        "old_record": None,
        "columns": [{"name": "id", "type": "int8"}],
    }


def test_update() -> None:
    """An updated row reaches its owner with what it was before."""
    data = sent(UPDATE)["orders-changes-a"]
    assert (data["type"], data["record"]["note"], data["old_record"]["note"]) == ("UPDATE", NEW_CANARY, OLD_CANARY)


def test_delete() -> None:
    """A deleted row reaches its last owner, with no record and the row as it was; it has not `left`."""
    data = sent(DELETE)["orders-changes-a"]
    assert (data["type"], data["record"], data["old_record"]["note"]) == ("DELETE", None, OLD_CANARY)
    assert "left" not in data


def test_owner_moves() -> None:
    """A row that moves from A to B is a DELETE of the key for A, and an INSERT without the old row for B."""
    first, second = deliveries(replace(UPDATE, new_channels=["orders-changes-b"]), OWNED)
    assert (first.channel, second.channel) == ("orders-changes-a", "orders-changes-b")
    assert OLD_CANARY.encode() not in first.data + second.data
    assert NEW_CANARY.encode() not in first.data
    left, came = json.loads(first.data), json.loads(second.data)
    assert (left["type"], left["left"], left["record"], left["old_record"]) == ("DELETE", True, None, {"id": 1})
    assert (came["type"], came["record"]["note"], came["old_record"]) == ("INSERT", NEW_CANARY, None)
    assert "left" not in came


def test_owner_moves_negative_control() -> None:
    """Were the channels the same, the canaries would be seen: the check of the move can fail."""
    (delivery,) = deliveries(UPDATE, OWNED)
    assert OLD_CANARY.encode() in delivery.data
    assert NEW_CANARY.encode() in delivery.data


def test_owner_moves_and_the_key_changes() -> None:
    """A leaves with the key that A knew, B comes with the key that is."""
    moved = sent(replace(UPDATE, key='{"id":2}', old_key='{"id":1}', new_channels=["orders-changes-b"], new=[None]))
    assert moved["orders-changes-a"]["old_record"] == {"id": 1}
    assert moved["orders-changes-b"]["record"] == {"id": 2}
    assert moved["orders-changes-b"]["truncated"] is True


@pytest.mark.parametrize("change", [INSERT, DELETE, UPDATE])
def test_nobodys_row_reaches_nobody(change: Change) -> None:
    """A row whose owner is null concerns nobody."""
    nobody = replace(change, new_channels=change.new_channels and [None], old_channels=change.old_channels and [None])
    assert sent(nobody) == {}


def test_owner_appears() -> None:
    """A row that gets an owner is an INSERT for the owner, and nothing for anybody else."""
    (data,) = sent(replace(UPDATE, old_channels=[None])).values()
    assert (data["type"], data["old_record"]) == ("INSERT", None)


def test_owner_disappears() -> None:
    """A row that loses its owner is a DELETE of the key for who had it, and nothing for anybody else."""
    (data,) = sent(replace(UPDATE, new_channels=[None])).values()
    assert (data["type"], data["left"], data["old_record"]) == ("DELETE", True, {"id": 1})


@pytest.mark.parametrize(("op", "reason"), [("T", "truncated"), ("F", "capture-failed")])
def test_what_concerns_all_is_a_reset(op: str, reason: str) -> None:
    """A truncation, and a row that could not be read, are a reset on the channel that every listener of a stream has."""
    shape = replace(OWNED, feeds=(*OWNED.feeds, Feed("sales", "sales-changes", 0, COLUMNS)))
    lost = Change(7, 77, op, None, None, None, None, ["orders-changes", "sales-changes"], None, "canary of a fault", WHEN)
    assert list(deliveries(lost, shape)) == [
        Delivery(
            "orders-changes",
            "orders",
            RESET,
            orjson.dumps({"reason": reason, "stream": "orders", "table": "public.orders"}),
            ("sales-changes",),
        ),
        Delivery("sales-changes", "sales", RESET, orjson.dumps({"reason": reason, "stream": "sales", "table": "public.orders"})),
    ]


def test_too_large_a_row_is_its_key() -> None:
    """A row that was too large goes as its key, and says so; on each side by itself."""
    both = sent(replace(UPDATE, new=[None], old=[None]))["orders-changes-a"]
    assert (both["record"], both["old_record"], both["truncated"]) == ({"id": 1}, {"id": 1}, True)
    before = sent(replace(UPDATE, old=[None], key='{"id":2}', old_key='{"id":1}'))["orders-changes-a"]
    assert (before["record"]["note"], before["old_record"], before["truncated"]) == (NEW_CANARY, {"id": 1}, True)
    inserted = sent(replace(INSERT, new=[None]))["orders-changes-a"]
    assert (inserted["record"], inserted["old_record"], inserted["truncated"]) == ({"id": 1}, None, True)
    deleted = sent(replace(DELETE, old=[None]))["orders-changes-a"]
    assert (deleted["record"], deleted["old_record"], deleted["truncated"]) == (None, {"id": 1}, True)
    assert "truncated" not in sent(UPDATE)["orders-changes-a"]


def test_several_views() -> None:
    """Streams of one table get each its own view, its own columns, and its own owner."""
    shape = replace(
        OWNED, feeds=(Feed("buyers", "b", 0, b'["full"]'), Feed("sellers", "s", 1, b'["less"]'), Feed("all", "x", 1, b'["less"]'))
    )
    moved = replace(
        UPDATE,
        new=['{"id":1,"secret":true}', '{"id":1}'],
        old=['{"id":1,"secret":false}', '{"id":1,"was":1}'],
        new_channels=["b-1", "s-9", "x"],
        old_channels=["b-1", "s-8", "x"],
    )
    data = sent(moved, shape)
    assert list(data) == ["b-1", "s-8", "s-9", "x"]
    assert [data[channel]["columns"] for channel in data] == [["full"], ["less"], ["less"], ["less"]]
    assert data["b-1"]["record"] == {"id": 1, "secret": True}
    assert [data[channel]["type"] for channel in data] == ["UPDATE", "DELETE", "INSERT", "UPDATE"]
    assert not [each for each in deliveries(moved, shape) if each.channel != "b-1" and b"secret" in each.data]


def test_one_line_whatever_the_layout() -> None:
    """A pretty-printed json column stays on one line, and says the same."""
    pretty = '{"id":1,"data":{\r\n  "a": [1,\n\t2],\r  "b": "x\\ny"\n}}'
    (delivery,) = deliveries(replace(INSERT, new=[pretty]), OWNED)
    assert b"\n" not in delivery.data
    assert b"\r" not in delivery.data
    assert json.loads(delivery.data)["record"] == json.loads(pretty)


@pytest.mark.parametrize(
    "number", ["1" + "0" * 1000, "0." + "1" * 400, "12345678901234567890.10", "1e+308", "-0", "9007199254740993", '"NaN"', '"Infinity"']
)
def test_numbers_keep_their_digits(number: str) -> None:
    """A number is passed on as Postgres wrote it, digit by digit."""
    (delivery,) = deliveries(replace(INSERT, new=[f'{{"n":{number}}}']), OWNED)
    assert f'"record":{{"n":{number}}},'.encode() in delivery.data


@pytest.mark.parametrize("escape", [r"\u0000", r"\ud800", r"\udc00\ud800", r"\u2028"])
def test_escapes_pass_unread(escape: str) -> None:
    """An escape that not every reader of JSON can make a character of is passed on as it stands."""
    (delivery,) = deliveries(replace(INSERT, new=[f'{{"s":"{escape}"}}']), OWNED)
    assert escape.encode() in delivery.data


def test_shape_round_trip() -> None:
    """What the migrator writes about a table's streams is what is read: views, columns, broadcasts, in their order."""
    stream = Stream(name="orders", table="shop.orders.old", columns=("id", "näme"), channel="orders-{user_id}", owner="buyer")
    columns = [{"name": "id", "type": "int8"}, {"name": "näme", "type": "text"}]
    shape = Shape.decode("shop.orders.old", Shape.encode([(stream, 3, columns, True, {})]))
    assert shape == Shape("shop", "orders.old", (Feed("orders", "orders", 3, orjson.dumps(columns), True),))


OWNERS = st.sampled_from([None, "a", "b"])
SPACE = st.sampled_from(["", " ", "\n", "\r\n", "\r"])
VIEWS = st.booleans()


@given(st.sampled_from("IUD"), OWNERS, OWNERS, OWNERS, OWNERS, VIEWS, VIEWS, SPACE, st.sampled_from([None, '{"id":9}']))
def test_nobody_sees_what_was_anothers(
    op: str, o1: str | None, n1: str | None, o2: str | None, n2: str | None, has_new: bool, has_old: bool, space: str, old_key: str | None
) -> None:
    """Whatever changes, a channel sees the new row only if it owns it, and the old one only if it did and still does or it is gone."""
    shape = replace(OWNED, feeds=(Feed("one", "one", 0, COLUMNS), Feed("two", "two", 1, COLUMNS)))

    def channels(first: str | None, second: str | None) -> list[str | None]:
        return [first and f"one-{first}", second and f"two-{second}"]

    def views(canary: str, there: bool) -> list[str | None]:
        return [f'{{"id":1,{space}"c":"{canary}-{n}"}}' if there else None for n in range(2)]

    change = Change(
        7, 77, op, '{"id":1}', old_key if op == "U" else None,
        views(NEW_CANARY, has_new) if op != "D" else None, views(OLD_CANARY, has_old) if op != "I" else None,
        channels(n1, n2) if op != "D" else None, channels(o1, o2) if op != "I" else None, None, WHEN,
    )  # fmt: skip
    new, old = set(channels(n1, n2)) if op != "D" else set(), set(channels(o1, o2)) if op != "I" else set()
    for delivery in deliveries(change, shape):
        assert b"\n" not in delivery.data
        assert b"\r" not in delivery.data
        orjson.loads(delivery.data)
        number = 0 if delivery.channel.startswith("one") else 1
        may_new, may_old = delivery.channel in new, delivery.channel in old and (op == "D" or delivery.channel in new)
        assert (f"{NEW_CANARY}-{number}".encode() in delivery.data) == (may_new and has_new)
        assert (f"{OLD_CANARY}-{number}".encode() in delivery.data) == (may_old and has_old)
        assert f"-{1 - number}".encode() not in delivery.data.replace(b"2026-05-04", b"")
    assert {delivery.channel for delivery in deliveries(change, shape)} == (new | old) - {None}
