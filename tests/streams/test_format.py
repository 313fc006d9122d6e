"""Formats: what each says of each change, every payload of the seeds field by field, and values that keep their text."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.bookings import bookings
from streams.catalog import Catalog
from streams.format import latest, members, render, status
from streams.payload import Change, Feed, Shape, deliveries
from streams.properties import properties
from streams.stream import Stream
from streams.system import system

WHEN = datetime(2023, 2, 1, tzinfo=UTC)
ID = "123e4567-e89b-12d3-a456-426614174000"
OLD = {
    "id": ID, "name": "Barton Creek Flats", "city": "Austin", "state": "TX", "price": 10000000, "units": 96,
    "latitude": 30.2588, "longitude": -97.7925, "status": "available",
    "created_at": "2023-01-01T00:00:00+00:00", "updated_at": "2023-01-01T00:00:00+00:00",
}  # fmt: skip
NEW = OLD | {"status": "pending", "price": 9800000, "updated_at": "2023-02-01T00:00:00+00:00"}
LISTED = Shape("public", "properties", (Feed("properties", "properties-changes", 0, b'[{"name":"id","type":"uuid"}]'),))
CHANNEL = ["properties-changes"]
UPDATE = Change(7, 77, "U", json.dumps({"id": ID}), None, [json.dumps(NEW)], [json.dumps(OLD)], CHANNEL, CHANNEL, None, WHEN)
INSERT = replace(UPDATE, op="I", old=None, old_channels=None)
DELETE = replace(UPDATE, op="D", new=None, new_channels=None)


def raw(change: Change) -> bytes:
    (delivery,) = deliveries(change, LISTED)
    return delivery.data


def told(format: str, change: Change, stream: Stream = properties) -> dict[str, Any]:
    data = render(format, raw(change), stream, "k3f9-7")
    assert b"\n" not in data
    found: dict[str, Any] = json.loads(data)
    return found


def test_the_seeds_update() -> None:
    """Property Updated, as the second seed has it."""
    assert told("diff", UPDATE) == {
        "version": 1,
        "property_id": "123e4567-e89b-12d3-a456-426614174000",
        "changes": {"status": {"old": "available", "new": "pending"}, "price": {"old": 10000000, "new": 9800000}},
        "updated_at": "2023-02-01T00:00:00Z",
    }
    assert properties.event("UPDATE") == "property-updated"


def test_the_seeds_creation() -> None:
    """New Property, as the second seed has it."""
    oak_view = {
        "id": "123e4567-e89b-12d3-a456-426614174005", "name": "Oak View Apartments", "city": "Austin", "state": "TX", "price": 12500000,
        "units": 120, "latitude": 30.2742, "longitude": -97.7400, "status": "available",
        "created_at": "2023-02-01T00:00:00+00:00", "updated_at": "2023-02-01T00:00:00+00:00",
    }  # fmt: skip
    assert told("diff", replace(INSERT, new=[json.dumps(oak_view)])) == {
        "version": 1,
        "property_id": "123e4567-e89b-12d3-a456-426614174005",
        "name": "Oak View Apartments",
        "city": "Austin",
        "state": "TX",
        "price": 12500000,
        "units": 120,
        "latitude": 30.2742,
        "longitude": -97.7400,
        "created_at": "2023-02-01T00:00:00Z",
    }
    assert properties.event("INSERT") == "property-created"


def test_the_seeds_deletion() -> None:
    """Property Deleted, as the second seed has it."""
    assert told("diff", DELETE) == {
        "version": 1,
        "property_id": "123e4567-e89b-12d3-a456-426614174000",
        "deleted_at": "2023-02-01T00:00:00Z",
    }
    assert properties.event("DELETE") == "property-deleted"


def test_the_seeds_booking() -> None:
    """Booking Event Example (UPDATE), as the first seed has it, in the form that is sent where nothing else is asked for."""
    new = {
        "id": 123, "customer_id": 456, "provider_id": 789, "service_id": 101, "booking_date": "2023-12-25T10:00:00Z",
        "start_time": "2023-12-25T10:00:00Z", "end_time": "2023-12-25T12:00:00Z", "status": "confirmed",
        "updated_at": "2023-12-03T10:30:00Z",
    }  # fmt: skip
    old = new | {"status": "pending"}
    shape = Shape("public", "bookings", (Feed("bookings", "bookings-changes", 0, b'[{"name":"id","type":"int8"}]'),))
    channel = ["bookings-changes-456"]
    change = replace(UPDATE, key='{"id":123}', new=[json.dumps(new)], old=[json.dumps(old)], new_channels=channel, old_channels=channel)
    (delivery,) = deliveries(change, shape)
    data = json.loads(render(bookings.format, delivery.data, bookings, "k3f9-7"))
    assert {name: data[name] for name in ("type", "table", "record", "old_record")} == {
        "type": "UPDATE",
        "table": "bookings",
        "record": new,
        "old_record": old,
    }
    assert data["columns"] == [{"name": "id", "type": "int8"}]
    assert data["version"] == 1


def test_diff_without_names_of_its_own() -> None:
    """Where the event's name does not tell, `type` does; a key without a noun is called what its column is."""
    plain = Stream(name="listings", table="public.properties", columns=tuple(OLD), channel="listings")
    for change, kind in ((INSERT, "INSERT"), (UPDATE, "UPDATE"), (DELETE, "DELETE")):
        found = told("diff", change, plain)
        assert (found["type"], found["id"]) == (kind, ID)
    assert told("diff", INSERT, plain)["status"] == "pending"


