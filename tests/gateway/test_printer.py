"""What events look like: lines, tables and JSON, with and without colour."""

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from rich.console import Console

from gateway import cell
from gateway.follow import Event
from gateway.grid import Grid
from gateway.printer import Json, Lines, Printer

WHEN = "2026-05-04T13:27:01.285015+00:00"
BOOKING = {"id": 9, "customer_id": 1, "status": "pending", "notes": None, "price": 79.5, "updated_at": WHEN}


@pytest.fixture(autouse=True)
def _today(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """It is the day of the changes, in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.setattr(cell, "now", lambda: datetime.fromisoformat(WHEN))
    monkeypatch.setattr("gateway.printer.now", lambda: datetime.fromisoformat(WHEN))
    yield
    monkeypatch.undo()
    time.tzset()


def raw(
    type: str, record: dict[str, Any] | None, old: dict[str, Any] | None, name: str = "bookings", when: str = WHEN, **more: Any
) -> Event:
    data = {"version": 1, "type": type, "schema": "public", "table": "bookings", "commit_timestamp": when, "record": record}
    columns = [{"name": column, "type": "text"} for column in record or old or ()]
    return Event("abcd-7", name, json.dumps(data | {"old_record": old, "columns": columns} | more))


def control(name: str, **data: Any) -> Event:
    return Event("abcd-7", name, json.dumps(data))


def shown(kind: Callable[..., Printer], *events: Event, terminal: int = 0, **options: Any) -> str:
    """Returns what a printer writes, on a terminal that is so wide, or to a pipe."""
    file = io.StringIO()
    out = Console(
        file=file, force_terminal=bool(terminal), width=terminal or None, color_system="standard" if terminal else None, highlight=False
    )
    given = {"control": True} | ({} if kind is Json else {"width": 8}) | options
    printer = kind(out, **given)
    for event in events:
        printer.show(event)
    return file.getvalue()


LINES = {
    "insert": (raw("INSERT", BOOKING, None), "13:27:01.285  INSERT  bookings  id=9  customer_id=1  status=pending  price=79.5\n"),
    "update": (
        raw("UPDATE", BOOKING | {"status": "confirmed", "notes": "Ring twice"}, BOOKING | {"updated_at": "before"}),
        '13:27:01.285  UPDATE  bookings  id=9  status pending → confirmed  notes null → "Ring twice"\n',
    ),
    "update of a key alone": (raw("UPDATE", {"id": 9, "status": "a"}, {"id": 9}), "13:27:01.285  UPDATE  bookings  id=9  status=a\n"),
    "delete": (raw("DELETE", None, {"id": 9, "status": "a"}), "13:27:01.285  DELETE  bookings  id=9  status=a\n"),
    "left": (raw("DELETE", None, {"id": 9}, left=True), "13:27:01.285  DELETE  bookings  id=9  left\n"),
    "truncated": (raw("INSERT", {"id": 9}, None, truncated=True), "13:27:01.285  INSERT  bookings  id=9  truncated\n"),
    "another key": (raw("INSERT", {"code": "x", "n": 1}, None), "13:27:01.285  INSERT  bookings  code=x  n=1\n"),
    "every table": (raw("INSERT", {"id": 1}, None, "changes"), "13:27:01.285  INSERT  changes/bookings  id=1\n"),
    "status": (
        control("system", version=1, type="STATUS", component="redis", status="down"),
        "13:27:01.285  STATUS  system    component=redis  status=down\n",
    ),
    "another day": (
        raw("INSERT", {"id": 1}, None, when="2026-05-03T23:00:00Z"),
        "── 2026-05-03 ──\n23:00:00.000  INSERT  bookings  id=1\n",
    ),
    "long": (raw("INSERT", {"id": 1, "notes": "x" * 100}, None), f"13:27:01.285  INSERT  bookings  id=1  notes={'x' * 59}…\n"),
    "another format": (
        control("bookings", type="UPDATE", id=9, changes={"status": {"old": "a", "new": "b"}}),
        '13:27:01.285  UPDATE  bookings  id=9  changes={"status": {"old": "a", "new": "b"}}\n',
    ),
    "no JSON": (Event("abcd-7", "bookings", "\x1b[31m"), "13:27:01.285          bookings  \\x1b[31m\n"),
    "snapshot": (
        control("snapshot", stream="bookings", rows=[{"id": 1, "a": "x"}, {"id": 2, "a": "y"}], done=True),
        "              ROW     bookings  id=1  a=x\n              ROW     bookings  id=2  a=y\n",
    ),
    "ready": (
        control("ready", status="resumed", streams=["a", "b"], connection="c0ffee", expires_at="2026-05-04T14:00:00Z", heartbeat=8),
        "13:27:01.285  ready  resumed · a, b · connection c0ffee · token until 14:00:00\n",
    ),
    "reconnect": (control("reconnect", reason="shutdown", retry=1500), "13:27:01.285  reconnect  shutdown · again in 1.5 s\n"),
}


@pytest.mark.parametrize("name", LINES)
def test_lines(name: str) -> None:
    """A line says when, what, where, which row, and what has changed in it; where it is piped, without an escape sequence."""
    event, expected = LINES[name]
    assert shown(Lines, event) == expected


def test_lines_in_colour() -> None:
    """On a terminal the type has a colour, and with the colours taken away it is the same line."""
    event, expected = LINES["update"]
    text = shown(Lines, event, terminal=200)
    assert "\x1b[33mUPDATE\x1b[0m" in text
    assert re.sub(r"\x1b\[[0-9;]*m", "", text) == expected


def test_columns_are_chosen() -> None:
    """Only the chosen columns are shown, also those that are left out else."""
    assert shown(Lines, raw("INSERT", BOOKING, None), columns=["status", "updated_at", "nonesuch"]).split("  ")[3:] == [
        "id=9",
        "status=pending",
        f"updated_at={WHEN}\n",
    ]


def test_control_events_are_left_out() -> None:
    """Told so, nothing is shown of control events but the rows of a snapshot."""
    events = [event for event, _ in LINES.values() if event.name in ("ready", "reconnect", "snapshot")]
    assert shown(Lines, *events, control=False) == LINES["snapshot"][1]


def test_rows_have_no_power_over_the_terminal() -> None:
    """Escape sequences, line ends and letters that turn the direction of writing are shown, and not obeyed; in JSON they are escaped."""
    evil = "\x1b]0;owned\x07\x9b31m\r\n\u202eabc\x7f"
    event = raw("UPDATE", {"id": 1, "notes": evil, evil: 1}, {"id": 1, "notes": "", evil: 2}, evil, table=evil)
    for kind in (Lines, Grid, Json):
        text = shown(kind, event, control(evil, status=evil), control("reset", reason=evil))
        assert all(character.isprintable() or (character == "\u202e" and kind is Json) for character in text.replace("\n", ""))
    assert "\x1b" not in shown(Json, Event("abcd-7", "bookings", "no JSON \x1b[2J"))
    line = shown(Json, Event("abcd-7", "bookings", json.dumps({"notes": evil}, ensure_ascii=False)))
    assert json.loads(line)["data"]["notes"] == evil


def test_json() -> None:
    """A line has `id`, `event`, `data`; of the control events those that are about rows, or all if told."""
    events = [raw("INSERT", BOOKING, None), control("ready", status="fresh"), control("reset", reason="gap"), control("snapshot", rows=[])]
    lines = [json.loads(line) for line in shown(Json, *events, control=False).splitlines()]
    assert [line["event"] for line in lines] == ["bookings", "reset", "snapshot"]
    assert lines[0] == {"id": "abcd-7", "event": "bookings", "data": json.loads(events[0].data)}
    assert len(shown(Json, *events).splitlines()) == 4
    anew = Event("none-0", "ready", '{"status":"fresh"}')
    assert json.loads(shown(Json, anew, control=False))["event"] == "ready", "rows begin anew behind it"
    assert shown(Json, Event("none-0", "ready", '{"status":"reset"}'), control=False) == ""


def test_numbers_keep_their_digits() -> None:
    """A price of 79.00 is shown as such, in lines, tables and JSON."""
    event = Event("abcd-7", "bookings", '{"type":"INSERT","record":{"id":1,"price":79.00},"old_record":null}')
    for kind in (Lines, Grid, Json):
        assert "79.00" in shown(kind, event)


def test_table() -> None:
    """Columns are under each other, numbers to the right, times short; what has changed is highlighted; null is nothing."""
    other = BOOKING | {"id": 10, "status": "a very long status that has no room"}
    text = shown(Grid, raw("INSERT", BOOKING, None), raw("UPDATE", other, BOOKING | {"id": 10}), terminal=100)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert [line.rstrip() for line in plain] == [
        "TIME          TYPE    STREAM      id  customer_id  status         notes        price",
        "13:27:01.285  INSERT  bookings     9            1  pending                      79.5",
        "13:27:01.285  UPDATE  bookings    10            1  a very long …                79.5",
    ]
    assert "\x1b[1;33ma very long …" in text


def test_table_that_is_too_wide() -> None:
    """On a terminal columns that have no room are left out, times first, and named; into a pipe they all go."""
    row = {"id": 1, "start_time": WHEN, "status": "pending", "notes": "x" * 30}
    text = re.sub(r"\x1b\[[0-9;]*m", "", shown(Grid, raw("INSERT", row, None), terminal=60))
    assert text.splitlines()[0] == "bookings: no room for start_time, notes; --columns chooses"
    assert all(len(line) <= 60 for line in text.splitlines())
    assert "2026-05-04 13:27:01" in shown(Grid, raw("INSERT", row, None))


def test_header_comes_again() -> None:
    """The header comes again after twenty rows, and when another stream has a row."""
    rows = [raw("INSERT", {"id": number}, None) for number in range(21)]
    assert shown(Grid, *rows).count("TIME") == 2
    assert shown(Grid, *rows[:2], raw("INSERT", {"id": 1}, None, "services")).count("TIME") == 2
