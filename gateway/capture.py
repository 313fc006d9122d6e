"""① Renders the trigger of a published table from the declarations of its streams.

- One trigger a table, whatever the number of its streams; streams with the same columns share a view of the row.
- Owners and columns become static SQL. A column that is not listed is never read.
- A row's size is known before its JSON is made: what is too large is left out, and its key goes alone.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sql
from streams.payload import Shape
from streams.stream import Stream

_MEASURABLE = frozenset({"text", "varchar", "bpchar", "bytea"})
"""Types whose full size `octet_length` reads without unpacking the value."""
_COMPRESSED = 8
"""A packed value of another type counts as this many times its stored size."""


@dataclass(frozen=True)
class Capture:
    """What one table needs: `definition` says when it has changed, `statements` install it under a shape's number."""

    relation: str
    streams: tuple[Stream, ...]
    columns: Mapping[str, str]
    max_bytes: int

    @property
    def definition(self) -> str:
        return f"{self.shape}\n{self.statements(0)}"

    @property
    def shape(self) -> str:
        """The streams with their views and columns, for `rowcast.shape`."""
        return Shape.encode(
            [(s, self._views.index(s.columns), [{"name": c, "type": self.columns[c]} for c in s.columns]) for s in self.streams]
        )

    def statements(self, shape: int) -> str:
        """Returns the SQL that installs functions and triggers."""
        first = self.streams[0]
        function = _function(self.relation)
        return sql.text("capture.sql").format(
            function=sql.identifier(f"capture_{function}"),
            truncate_function=sql.identifier(f"truncate_{function}"),
            relation=quoted(self.relation),
            shape=shape,
            new_key=_key("new", first.key),
            old_key=_key("old", first.key),
            new_views=", ".join(self._view("new", columns) for columns in self._views),
            old_views=", ".join(self._view("old", columns) for columns in self._views),
            new_channels=", ".join(_channel("new", s) for s in self.streams),
            old_channels=", ".join(_channel("old", s) for s in self.streams),
            broadcasts=", ".join(f"{sql.literal(s.broadcast)}::text" for s in self.streams),
        )

    @property
    def _views(self) -> Sequence[tuple[str, ...]]:
        return list(dict.fromkeys(s.columns for s in self.streams))

    def _view(self, row: str, columns: tuple[str, ...]) -> str:
        listed = ", ".join(f"{row}.{sql.identifier(c)}" for c in columns)
        sizes = " + ".join(filter(None, (self._size(f"{row}.{sql.identifier(c)}", self.columns[c]) for c in columns))) or "0"
        return (
            f"case when {sizes} <= {self.max_bytes} then (select case when octet_length(w.j) <= {self.max_bytes} then w.j end"
            f" from (select row_to_json(v)::text as j from (select {listed}) v) w) end"
        )

    @staticmethod
    def _size(column: str, type_name: str) -> str | None:
        if type_name in _MEASURABLE:
            return f"coalesce(octet_length({column}), 0)"
        if type_name in _FIXED:
            return None
        return f"coalesce(pg_column_size({column}) * case when pg_column_compression({column}) is null then 1 else {_COMPRESSED} end, 0)"


_FIXED = frozenset(
    {"bool", "int2", "int4", "int8", "float4", "float8", "oid", "uuid", "date", "time", "timetz", "timestamp", "timestamptz", "interval"}
)


def quoted(relation: str) -> str:
    """Quotes `schema.table` for SQL."""
    schema, _, table = relation.partition(".")
    return f"{sql.identifier(schema)}.{sql.identifier(table)}"


def functions_of(relation: str) -> tuple[str, str]:
    """Returns the quoted names of the two trigger functions of a table."""
    function = _function(relation)
    return sql.identifier(f"capture_{function}"), sql.identifier(f"truncate_{function}")


def _function(relation: str) -> str:
    name = relation.replace(".", "_")
    return name if len(name.encode()) <= 50 else f"{name[:20]}_{hashlib.sha256(relation.encode()).hexdigest()[:12]}"


def _key(row: str, key: tuple[str, ...]) -> str:
    return "(select row_to_json(k)::text from (select " + ", ".join(f"{row}.{sql.identifier(c)}" for c in key) + ") k)"


def _channel(row: str, stream: Stream) -> str:
    if stream.owner is None:
        return f"{sql.literal(stream.broadcast)}::text"
    return f"{sql.literal(stream.broadcast + '-')} || {row}.{sql.identifier(stream.owner)}"
