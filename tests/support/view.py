"""Clients that materialise what they get, in whatever format, and what Postgres would show them.

- A view is made of snapshots and events alone. `diff` tells of a new row only the columns that are announced, so there a view
  knows some columns of a row, and those must be right.
- A client comes back with its last id whenever its stream ends.
"""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from streams.catalog import Catalog
from streams.stream import Stream
from tests.support.ledger import Door
from tests.support.sse import Event

OWNERS = {
    "bookings": "customer_id = {}",
    "provider-bookings": "provider_id = {}",
    "availability": "provider_id = {}",
    "notifications": "user_id = {}",
    "property-alerts": "{} = any(user_ids)",
    "system": "(public or '{role}' = 'admin')",
}
"""Whose a row is. Of payments row-level security says it; the others are everybody's."""
OPERATIONS = ("INSERT", "UPDATE", "DELETE")
Rows = dict[Any, dict[str, Any]]
"""By key."""


@dataclass(frozen=True)
class Wish:
    """What a client asks for: as whom, which streams, the filter of the first of them and the same in SQL, the format."""

    sub: int
    role: str
    streams: str
    filter: str = ""
    condition: str = "true"
    format: str = ""

    @property
    def names(self) -> list[str]:
        return self.streams.split(",")

    @property
    def address(self) -> str:
        """The streams, and the query behind them."""
        column, _, condition = self.filter.partition("=")
        name = column if len(self.names) == 1 else f"{self.names[0]}.{column}"
        asked = {"snapshot": "1"} | ({name: condition} if column else {}) | ({"format": self.format} if self.format else {})
        return f"{self.streams}?" + "&".join(f"{name}={quote(value)}" for name, value in asked.items())

    @property
    def marked(self) -> bool:
        """Whether each change of `services` comes: behind it comes nothing that was committed before."""
        return "services" in self.names and not (self.filter and self.names[0] == "services")

    def statement(self, stream: Stream) -> str:
        """Returns the SELECT that row-level security is to answer."""
        condition = self.condition if stream.name == self.names[0] else "true"
        owner = OWNERS.get(stream.name, "true").format(self.sub, role=self.role)
        return f"select row_to_json(r)::text from (select {', '.join(stream.columns)} from {stream.table} where {owner} and {condition}) r"


@dataclass
class View:
    """A client's rows by stream. `whole` once the snapshots of all streams have come."""

    catalog: Catalog
    wish: Wish
    rows: dict[str, Rows] = field(default_factory=dict)
    _done: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._events = {self.catalog[name].event(kind): (self.catalog[name], kind) for name in self.wish.names for kind in OPERATIONS}
        self._clear()

    @property
    def whole(self) -> bool:
        return len(self._done) == len(self.wish.names)

    def _clear(self) -> None:
        self.rows, self._done = {name: {} for name in self.wish.names}, set()

    def format_of(self, stream: Stream) -> str:
        return self.wish.format or stream.format

    def take(self, event: Event) -> None:
        """Does to the rows what an event says."""
        data = event.data
        if event.name == "reset" or (event.name == "ready" and data["status"] != "resumed"):
            self._clear()
        elif event.name == "snapshot":
            self.rows[data["stream"]] |= {row["id"]: row for row in data["rows"]}
            if data["done"]:
                self._done.add(data["stream"])
        elif event.name in self._events:
            self._change(*self._events[event.name], data)

    def _change(self, stream: Stream, kind: str, data: Any) -> None:
        rows = self.rows[stream.name]
        match self.format_of(stream):
            case "diff":
                self._diff(rows, stream, data.get("type", kind), data)
                return
            case "cloudevents":
                raw = data["data"]
            case "supabase":
                raw = {"type": data["eventType"], "record": data.get("new"), "old_record": data.get("old")}
            case _:
                raw = data
        if raw["type"] == "DELETE":
            rows.pop(raw["old_record"]["id"], None)
        elif raw["type"] in OPERATIONS:
            rows[raw["record"]["id"]] = raw["record"]

    def _diff(self, rows: Rows, stream: Stream, kind: str, data: Any) -> None:
        if kind not in OPERATIONS:
            return
        key = data[f"{stream.noun}_id" if stream.noun else "id"]
        if kind == "DELETE":
            rows.pop(key, None)
        elif kind == "INSERT":
            rows[key] = {"id": key} | {name: value for name, value in data.items() if name in stream.columns}
        else:
            told = {name: change["new"] for name, change in data["changes"].items()}
            rows[key] = rows.get(key, {"id": key}) | told | {name: data[name] for name in ("updated_at",) if name in stream.columns}

    def difference(self, expected: Mapping[str, Rows]) -> str:
        """Says where the view is not what Postgres shows; nothing where it is."""
        found = []
        for name, rows in self.rows.items():
            wanted = expected[name]
            if self.format_of(stream := self.catalog[name]) == "diff":
                least = {"id", *stream.announced}
                rows, wanted = _utc(rows), _utc(_as_known(wanted, rows, least))
            if rows != wanted:
                odd = sorted((key for key in rows.keys() | wanted.keys() if rows.get(key) != wanted.get(key)), key=str)
                shown = ", ".join(f"{key} is {rows.get(key)} and not {wanted.get(key)}" for key in odd[:3])
                found.append(f"{name} of {self.wish}: {len(odd)} rows differ: {shown}")
        return "; ".join(found)


