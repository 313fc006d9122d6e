"""Filters: what is understood, what is refused and how, and that they judge as Postgres does."""

import asyncio
import json
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from streams.filter import KINDS, Filter, FilterError, parse
from tests.support.servers import Servers

COLUMNS = {
    "status": "text",
    "price": "numeric",
    "public": "bool",
    "id": "uuid",
    "day": "date",
    "at": "timestamptz",
    "mood": "enum",
}
ROW = {
    "status": "confirmed",
    "price": Decimal("12500000.50"),
    "public": True,
    "id": "123e4567-e89b-12d3-a456-426614174000",
    "day": "2026-05-04",
    "at": "2026-05-04T10:00:00.5+00:00",
    "mood": "happy",
}


@pytest.mark.parametrize(
    ("column", "text", "holds"),
    [
        ("status", "eq.confirmed", True),
        ("status", "eq.con", False),
        ("status", "neq.confirmed", False),
        ("status", "not.eq.confirmed", False),
        ("status", "eq.", False),
        ("status", "gt.cancelled", True),
        ("status", "in.(pending,confirmed)", True),
        ("status", 'in.("a,b","con\\"firmed")', False),
        ("status", "not.in.(pending)", True),
        ("status", "like.conf*", True),
        ("status", "like.*FIRM*", False),
        ("status", "ilike.*FIRM*", True),
        ("status", "like.con_irmed", True),
        ("status", r"like.con\_irmed", False),
        ("status", "is.null", False),
        ("status", "not.is.null", True),
        ("status", "is.not_null", True),
        ("price", "eq.12500000.5", True),
        ("price", "lt.12500000.51", True),
        ("price", "gte.1.25e7", True),
        ("price", "lt.NaN", True),
        ("price", "gt.-Infinity", True),
        ("price", "in.(1,12500000.500)", True),
        ("public", "is.true", True),
        ("public", "is.false", False),
        ("public", "eq.TRUE", True),
        ("id", "eq.123E4567-E89B-12D3-A456-426614174000", True),
        ("day", "gte.2026-05-04", True),
        ("day", "lt.infinity", True),
        ("at", "lt.2026-05-04T12:00:00+02:00", False),
        ("at", "lt.2026-05-04T12:00:01+02:00", True),
        ("at", "eq.2026-05-04 10:00:00.500", True),
        ("mood", "neq.sad", True),
    ],
)
def test_a_condition(column: str, text: str, holds: bool) -> None:
    """Each operator, and its negation, on each kind."""
    assert parse([(column, text)], COLUMNS).admits(ROW) is holds


def test_nothing_is_known_of_null() -> None:
    """A condition on null does not hold, and neither does its negation."""
    row = dict.fromkeys(COLUMNS)
    for text in ("eq.x", "not.eq.x", "neq.x", "in.(x)", "not.in.(x)", "like.*", "not.ilike.*", "gt.x"):
        assert not parse([("status", text)], COLUMNS).admits(row)
    assert parse([("status", "is.null"), ("public", "is.unknown"), ("price", "not.is.not_null")], COLUMNS).admits(row)


def test_all_must_hold() -> None:
    """Several conditions, also on one column, must all hold; none admits every row."""
    assert parse([("price", "gt.1"), ("price", "lt.12500001"), ("status", "eq.confirmed")], COLUMNS).admits(ROW)
    assert not parse([("price", "gt.1"), ("price", "lt.2")], COLUMNS).admits(ROW)
    assert parse([], COLUMNS).admits(ROW)


def test_filters_that_say_the_same_are_equal() -> None:
    """Whatever their order and spelling: they are then evaluated once."""
    one = parse([("price", "eq.1.0"), ("status", "in.(a,b,b)")], COLUMNS)
    other = parse([("status", 'in.("b",a)'), ("price", "eq.1"), ("price", "eq.1")], COLUMNS)
    assert one == other
    assert hash(one) == hash(other)
    assert one != parse([("price", "eq.1")], COLUMNS)


def test_a_column_that_a_row_lacks() -> None:
    """What cannot be judged raises: the caller must decide."""
    with pytest.raises(KeyError):
        parse([("price", "eq.1")], COLUMNS).admits({"status": "confirmed"})


@pytest.mark.parametrize(
    ("column", "text", "says"),
    [
        ("secret", "eq.1", "column 'secret' cannot be filtered by: .* by at, day"),
        ("status", "confirmed", "write status=eq"),
        ("status", "equals.x", "no operator 'equals'"),
        ("status", "not.not.eq.x", "no operator 'not'"),
        ("status", "is.true", "'true' does not fit is: null, not_null$"),
        ("public", "is.maybe", "'maybe' does not fit is: .*unknown"),
        ("public", "gt.true", "gt does not fit bool"),
        ("public", "eq.yes", "public is bool, and 'yes' is not"),
        ("mood", "gt.sad", "gt does not fit enum"),
        ("price", "eq.much", "price is numeric, and 'much' is not"),
        ("price", "eq.1_000", "price is numeric"),
        ("price", "eq.\u0661", "price is numeric"),
        ("price", "eq.1e9999", "price is numeric"),
        ("price", "like.1*", "like does not fit numeric"),
        ("price", "in.(1,x)", "price is numeric, and 'x' is not"),
        ("id", "eq.7", "id is uuid"),
        ("day", "gt.tomorrow", "day is date"),
        ("at", "gt.2026-13-01", "at is timestamptz"),
        ("status", "in.a,b", "is no list"),
        ("status", "in.()", "is no list"),
        ("status", 'in.("a"b)', "is no list"),
        ("status", "in.(a(b)", "is no list"),
        ("status", "like.a\\", "escape"),
        ("status", "like." + "a" * 201, "pattern of 201 characters is too long"),
        ("status", "eq.a\x00", "zero character"),
        ("status", "eq." + "x" * 3000, "longer than 2000"),
        ("status", f"in.({','.join('abc' for _ in range(101))})", "101 values are too many"),
    ],
)
def test_what_is_refused(column: str, text: str, says: str) -> None:
    """What is not understood is named."""
    with pytest.raises(FilterError, match=says):
        parse([(column, text)], COLUMNS)


