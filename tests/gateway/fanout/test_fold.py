"""Changes that leave together as one, where a stream is declared so: whoever materialises them ends with the same."""

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fanout.channel import Run
from gateway.fanout.fold import fold
from gateway.fanout.look import Looks
from gateway.wire import Entry
from streams.payload import RESET
from streams.services import services

OPERATIONS = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["put", "delete"]), st.integers()), max_size=12)


def _entries(operations: Sequence[tuple[int, str, int]], rows: dict[int, Any]) -> list[Entry]:
    """Makes the entries that such changes of a table would be, and changes the table."""
    found: list[Entry] = []
    for row, operation, value in operations:
        old = rows.get(row)
        new = {"id": row, "value": value} if operation == "put" else None
        if old is None and new is None:
            continue
        kind = "INSERT" if old is None else "DELETE" if new is None else "UPDATE"
        data = {"version": 1, "type": kind, "record": new, "old_record": old}
        position = len(found) + 1
        found.append(Entry("c", position, position - 1, "abcd", "services", kind, 1, (), json.dumps(data, separators=(",", ":")).encode()))
        rows.pop(row, None)
        if new is not None:
            rows[row] = new
    return found


def _row(entry: Entry) -> int:
    data = json.loads(entry.data)
    row: int = (data["record"] or data["old_record"])["id"]
    return row


def _materialised(rows: dict[int, Any], entries: Sequence[Entry]) -> dict[int, Any]:
    rows = dict(rows)
    for entry in entries:
        data = json.loads(entry.data)
        assert data["type"] == entry.kind
        before = rows.pop(_row(entry), None)
        assert before == data["old_record"]
        if data["record"] is not None:
            rows[_row(entry)] = data["record"]
    return rows


@given(OPERATIONS, OPERATIONS)
def test_the_end_is_the_same(earlier: list[Any], now: list[Any]) -> None:
    """A row is never told of twice in a row, and each event continues what its reader has, who ends with the same.

    Also whoever is cut behind any of them, and gets what lies after its id one by one.
    """
    rows: dict[int, Any] = {}
    _entries(earlier, rows)
    before = dict(rows)
    entries = _entries(now, rows)
    folded = fold(entries, ("id",))
    assert _materialised(before, folded) == rows == _materialised(before, entries)
    told = [_row(entry) for entry in folded]
    assert all(one != other for one, other in pairwise(told))
    for count in range(len(folded) + 1):
        had = folded[:count]
        after = had[-1].position if had else 0
        assert _materialised(before, [*had, *(entry for entry in entries if entry.position > after)]) == rows


def test_what_is_not_folded() -> None:
    """A reset, or a row whose key changes, leaves all as it is."""
    entries = _entries([(1, "put", 1), (1, "put", 2)], {})
    reset = replace(entries[0], kind=RESET, data=b"{}")
    moved = replace(entries[1], data=b'{"version":1,"type":"UPDATE","record":{"id":2},"old_record":{"id":1}}')
    for several in ([*entries, reset], [entries[0], moved]):
        assert fold(several, ("id",)) == several


@pytest.mark.parametrize("flag", ["left", "truncated"])
def test_what_says_less_than_the_row(flag: str) -> None:
    """Who has only a row's key of one of two changes is told both: joined, they would say that nothing has changed."""
    first, second = _entries([(1, "put", 1), (1, "put", 2)], {})
    for several in ([first, _flagged(second, flag)], [_flagged(first, flag), second]):
        assert fold(several, ("id",)) == several


def _flagged(entry: Entry, flag: str) -> Entry:
    return replace(entry, data=json.dumps(json.loads(entry.data) | {flag: True}, separators=(",", ":")).encode())


@pytest.mark.parametrize(("latest_only", "events"), [(True, 1), (False, 3)])
def test_only_where_it_is_declared(latest_only: bool, events: int) -> None:
    """What leaves together leaves as one for a stream that says so, and never otherwise."""
    run = Run(_entries([(1, "put", 1), (1, "put", 2), (1, "put", 3)], {}))
    data = run.encode(Looks().of(replace(services, latest_only=latest_only), "raw", chunked=False))
    assert data.count(b"event: services") == events
    assert b'"value":3' in data
