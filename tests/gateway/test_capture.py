"""The rendered trigger, held against a golden file: `python -m tests.gateway.test_capture` writes it anew, to be read before it is kept."""

from pathlib import Path

import pytest

from gateway.capture import Capture, function
from gateway.column import Column, quoted
from streams.catalog import load
from streams.stream import Stream, Via

GOLDEN = Path(__file__).parent / "golden"
BOOKINGS = Capture(
    "public.bookings",
    tuple(load("streams").by_table()["public.bookings"]),
    {
        "id": Column("int8"),
        "customer_id": Column("int8"),
        "provider_id": Column("int8"),
        "service_id": Column("int8"),
        "booking_date": Column("timestamptz"),
        "start_time": Column("timestamptz"),
        "end_time": Column("timestamptz"),
        "status": Column("text"),
        "notes": Column("text"),
        "created_at": Column("timestamptz"),
        "updated_at": Column("timestamptz"),
    },
    "armed",
    262_144,
)
ODD = Capture(
    "Shop.or'ders",
    (
        Stream(
            name="buyers",
            table="Shop.or'ders",
            columns=("id", 't"otal', "note"),
            channel="buyers-{user_id}",
            owner="buyer's",
            key=("id", 't"otal'),
        ),
        Stream(
            name="couriers",
            table="Shop.or'ders",
            columns=("id", 't"otal', "note"),
            channel="couriers-{user_id}",
            owner=Via('to"ur', table="Shop.to'urs", owner="who's"),
            key=("id", 't"otal'),
        ),
        Stream(
            name="watchers",
            table="Shop.or'ders",
            columns=("id", 't"otal', "note"),
            channel="watchers-{user_id}",
            owner="watch'ers",
            key=("id", 't"otal'),
        ),
        Stream(
            name="everybody", table="Shop.or'ders", columns=("id", 't"otal', "state", "extra"), channel="everybody", key=("id", 't"otal')
        ),
    ),
    {
        "id": Column("uuid"),
        't"otal': Column("numeric"),
        "note": Column("text"),
        "buyer's": Column("varchar"),
        'to"ur': Column("int8"),
        "watch'ers": Column("_int8"),
        "state": Column("mood", builtin=False),
        "extra": Column("jsonb"),
    },
    "never",
    4096,
    {"Shop.to'urs": {"id": Column("int8"), "who's": Column("text")}},
)
CAPTURES = {"bookings": BOOKINGS, "odd": ODD}


@pytest.mark.parametrize("name", CAPTURES)
def test_golden(name: str) -> None:
    """What is rendered for a table is what was read and kept."""
    assert CAPTURES[name].statements(7) == (GOLDEN / f"{name}.sql").read_text(encoding="utf-8")


def test_golden_negative_control() -> None:
    """Another bound, bell, type or shape is another text."""
    good = BOOKINGS.statements(7)
    wider = {**BOOKINGS.columns, "notes": Column("jsonb")}
    for other in (
        Capture(BOOKINGS.relation, BOOKINGS.streams, BOOKINGS.columns, "armed", 1),
        Capture(BOOKINGS.relation, BOOKINGS.streams, BOOKINGS.columns, "never", 262_144),
        Capture(BOOKINGS.relation, BOOKINGS.streams, wider, "armed", 262_144),
        Capture(BOOKINGS.relation, BOOKINGS.streams[:1], BOOKINGS.columns, "armed", 262_144),
    ):
        assert other.statements(7) != good
        assert other.definition != BOOKINGS.definition
    assert BOOKINGS.statements(8) != good


def test_definition_does_not_depend_on_the_shape() -> None:
    """What tells whether a declaration has changed is the same whatever number the shape got."""
    assert BOOKINGS.definition == Capture(**vars(BOOKINGS)).definition
    assert " 7," not in BOOKINGS.definition.replace(BOOKINGS.statements(7), "")


def test_streams_with_the_same_columns_share_a_view() -> None:
    """Streams that publish the same columns of a table share one view of its row, others have their own."""
    assert BOOKINGS.statements(7).count("create type") == 1
    assert ODD.statements(7).count("create type") == 2


def test_a_column_that_is_not_listed_is_never_read() -> None:
    """A column that no stream lists is not in the trigger, unless it is the owner."""
    more = {**BOOKINGS.columns, "secret": Column("text")}
    text = Capture(BOOKINGS.relation, BOOKINGS.streams, more, "armed", 262_144).statements(7)
    assert "secret" not in text
    views, _, channels = ODD.statements(7).partition("v_new_channels := ")
    assert '"buyer\'s"' not in views.replace('pg_typeof(new."buyer\'s")', "")
    assert '"buyer\'s"' in channels


def test_quoted() -> None:
    """A relation is quoted part by part, at its first dot."""
    assert quoted("public.bookings") == '"public"."bookings"'
    assert quoted('a.b"c.d') == '"a"."b""c.d"'


def test_function_names_fit() -> None:
    """The name of a trigger function fits Postgres' 63 bytes, whatever the table is called."""
    for relation in ("public.bookings", "s" * 63 + "." + "t" * 63, "public." + "ü" * 31, "public." + "𝒳" * 15):
        assert len(function(relation).strip('"').encode()) <= 63


def write() -> None:
    """Writes the golden files."""
    for name, capture in CAPTURES.items():
        (GOLDEN / f"{name}.sql").write_text(capture.statements(7), encoding="utf-8")


if __name__ == "__main__":
    write()