def test_too_many_conditions() -> None:
    """A request's conditions are bounded."""
    with pytest.raises(FilterError, match="21 conditions are too many"):
        parse([("price", f"neq.{number}") for number in range(21)], COLUMNS)


@given(st.text(max_size=30), st.sampled_from(sorted(COLUMNS)))
def test_anything_is_a_filter_or_an_error(text: str, column: str) -> None:
    """No text makes anything else of it, and what is a filter judges."""
    try:
        found = parse([(column, text), (column, f"not.in.({text})")], COLUMNS)
    except FilterError:
        return
    assert found.admits(ROW) in (True, False)


def test_a_pattern_takes_no_time_to_fail() -> None:
    """A hostile pattern on a long text: with an expression that tries all splits this would not end in this universe."""
    hostile = parse([("status", "like." + "*a" * 99 + "*b")], COLUMNS)
    assert not hostile.admits({"status": "a" * 20_000})


_TEXTS = st.text(st.sampled_from('abAB%_*\\,()" éÉßİ\u00a0ſ日\U0001f600'), max_size=6)
_NUMBERS = st.one_of(
    st.integers(-5, 5).map(str),
    st.decimals(-10, 10, places=2).map(str),
    st.sampled_from(["NaN", "Infinity", "-Infinity", "1e3", "0.50", "9007199254740993", "16777217", "0.1"]),
)
_DAYS = st.sampled_from(["2026-05-04", "2026-05-05", "0001-01-01", "9999-12-31", "infinity", "-infinity"])
_MOMENTS = st.sampled_from(
    ["2026-05-04T10:00:00Z", "2026-05-04T12:00:00.000001+02:00", "2026-05-04 10:00:00.1234", "infinity", "-infinity", "1950-01-01"]
)
_UUIDS = st.sampled_from(["123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-42661417400F"])
_BOOLS = st.sampled_from(["true", "false"])
_SQL = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "like"}


@st.composite
def _cases(draw: st.DrawFn) -> tuple[str, str | None, str, str, bool]:
    kind, texts = draw(
        st.sampled_from(
            [
                ("text", _TEXTS),
                ("numeric", _NUMBERS),
                ("float8", _NUMBERS),
                ("float4", _NUMBERS),
                ("date", _DAYS),
                ("timestamptz", _MOMENTS),
                ("uuid", _UUIDS),
                ("bool", _BOOLS),
            ]
        )
    )
    operators = KINDS[kind].operators - {"in", "is", "ilike"}
    return kind, draw(st.none() | texts), draw(st.sampled_from(sorted(operators))), draw(texts), draw(st.booleans())


@pytest.fixture
def oracle(servers: Servers) -> Any:
    """Asks Postgres: the value as JSON has it, and whether the condition holds for it."""
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(servers.connect(server_settings={"timezone": "UTC"}))

    def ask(kind: str, value: str | None, operator: str, operand: str, negated: bool) -> tuple[Any, bool]:
        collated = ' collate "C"' if kind == "text" else ""
        condition = f"$1::text::{kind}{collated} {_SQL[operator]} $2::text::{kind}"
        answer = loop.run_until_complete(
            connection.fetchrow(f"select to_json($1::text::{kind})::text, {'not' if negated else ''} ({condition})", value, operand)
        )
        assert answer is not None
        text, holds = answer
        return json.loads(text, parse_float=Decimal, parse_int=Decimal) if text is not None else None, bool(holds)

    yield ask
    loop.run_until_complete(connection.close())
    loop.close()


def test_as_postgres_judges(oracle: Any) -> None:
    """For any value, operator and operand the filter says what Postgres says."""

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @example(("numeric", "NaN", "eq", "NaN", False))
    @example(("float8", "0.1", "eq", "0.10", False))
    @example(("text", None, "like", "A\\", False))
    @given(_cases())
    def judge(case: tuple[str, str | None, str, str, bool]) -> None:
        kind, value, operator, operand, negated = case
        try:
            found = _filter(kind, operator, operand, negated)
        except FilterError:
            # Postgres says so too, where it compares as far as that.
            assert operator == "like"
            assert (len(operand) - len(operand.rstrip("\\"))) % 2
            with pytest.raises(asyncpg.PostgresError):
                oracle(kind, "x", operator, "\\", negated)
            return
        row, expected = oracle(kind, value, operator, operand.replace("*", "%") if operator == "like" else operand, negated)
        assert found.admits({"c": row}) is expected

    judge()


def _filter(kind: str, operator: str, operand: str, negated: bool) -> Filter:
    return parse([("c", f"{'not.' if negated else ''}{operator}.{operand}")], {"c": kind})
