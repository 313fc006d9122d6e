"""① Renders the trigger of a published table from the declarations of its streams.

- One trigger a table, whatever the number of its streams; streams with the same columns share a view of the row.
- An owner that another table names is left to the sequencer, by reference: only it knows in what order things happened.
- Owners and columns become static SQL. A column that is not listed is never read.
- A row's size is known before its JSON is made: what is too large is left out, and its key goes alone.
- A view is a type of our own that depends on no type of the user's: what is not Postgres' own goes into it as JSON.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

import sql
from gateway.column import FIXED, Column, key_of, quoted, sizes
from gateway.rows import Rows
from streams.payload import Shape
from streams.stream import Stream, Via

_OWNER_BYTES = 512
_CHANNELS = ("v_new_channels", "v_old_channels")
_OWNERS = 10_000
"""More owners of one row are a fault: its event would take Redis seconds."""
_RENDERINGS = {
    "timezone = 'UTC'": frozenset({"timestamptz", "timetz"}),
    "intervalstyle = 'postgres'": frozenset({"interval"}),
    "bytea_output = 'hex'": frozenset({"bytea"}),
    "extra_float_digits = 1": frozenset({"float4", "float8"}),
    "datestyle = 'ISO, YMD'": frozenset[str](),
    "lc_monetary = 'C'": frozenset[str](),
}
"""Settings of the writer's session that would change a value's JSON, and the types that they matter to. Each costs a call 1 µs."""
_PLAIN = frozenset(
    {"bool", "int2", "int4", "int8", "oid", "numeric", "text", "varchar", "bpchar", "name", "uuid", "json", "jsonb"}
    | {"date", "time", "timestamp", "inet", "cidr", "macaddr", "bit", "varbit"}
)
"""Types whose JSON is the same in any session. To a type that is neither here nor above, any setting may matter."""


@dataclass(frozen=True)
class Capture:
    """What one table needs: `definition` says when it has changed, `statements` install it under a shape's number.

    `beside` has the columns of other tables that name owners, by table.
    """

    relation: str
    streams: tuple[Stream, ...]
    columns: Mapping[str, Column]
    notify: str
    max_bytes: int
    beside: Mapping[str, Mapping[str, Column]] = field(default_factory=dict)

    @property
    def definition(self) -> str:
        return f"{self.shape}\n{self.statements(0)}"

    @property
    def shape(self) -> str:
        """The streams with their views and columns, for `rowcast.shape`."""
        return Shape.encode(
            [
                (
                    s,
                    self._views.index(s.columns),
                    [{"name": c, "type": self.columns[c].type} for c in s.columns],
                    self.several(s),
                    {"snapshot": rows.snapshot(), "visible": rows.visible()},
                )
                for s in self.streams
                for rows in (Rows(s, self.columns, self.beside, self.max_bytes),)
            ]
        )

    def statements(self, shape: int) -> str:
        """Returns the SQL that installs types, function and triggers."""
        key = self.streams[0].key
        views = range(1, len(self._views) + 1)
        several = [number for number, stream in enumerate(self.streams, 1) if self.several(stream)]
        common = {"shape": shape, "lane_bits": sql.LANE_BITS, "ring": sql.ring(self.notify), "relation": quoted(self.relation)}
        common |= {"settings": "".join(f" set {setting}" for setting, types in _RENDERINGS.items() if self._renders(types))}
        common |= {"broadcasts": ", ".join(f"{sql.literal(s.broadcast)}::text" for s in self.streams)}
        capture = sql.text("capture.sql").format(
            **common,
            views="".join(
                f"create type rowcast.view_{shape}_{number} as (\n    {self._fields(columns)}\n);\n"
                for number, columns in enumerate(self._views)
            ),
            function=function(self.relation),
            regclass=_regclass(self.relation),
            function_literal=sql.literal(function(self.relation)),
            new_stale=self._stale("new"),
            old_stale=self._stale("old"),
            new_key=key_of("new", key),
            old_key=key_of("old", key),
            new_views=", ".join(self._view("new", shape, number) for number in range(len(self._views))),
            old_views=", ".join(self._view("old", shape, number) for number in range(len(self._views))),
            new_channels=", ".join(self._channel("new", s) for s in self.streams),
            old_channels=", ".join(self._channel("old", s) for s in self.streams),
            size=" + ".join(
                f"coalesce(octet_length({array}[{number}]), 0)"
                for array, numbers in (*((row, views) for row in ("v_new", "v_old")), *((each, several) for each in _CHANNELS))
                for number in numbers
            ),
        )
        owners = (
            sql.text("owner.sql").format(
                **common,
                feed=feed,
                owner_bytes=_OWNER_BYTES,
                table=quoted(stream.owner.table),
                table_name=_regclass(stream.owner.table),
                relation_name=_regclass(self.relation),
                table_key=sql.identifier(stream.owner.key),
                table_key_type=self.beside[stream.owner.table][stream.owner.key].name,
                owner=sql.identifier(stream.owner.owner),
                column=sql.identifier(stream.owner.column),
                column_type=self.columns[stream.owner.column].name,
                broadcast=sql.literal(stream.broadcast),
                stale=self._stale("r"),
                key=key_of("r", key),
                views=", ".join(self._view("r", shape, number) for number in range(len(self._views))),
            )
            for feed, stream in enumerate(self.streams, 1)
            if isinstance(stream.owner, Via)
        )
        return "\n".join((capture, *owners))

    def narrows(self, feeds: Iterable[Mapping[str, Any]]) -> bool:
        """Says whether somebody may see less than under older shapes, given their feeds: fewer columns, or another owner."""
        now = {each["stream"]: each for each in orjson.loads(self.shape)}
        for before in feeds:
            after = now.get(before["stream"])
            if after is None:
                continue
            listed = {column["name"] for column in after["columns"]}
            if after["owner"] != before["owner"] or any(column["name"] not in listed for column in before["columns"]):
                return True
        return False

    @property
    def _views(self) -> Sequence[tuple[str, ...]]:
        return list(dict.fromkeys(s.columns for s in self.streams))

    def _fields(self, columns: tuple[str, ...]) -> str:
        types = ((c, f"pg_catalog.{sql.identifier(self.columns[c].type)}" if self.columns[c].builtin else "json") for c in columns)
        return ",\n    ".join(f"{sql.identifier(name)} {type_name}" for name, type_name in types)

    def _renders(self, types: frozenset[str]) -> bool:
        used = [self.columns[c] for s in self.streams for c in needed(s)]
        understood = _PLAIN.union(*_RENDERINGS.values())
        return any(not column.builtin or column.element in types or column.element not in understood for column in used)

    def several(self, stream: Stream) -> bool:
        """Says whether a row may have several owners."""
        return isinstance(stream.owner, str) and self.columns[stream.owner].several

    def _stale(self, row: str) -> str:
        read = dict.fromkeys(c for s in self.streams for c in needed(s))
        return " or ".join(f"pg_typeof({row}.{sql.identifier(c)}) <> {self.columns[c].regtype}" for c in read)

    def _view(self, row: str, shape: int, number: int) -> str:
        columns = self._views[number]
        values = ", ".join(self._value(row, c) for c in columns)
        json = f"row_to_json(row({values})::rowcast.view_{shape}_{number})::text"
        return f"case when {sizes(row, columns, self.columns)} <= {self.max_bytes} then {json} end"

    def _value(self, row: str, column: str) -> str:
        value = f"{row}.{sql.identifier(column)}"
        return value if self.columns[column].builtin else f"to_json({value})"

    def _channel(self, row: str, stream: Stream) -> str:
        prefix = sql.literal(stream.broadcast + "-")
        match stream.owner:
            case None:
                return f"{sql.literal(stream.broadcast)}::text"
            case Via(column=column):
                # No channel begins like this: the sequencer puts one in its place.
                reference = f"{row}.{sql.identifier(column)}::text"
                return f"case when octet_length({reference}) <= {_OWNER_BYTES} then '?' || {reference} end"
            case str(column) if self.several(stream):
                owners, separator = f"{row}.{sql.identifier(column)}::text[]", sql.literal(sql.SEPARATOR)
                return f"rowcast.owners({prefix}, {owners}, {separator}, {_OWNER_BYTES}, {_OWNERS})"
            case str(column):
                owner = f"{row}.{sql.identifier(column)}"
                channel = f"{prefix} || {owner}::text"
                if self.columns[column].type in FIXED:
                    return channel
                # Nobody's subject is longer, and an index could not take it.
                return f"case when octet_length({owner}::text) <= {_OWNER_BYTES} then {channel} end"


def _regclass(relation: str) -> str:
    return f"{sql.literal(quoted(relation))}::regclass"


def needed(stream: Stream) -> tuple[str, ...]:
    """Returns the columns of its own table that a stream reads."""
    match stream.owner:
        case None:
            return stream.columns
        case Via(column=column) | str(column):
            return (*stream.columns, column)


def function(relation: str) -> str:
    """Returns the quoted name of a table's trigger function: readable, and no other table's."""
    readable = re.sub(r"[^a-z0-9_]", "_", relation)[:40]
    return sql.identifier(f"capture_{readable}_{hashlib.sha256(relation.encode()).hexdigest()[:8]}")


def drop_shape(shape: int, streams: str) -> str:
    """Returns the SQL that removes what belongs to a shape, its trigger function aside; `streams` are as `rowcast.shape` has them."""
    feeds = orjson.loads(streams)
    views = sorted({each["view"] for each in feeds})
    return "".join(f"drop type if exists rowcast.view_{shape}_{number};\n" for number in views) + "".join(
        f"drop function if exists rowcast.moved_{shape}_{feed}() cascade;\n"
        f"drop function if exists rowcast.owner_{shape}_{feed}(text[]), rowcast.dependents_{shape}_{feed}(text[]);\n"
        for feed, each in enumerate(feeds, 1)
        if isinstance(each["owner"], dict)
    )
