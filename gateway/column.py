"""① A published table's columns, and what SQL says of them: types, sizes, keys."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

import sql

_MEASURABLE = frozenset({"text", "varchar", "bpchar", "bytea"})
"""Types whose full size `octet_length` reads without unpacking the value."""
FIXED = frozenset(
    {"bool", "int2", "int4", "int8", "float4", "float8", "oid", "uuid", "date", "time", "timetz", "timestamp", "timestamptz", "interval"}
)
_COMPRESSED = 8
"""A packed value of another type counts as this many times its stored size."""


@dataclass(frozen=True)
class Column:
    """A column's type by name, and whether it is one of Postgres' own."""

    type: str
    builtin: bool = True
    virtual: bool = False
    """Generated when it is read: a trigger does not see it."""
    schema: str = "pg_catalog"

    @property
    def regtype(self) -> str:
        """The type as a constant."""
        return sql.literal(f"{sql.identifier(self.schema)}.{sql.identifier(self.type)}") + "::regtype"

    @property
    def element(self) -> str:
        """The type of an array's elements, or the type itself."""
        return self.type.removeprefix("_")

    @property
    def several(self) -> bool:
        """Whether it is an array."""
        return self.type.startswith("_")

    @property
    def name(self) -> str:
        """The type's name, quoted."""
        return f"{sql.identifier(self.schema)}.{sql.identifier(self.type)}"

    def size(self, value: str) -> str | None:
        """Returns an expression for how large a value is at most; None where that does not matter."""
        if self.type in _MEASURABLE:
            return f"coalesce(octet_length({value}), 0)::bigint"
        if self.type in FIXED:
            return None
        return (
            f"coalesce(pg_column_size({value})::bigint * case when pg_column_compression({value}) is null then 1 else {_COMPRESSED} end, 0)"
        )


def sizes(row: str, names: Iterable[str], columns: Mapping[str, Column]) -> str:
    """Returns an expression for how large some of a row's columns are together."""
    return " + ".join(filter(None, (columns[name].size(f"{row}.{sql.identifier(name)}") for name in names))) or "0"


def key_of(row: str, key: tuple[str, ...]) -> str:
    """Returns an expression for a row's key as JSON."""
    parts = []
    for index, column in enumerate(key):
        opening = ("," if index else "{") + orjson.dumps(column).decode() + ":"
        parts += [sql.literal(opening), f"coalesce(to_json({row}.{sql.identifier(column)})::text, 'null')"]
    return f"concat({', '.join(parts)}, '}}')"


def quoted(relation: str) -> str:
    """Quotes `schema.table` for SQL."""
    schema, _, table = relation.partition(".")
    return f"{sql.identifier(schema)}.{sql.identifier(table)}"