def test_diff_of_every_table() -> None:
    """Nothing but `schema` and `table` tells whose row it is; the key is that table's."""
    pairs = Stream(name="pairs", table="public.pairs", columns=("a", "b", "c"), key=("b", "a"), channel="pairs")
    every = Catalog([pairs, properties, Stream(name="changes", table="*", columns=(), channel="changes", roles=frozenset({"admin"}))])[
        "changes"
    ]
    of_pairs = Shape("public", "pairs", (Feed("changes", "changes", 0, b"[]"),))
    row = {"a": 1, "b": 2, "c": 3}
    change = replace(
        UPDATE, key='{"a":1}', new=[json.dumps(row | {"c": 4})], old=[json.dumps(row)], new_channels=["changes"], old_channels=["changes"]
    )
    (delivery,) = deliveries(change, of_pairs)
    assert json.loads(render("diff", delivery.data, every, "k3f9-7")) == {
        "version": 1, "type": "UPDATE", "schema": "public", "table": "pairs", "b": 2, "a": 1,
        "changes": {"c": {"old": 3, "new": 4}}, "updated_at": "2023-02-01T00:00:00Z",
    }  # fmt: skip
    assert told("diff", INSERT, every)["id"] == ID


@pytest.mark.parametrize("format", ["raw", "diff", "supabase", "cloudevents"])
def test_status(format: str) -> None:
    """A component's state in each format: the same, in the format's own dress."""
    since = "2026-05-04T13:31:37Z"
    data = json.loads(status(format, system, "redis", False, since, "k3f9-7-redis"))
    assert data["version"] == 1
    inner = data["data"] if format == "cloudevents" else data
    assert inner["eventType" if format == "supabase" else "type"] == "STATUS"
    assert {name: inner[name] for name in ("component", "status", "since")} == {"component": "redis", "status": "down", "since": since}
    if format == "cloudevents":
        assert (data["id"], data["type"], data["time"]) == ("k3f9-7-redis", "rowcast.system.status", since)


def test_supabase() -> None:
    """What realtime-js hands to its callback: eventType, new, old, errors."""
    found = told("supabase", UPDATE)
    assert found == {
        "version": 1,
        "schema": "public",
        "table": "properties",
        "commit_timestamp": "2023-02-01T00:00:00Z",
        "eventType": "UPDATE",
        "new": NEW,
        "old": OLD,
        "errors": None,
    }
    assert told("supabase", INSERT)["old"] == {}
    assert told("supabase", DELETE)["new"] == {}


