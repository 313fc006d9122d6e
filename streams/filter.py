"""Filters in PostgREST's syntax: `?city=eq.Austin&price=lt.500000`, all of which must hold.

- What may be filtered by, and as what, is declared; a client's text is compared, and never becomes SQL.
- As Postgres compares: null makes a condition unknown, and so its negation; text by code points, as with collation "C";
  NaN equals itself and is above every number. `ilike` lowers both sides as Unicode does.
- Conditions are values: filters that say the same are equal, whatever the order in which they came.
"""

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Any
from uuid import UUID

_MAX_CONDITIONS = 20
_MAX_VALUES = 100
_MAX_CHARACTERS = 2000
_MAX_PATTERN = 200
_MAX_MATCHED = 20_000
"""Longer texts are not searched for a pattern: that takes the product of both, and the event loop waits."""

Value = Any
"""One that compares with others of its kind: a kind's `read` makes it of a row's value, `parse` of a client's text."""


class FilterError(Exception):
    """A filter is not understood. The message names what, and quotes no more than a few characters of it."""


@dataclass(frozen=True)
class Kind:
    """What a column's values are compared as: `types` are those of Postgres that it fits."""

    name: str
    types: frozenset[str]
    operators: frozenset[str]
    parse: Callable[[str], Value]
    read: Callable[[Any], Value]


def _number(text: Any) -> Value:
    number = text if isinstance(text, Decimal) else Decimal(str(text))
    return (number.is_nan(), Decimal(0) if number.is_nan() else number)


def _parse_number(text: str) -> Value:
    if not re.fullmatch(r"[+-]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][+-]?\d{1,3})?|NaN|[+-]?Infinity", text, re.ASCII):
        raise ValueError("not a number")
    return _number(text)


def _parse_float8(text: str) -> Value:
    """As Postgres reads it: what no float has exactly is the nearest one."""
    number = _parse_number(text)
    return number if number[0] or number[1].is_infinite() else _number(repr(float(text)))


def _parse_float4(text: str) -> Value:
    number = _parse_float8(text)
    if number[0] or number[1].is_infinite():
        return number
    # The shortest text that is this float4 again: what Postgres writes.
    nearest = struct.unpack("f", struct.pack("f", float(number[1])))[0]
    return _number(
        next(each for digits in range(1, 10) if struct.pack("f", float(each := f"{nearest:.{digits}g}")) == struct.pack("f", nearest))
    )


def _parse_bool(text: str) -> Value:
    return {"true": True, "false": False}[text.lower()]


def _moment(text: str) -> Value:
    """Infinite ones stand for themselves: below and above all others."""
    if text in ("infinity", "-infinity"):
        return (1 if text == "infinity" else -1, datetime.min.replace(tzinfo=UTC))
    moment = datetime.fromisoformat(text)
    return (0, moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC))


def _day(text: str) -> Value:
    if text in ("infinity", "-infinity"):
        return (1 if text == "infinity" else -1, date.min)
    return (0, date.fromisoformat(text))


def _uuid(text: str) -> Value:
    return str(UUID(text))


_EQUAL = frozenset({"eq", "neq", "in", "is"})
_ORDERED = _EQUAL | {"gt", "gte", "lt", "lte"}

KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("text", frozenset({"text", "varchar", "name"}), _ORDERED | {"like", "ilike"}, str, str),
        Kind("numeric", frozenset({"int2", "int4", "int8", "numeric"}), _ORDERED, _parse_number, _number),
        Kind("float8", frozenset({"float8"}), _ORDERED, _parse_float8, _number),
        Kind("float4", frozenset({"float4"}), _ORDERED, _parse_float4, _number),
        Kind("bool", frozenset({"bool"}), _EQUAL, _parse_bool, bool),
        Kind("uuid", frozenset({"uuid"}), _EQUAL, _uuid, _uuid),
        Kind("date", frozenset({"date"}), _ORDERED, _day, _day),
        Kind("timestamptz", frozenset({"timestamptz", "timestamp"}), _ORDERED, _moment, _moment),
        # Of the user's own types only enums: their values are compared as text, and have no order here.
        Kind("enum", frozenset(), _EQUAL, str, str),
    )
}
"""By the name that a declaration uses."""