def _as_known(wanted: Rows, rows: Rows, least: set[str]) -> Rows:
    """Returns rows with those of their columns that a view knows, or has to know."""
    return {key: {name: row[name] for name in row if name in least or name in rows.get(key, row)} for key, row in wanted.items()}


def _utc(rows: Rows) -> Rows:
    """Writes moments as `diff` does."""
    return {key: {name: _moment(value) for name, value in row.items()} for key, row in rows.items()}


def _moment(value: Any) -> Any:
    return value.removesuffix("+00:00") + "Z" if isinstance(value, str) and value.endswith("+00:00") else value


@dataclass
class Client:
    """Somebody who follows streams through a door, and has a view of them. `told` are the reasons of endings and resets."""

    door: Door
    wish: Wish
    catalog: Catalog
    last_id: str | None = None
    told: list[str] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    """Each time that it came, what `ready` said."""
    events: int = 0
    _task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.view = View(self.catalog, self.wish)

    def connect(self) -> None:
        """Follows from now on; raises what went wrong with one that has stumbled."""
        if self._task is not None and self._task.done():
            self._task.result()
        if self._task is None:
            self._task = asyncio.create_task(self._follow())

    async def cut(self) -> None:
        """Leaves, wherever it is."""
        if self._task is not None:
            self._task.cancel()
            (result,) = await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
            if not isinstance(result, asyncio.CancelledError):
                raise AssertionError(f"{self.wish} has stumbled") from result

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError):
                await self._read()
            await asyncio.sleep(0.05)

    async def _read(self) -> None:
        stream = await self.door.open(self.wish.address, self.wish.sub, self.wish.role, self.last_id)
        try:
            while True:
                event = await stream.next(3600)
                self.last_id = event.id
                self.events += not event.control
                if event.name == "ready":
                    self.begun.append(event.data["status"])
                elif "reason" in event.data:
                    self.told.append(event.data["reason"])
                self.view.take(event)
        finally:
            await stream.close()

    async def expected(self, connection: Any) -> dict[str, Rows]:
        """Returns what Postgres would show this user."""
        found: dict[str, Rows] = {}
        claims = json.dumps({"sub": str(self.wish.sub), "role": self.wish.role})
        async with connection.transaction():
            await connection.execute("select set_config('request.jwt.claims', $1, true), set_config('role', 'authenticated', true)", claims)
            for name in self.wish.names:
                rows = await connection.fetch(self.wish.statement(self.catalog[name]))
                found[name] = {row["id"]: row for row in (json.loads(text) for (text,) in rows)}
        return found