def test_cloud_event() -> None:
    """CloudEvents 1.0: its required attributes, and raw's data."""
    found = told("cloudevents", DELETE)
    assert found.pop("data") == json.loads(raw(DELETE))
    assert found == {
        "specversion": "1.0",
        "id": "k3f9-7",
        "source": "/streams/properties",
        "type": "rowcast.properties.delete",
        "time": "2023-02-01T00:00:00Z",
        "datacontenttype": "application/json",
        "version": 1,
    }


@pytest.mark.parametrize("format", ["raw", "diff", "supabase", "cloudevents"])
def test_each_format_says_what_raw_says_beside(format: str) -> None:
    """`version` in each; that a row has left, or was too large, too."""
    moved = replace(UPDATE, new_channels=["elsewhere"], new=[None])
    left, came = (json.loads(render(format, each.data, properties, "k3f9-7")) for each in deliveries(moved, LISTED))
    inside = [each["data"] if format == "cloudevents" else each for each in (left, came)]
    assert [each["version"] for each in (left, came)] == [1, 1]
    assert inside[0]["left"] is True
    assert inside[1]["truncated"] is True
    assert "left" not in inside[1]


@pytest.mark.parametrize("format", ["diff", "supabase", "cloudevents"])
@pytest.mark.parametrize(
    "text", ["79.00", "1" + "0" * 400, "-97.7400", "1e+308", '"NaN"', r'"\ud800"', r'"\u0000"', '{"a":  1.0}', "[" * 5000 + "]" * 5000]
)
def test_values_keep_their_text(format: str, text: str) -> None:
    """Whatever Postgres wrote is passed on, digit by digit, however deep."""
    stream = Stream(name="odd", table="public.odd", columns=("id", "value"), channel="odd")
    data = render(format, raw(replace(INSERT, new=[f'{{"id":1,"value":{text}}}'])), stream, "k3f9-7")
    assert f'"value":{text}'.encode() in data


def test_two_changes_as_one() -> None:
    """Two changes of a row become what lies between before and after; nothing is left of a row that came and went."""
    one, two = (
        members(raw(UPDATE).decode()),
        members(raw(replace(UPDATE, new=[json.dumps(NEW | {"price": 1})], old=[json.dumps(NEW)])).decode()),
    )
    born, died = members(raw(INSERT).decode()), members(raw(DELETE).decode())

    def folded(first: Any, last: Any) -> Any:
        data = latest(first, last)
        return data and json.loads(data)

    assert (folded(one, two)["old_record"], folded(one, two)["record"]["price"]) == (OLD, 1)
    assert (folded(born, two)["type"], folded(born, two)["old_record"]) == ("INSERT", None)
    assert (folded(one, died)["type"], folded(one, died)["old_record"], folded(one, died)["record"]) == ("DELETE", OLD, None)
    assert (folded(died, born)["type"], folded(died, born)["record"]) == ("UPDATE", NEW)
    assert folded(born, died) is None


_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _VALUES, max_size=6), st.sampled_from([None, 1]))
def test_members(value: dict[str, Any], indent: int | None) -> None:
    """Any JSON object comes apart into its members' texts."""
    found = members(json.dumps(value, indent=indent))
    assert {name: json.loads(text) for name, text in found.items()} == value


@pytest.mark.parametrize("text", ["", "[]", "1", '{"a"}', '{"a":1', '{"a":}', '{"a":[1}', '{"a":1 "b":2}', "{a:1}", '{"a":"x}'])
def test_what_is_no_object(text: str) -> None:
    """Anything else is an error."""
    with pytest.raises(ValueError, match=r"object|Expecting|control|Invalid"):
        members(text)
