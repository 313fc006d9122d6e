"""⑧ Renders the queries for a stream's rows as they are now: all of somebody's, and those of some keys.

- They are installed with the trigger, so that rows look as the stream's events have them, whatever was declared since.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sql
from gateway.column import Column, key_of, quoted, sizes
from streams.stream import Stream, Via

_INDEXED = (
    (("int2", "int4", "int8"), "^-?[0-9]{1,18}$", "int8"),
    (("uuid",), "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "uuid"),
)
"""Types of owners, the texts that are one, and the type to compare as: so that an index is used, and no text is an error."""


def _equals(row: str, column: str, type: Column) -> str:
    """Says that a column's text is $1, where it can be in a way that an index knows."""
    value = f"{row}.{sql.identifier(column)}"
    exactly = f'{value}::text collate "C" = $1::text'
    for types, pattern, cast in _INDEXED:
        if type.type in types:
            return f"{value} = case when $1::text ~ '{pattern}' then $1::text::pg_catalog.{cast} end and {exactly}"
    # The second as channels are compared, whatever the column's collation takes for equal.
    return f'{value} = $1::text and {value}::text collate "C" = $1::text' if type.type in ("text", "varchar") else exactly


@dataclass(frozen=True)
class Rows:
    """A stream's table: its columns, those of a `Via`'s table besides, and how large a row may be."""

    stream: Stream
    columns: Mapping[str, Column]
    beside: Mapping[str, Mapping[str, Column]]
    max_bytes: int

    def snapshot(self) -> str:
        """Returns the query for somebody's rows as JSON: $1 is whose, and from $2 on is what each column of `exact` is to be, or null."""
        stream = self.stream
        conditions = [self._whose()] + [
            f"(${number}::text is null or t.{sql.identifier(c)} = ${number}::text::{self.columns[c].name})"
            for number, c in enumerate(stream.exact, 2)
        ]
        return (
            f"select case when {sizes('t', stream.columns, self.columns)} <= {self.max_bytes} then {self._json()} else"
            f" {key_of('t', stream.key)} end from {quoted(stream.table)} t where {' and '.join(conditions)}"
            f" order by {', '.join(f't.{sql.identifier(c)}' for c in stream.key)}"
        )

    def visible(self) -> str:
        """Returns the query for the rows that a role sees of the keys in $1, as JSON: their numbers, from 1 on, and the rows as JSON."""
        same = " and ".join(f"t.{sql.identifier(c)} = (k.key::json ->> {sql.literal(c)})::{self.columns[c].name}" for c in self.stream.key)
        return (
            f"select k.number, {self._json()} as row"
            f" from unnest($1::text[]) with ordinality k (key, number) join {quoted(self.stream.table)} t on {same}"
        )

    def _json(self) -> str:
        columns = ", ".join(f"t.{sql.identifier(c)}" for c in self.stream.columns)
        return f"(select row_to_json(r)::text from (select {columns}) r)"

    def _whose(self) -> str:
        match self.stream.owner:
            case None:
                return "$1::text is not null"
            case Via() as via:
                owner = _equals("o", via.owner, self.beside[via.table][via.owner])
                return f"t.{sql.identifier(via.column)} in (select o.{sql.identifier(via.key)} from {quoted(via.table)} o where {owner})"
            case str(column) if self.columns[column].several:
                return f'$1::text collate "C" = any(t.{sql.identifier(column)}::text[])'
            case str(column):
                return _equals("t", column, self.columns[column])