_IS: Mapping[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "not_null": lambda value: value is not None,
    "true": lambda value: value is True,
    "false": lambda value: value is False,
    "unknown": lambda value: value is None,
}
_COMPARE: Mapping[str, Callable[[Value, Value], bool]] = {
    "eq": lambda a, b: bool(a == b),
    "neq": lambda a, b: bool(a != b),
    "gt": lambda a, b: bool(a > b),
    "gte": lambda a, b: bool(a >= b),
    "lt": lambda a, b: bool(a < b),
    "lte": lambda a, b: bool(a <= b),
}


@dataclass(frozen=True)
class Condition:
    """One of a filter's conditions: `operands` in the kind's own values, or the word behind `is`, or a pattern."""

    column: str
    kind: str
    negated: bool
    operator: str
    operands: tuple[Value, ...]

    def holds(self, row: Mapping[str, Any]) -> bool | None:
        """Says whether it holds for a row, as JSON has it with numbers as Decimal; None is unknown. Raises KeyError without the column."""
        found = self._found(row[self.column])
        return found if found is None else found != self.negated

    def _found(self, value: Any) -> bool | None:
        if self.operator == "is":
            return _IS[self.operands[0]](value)
        if value is None:
            return None
        if self.operator in ("like", "ilike"):
            if len(str(value)) > _MAX_MATCHED:
                return None
            return self._pattern.fullmatch(str(value).lower() if self.operator == "ilike" else str(value)) is not None
        try:
            mine = KINDS[self.kind].read(value)
        except (ValueError, ArithmeticError):
            # A value that Postgres has and Python does not, such as a year before the first.
            return None
        if self.operator == "in":
            return mine in self.operands
        return _COMPARE[self.operator](mine, self.operands[0])

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return _pattern(self.operands[0])


@dataclass(frozen=True)
class Filter:
    """Conditions that must all hold; `text` is one way to write it."""

    conditions: frozenset[Condition]

    @cached_property
    def columns(self) -> frozenset[str]:
        """The columns that it looks at."""
        return frozenset(condition.column for condition in self.conditions)

    def equals(self, column: str) -> str | None:
        """Returns the text that a column must equal, if the filter says so; of text, uuid or bool."""
        for condition in self.conditions:
            if condition.column == column and condition.operator == "eq" and not condition.negated:
                (value,) = condition.operands
                return str(value).lower() if isinstance(value, bool) else str(value)
        return None

    def admits(self, row: Mapping[str, Any]) -> bool:
        """Says whether all conditions hold for a row. Raises KeyError if a column is missing."""
        return all(condition.holds(row) is True for condition in self.conditions)

    def __and__(self, other: "Filter") -> "Filter":
        return Filter(self.conditions | other.conditions)


def parse(given: Iterable[tuple[str, str]], columns: Mapping[str, str]) -> Filter:
    """Reads conditions such as ("status", "not.eq.done"), on columns whose kinds are given by name.

    Raises FilterError for a column that is not among them, an operator that is none or does not fit, and a value that is not one.
    """
    conditions = [_condition(column, text, columns) for column, text in given]
    if len(conditions) > _MAX_CONDITIONS:
        raise FilterError(f"{len(conditions)} conditions are too many, {_MAX_CONDITIONS} are not")
    return Filter(frozenset(conditions))


