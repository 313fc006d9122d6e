"""① What is to be done so that the triggers are as the declarations say; and which of it somebody has to be told.

- A stream that is to show less than it last did, or another table, begins an epoch.
- Where changes may have been missed since its triggers were last as they should be, its listeners get a reset.
"""

from collections.abc import Sequence
from typing import Any

import orjson

from gateway.bridge.listener import Connection
from gateway.capture import Capture, function
from gateway.column import quoted
from gateway.trigger import Change, Installed


async def changes(connection: Connection, captures: Sequence[Capture]) -> list[Change]:
    """Returns what is to be done so that the captures, and no others, are installed: nothing for a table that is as it should be."""
    found = []
    for capture in captures:
        relation = capture.relation
        before = await _installed(connection, relation)
        placed = await in_place(connection, relation)
        if before is not None and placed:
            definition = await connection.fetchval("select definition from rowcast.shape where shape = $1", before.shape)
            if definition == capture.definition:
                continue
        narrows, missed, missing = await _compared(connection, capture, before)
        if before is not None and not placed:
            missed = "changes were not captured: a trigger was missing or disabled, or a partition came or went"
            missing = frozenset(s.name for s in capture.streams)
        strays = tuple(row["name"] for row in await connection.fetch(_STRAYS, quoted(relation), _procedure(relation)))
        found.append(Change(relation, capture, before, narrows, missed, missing, strays))
    wanted = {capture.relation for capture in captures}
    rows = await connection.fetch("select relation, shape, streams from rowcast.shape where retired_at is null order by relation")
    found += [Change(row["relation"], None, Installed(row["shape"], row["streams"])) for row in rows if row["relation"] not in wanted]
    return found


async def _installed(connection: Connection, relation: str) -> Installed | None:
    row = await connection.fetchrow("select shape, streams from rowcast.shape where relation = $1 and retired_at is null", relation)
    return Installed(row["shape"], row["streams"]) if row is not None else None


async def _compared(connection: Connection, capture: Capture, before: Installed | None) -> tuple[bool, str, frozenset[str]]:
    """Says whether somebody is to see less of a stream than they last did, and what may have been missed, on which streams."""
    last: dict[str, tuple[int, str, Any]] = {}
    of_every_table = {s.name for s in capture.streams if s.keys}
    for row in await connection.fetch("select shape, relation, streams from rowcast.shape order by shape"):
        for feed in orjson.loads(row["streams"]):
            if row["relation"] == capture.relation or feed["stream"] not in of_every_table:
                last[feed["stream"]] = (row["shape"], row["relation"], feed)
    own = {s.name: last[s.name] for s in capture.streams if s.name in last}
    narrows = capture.narrows([feed for _, _, feed in own.values()]) or any(table != capture.relation for _, table, _ in own.values())
    types = {name: column.type for name, column in capture.columns.items()}
    retyped = {
        name for name, (_, _, feed) in own.items() for each in feed["columns"] if types.get(each["name"], each["type"]) != each["type"]
    }
    if retyped:
        return narrows, "a published column has changed its type, and perhaps its values", frozenset(retyped)
    absent = frozenset(name for name, (shape, _, _) in own.items() if before is None or shape != before.shape)
    return narrows, "changes were not captured: a stream was not published for a while", absent


async def in_place(connection: Connection, relation: str) -> bool:
    """Says whether a table's triggers are there and nowhere else, and fire always: its own, its partitions', its owners' tables'."""
    placed = await connection.fetchval(
        "select bool_and((select count(*) = 2 from pg_trigger t where t.tgrelid = r.relid and t.tgenabled = 'A'"
        " and t.tgfoid = to_regprocedure($2) and t.tgname in ('00_rowcast_capture', '00_rowcast_truncate')))"
        " from (select p.relid from pg_partition_tree(to_regclass($1)) p union select to_regclass($1)) r",
        quoted(relation),
        _procedure(relation),
    )
    if placed and await connection.fetchrow(_STRAYS, quoted(relation), _procedure(relation)):
        return False
    if not placed or not await connection.fetchval("select to_regclass('rowcast.via') is not null"):
        return bool(placed)
    return not await connection.fetchval(
        "select exists (select from rowcast.via v join rowcast.shape s on s.shape = v.shape"
        " where s.relation = $1 and s.retired_at is null and 3 <> (select count(*) from pg_trigger t where t.tgenabled = 'A'"
        " and t.tgparentid = 0 and t.tgfoid = to_regprocedure(format('rowcast.moved_%s_%s()', v.shape, v.feed))"
        " and t.tgrelid = (select to_regclass(format('%I.%I', split_part(o.name, '.', 1), substr(o.name, strpos(o.name, '.') + 1)))"
        " from (select s.streams -> (v.feed - 1) -> 'owner' ->> 'table') o (name))))",
        relation,
    )


def _procedure(relation: str) -> str:
    return f"rowcast.{function(relation)}()"


_STRAYS = """
    select distinct t.tgrelid::regclass::text as name from pg_trigger t
    where t.tgfoid = to_regprocedure($2) and t.tgparentid = 0 and not exists (
        select from pg_partition_tree(to_regclass($1)) p where p.relid = t.tgrelid union select where t.tgrelid = to_regclass($1))
"""
"""A table that was renamed, and whose name is another's now; a partition that was detached."""