def _condition(column: str, text: str, columns: Mapping[str, str]) -> Condition:
    if column not in columns:
        known = f"by {', '.join(sorted(columns))}" if columns else "not at all"
        raise FilterError(f"column {column[:40]!r} cannot be filtered by: this stream can be filtered {known}")
    if len(text) > _MAX_CHARACTERS:
        raise FilterError(f"the condition on {column} is longer than {_MAX_CHARACTERS} characters")
    if "\x00" in text:
        raise FilterError(f"the condition on {column} has a zero character, which no text has in Postgres")
    kind = KINDS[columns[column]]
    rest = text.removeprefix("not.")
    operator, dot, operand = rest.partition(".")
    if not dot:
        raise FilterError(f"{column}={text[:40]!r} is no condition: write {column}=eq.…")
    if operator not in _ORDERED | {"like", "ilike"}:
        raise FilterError(
            f"{column}: there is no operator {operator[:40]!r}: eq neq gt gte lt lte like ilike in is, each perhaps after not."
        )
    if operator not in kind.operators:
        raise FilterError(f"{column}: {operator} does not fit {kind.name}: {' '.join(sorted(kind.operators))}")
    return Condition(column, kind.name, rest != text, operator, _operands(column, kind, operator, operand))


def _operands(column: str, kind: Kind, operator: str, text: str) -> tuple[Value, ...]:
    if operator == "is":
        word = text.lower()
        if word not in _IS or (word in ("true", "false", "unknown") and kind.name != "bool"):
            raise FilterError(f"{column}: {text[:40]!r} does not fit is: null, not_null{', true, false, unknown' * (kind.name == 'bool')}")
        return (word,)
    if operator in ("like", "ilike"):
        pattern = text.replace("*", "%")
        if len(pattern) > _MAX_PATTERN:
            raise FilterError(f"{column}: a pattern of {len(pattern)} characters is too long, one of {_MAX_PATTERN} is not")
        if re.search(r"(?<!\\)(\\\\)*\\$", pattern):
            raise FilterError(f"{column}: a pattern must not end with the escape character")
        return (pattern.lower() if operator == "ilike" else pattern,)
    if operator == "in":
        # In one order and each once, so that lists that say the same are equal.
        return tuple(sorted({_value(column, kind, each) for each in _listed(column, text)}))
    return (_value(column, kind, text),)


def _value(column: str, kind: Kind, text: str) -> Value:
    try:
        return kind.parse(text)
    except (ValueError, KeyError, ArithmeticError) as error:
        raise FilterError(f"{column} is {kind.name}, and {text[:40]!r} is not") from error


_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^",()]*)', re.DOTALL)


def _listed(column: str, text: str) -> list[str]:
    """Reads `(a,b,"c,d")`."""
    if not (text.startswith("(") and text.endswith(")") and len(text) > 2):
        raise FilterError(f"{column}: {text[:40]!r} is no list: write in.(a,b)")
    items: list[str] = []
    at, end = 1, len(text) - 1
    while True:
        item = _ITEM.match(text, at, end)
        assert item is not None  # it matches nothing too
        items.append(item[2] if item[1] is None else re.sub(r"\\(.)", r"\1", item[1], flags=re.DOTALL))
        at = item.end() + 1
        if item.end() == end:
            break
        if text[item.end()] != ",":
            raise FilterError(f"{column}: {text[:40]!r} is no list: a value with a comma, a quote or a bracket is to be in quotes")
    if len(items) > _MAX_VALUES:
        raise FilterError(f"{column}: {len(items)} values are too many, {_MAX_VALUES} are not")
    return items


def _pattern(like: str) -> re.Pattern[str]:
    """Makes an expression of a LIKE pattern.

    Atomic groups: each `%` takes the first that fits, so it takes no longer than the pattern's length times the text's.
    """
    pieces: list[str] = [""]
    characters = iter(like)
    for character in characters:
        if character == "%":
            pieces.append("")
        elif character == "_":
            pieces[-1] += "."
        else:
            pieces[-1] += re.escape(next(characters) if character == "\\" else character)
    first, *middle = pieces
    if not middle:
        return re.compile(first, re.DOTALL)
    *middle, last = middle
    return re.compile(first + "".join(f"(?>.*?{piece})" for piece in middle if piece) + f".*{last}", re.DOTALL)
