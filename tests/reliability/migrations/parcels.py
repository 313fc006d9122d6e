"""A table of the test's own that is published in three ways, writers who remember, and clients that keep rows.

- `notes` is each transaction's own and never changes its type, so that what was acknowledged can be looked for in the log.
- Whatever a writer is told by Postgres is written down: a test says what it may be. Writers change one row that others may want, and
  no more, so that they never stand in each other's way.
"""

import asyncio
import itertools
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from gateway.migrator import Plan, migrate
from gateway.task import ended
from streams.catalog import Catalog, load
from streams.stream import Stream, Via
from tests.gateway.fanout.traffic import Traffic
from tests.support import sse
from tests.support.gateway import Web, bridge_of, token, until, web
from tests.support.ledger import Ledger, Reader, agreed, reading
from tests.support.servers import MAX_BYTES, Servers

OWNERS = (1, 2, 3)
CREATE = """
    create table parcels (id bigint primary key, owner_id bigint not null, notes text, state text, weight integer, secret text)
"""
PARTITIONED = (
    CREATE.rstrip()
    + """ partition by range (id);
    create table parcels_low partition of parcels for values from (0) to (5000);
    create table parcels_high partition of parcels for values from (5000) to (10000)
"""
)
_BESIDES = """
    grant select on parcels to authenticated;
    insert into parcels select n, 1 + n % 3, 'first', 'new', n, 'canary' from generate_series(1, 12) n;
    create table labels (id bigint primary key, parcel_id bigint references parcels, notes text);
    create index on labels (parcel_id);
    insert into labels select n, n, 'first' from generate_series(1, 12) n
"""
_NAMES = itertools.count(1)

PARCELS = Stream(
    name="parcels",
    table="public.parcels",
    columns=("id", "owner_id", "notes", "state", "weight"),
    channel="parcels-changes-{user_id}",
    owner="owner_id",
    filters={"state": "text"},
)
BOARD = Stream(name="board", table="public.parcels", columns=("id", "notes", "state", "weight"), channel="board-changes")
LABELS = Stream(
    name="labels",
    table="public.labels",
    columns=("id", "parcel_id", "notes"),
    channel="labels-changes-{user_id}",
    owner=Via("parcel_id", table="public.parcels", owner="owner_id"),
)
DECLARED = (PARCELS, BOARD, LABELS)


def catalog(*streams: Stream) -> Catalog:
    """Returns these streams beside those of the examples."""
    return Catalog([*load("streams").values(), *(streams or DECLARED)])


def plan(*streams: Stream, notify: str = "armed", max_bytes: int = MAX_BYTES) -> Plan:
    return Plan(catalog(*streams), notify, max_bytes)


class Writers(Traffic):
    """Writers of `parcels` and `labels`. `table` is what the first is called now; `told` what Postgres said to whom."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []
        self.table = "parcels"
        self.rows = 0
        self._ids = itertools.count(100)

    async def write(self, servers: Servers, stop: asyncio.Event, pause: float) -> None:
        connection = await servers.connect()
        try:
            while not stop.is_set():
                try:
                    async with connection.transaction():
                        note, rows = f"note {next(_NAMES)}", 0
                        rows += await self._statement(connection, note)
                        if random.random() < 0.3:
                            rows += await self._insert(connection, note)
                except asyncpg.PostgresError as error:
                    self.told.append(f"{type(error).__name__}: {error}")
                else:
                    self.acknowledged[note] = rows
                    self.rows += rows
                await asyncio.sleep(random.uniform(0, 2 * pause))
        finally:
            connection.terminate()

    async def _statement(self, connection: Any, note: str) -> int:
        one, owner = random.randint(1, 12), random.choice(OWNERS)
        choice: list[tuple[str, tuple[Any, ...]]] = [
            (f"update public.{self.table} set notes = $1, state = $2 where id = $3", (note, random.choice(("new", "sent")), one)),
            (f"update public.{self.table} set notes = $1, owner_id = $2 where id = $3", (note, owner, one)),
            ("update public.labels set notes = $1 where id = $2", (note, one)),
        ]
        if random.random() < 0.3:
            return await self._insert(connection, note)
        statement, args = random.choice(choice)
        return int((await connection.execute(statement, *args)).split()[-1])

    async def _insert(self, connection: Any, note: str) -> int:
        values = next(self._ids), random.choice(OWNERS), note
        await connection.execute(f"insert into public.{self.table} (id, owner_id, notes) values ($1, $2, $3)", *values)
        return 1


class Listener(Reader):
    """A Reader of the streams here."""

    def __init__(self, door: Any, streams: str, sub: int) -> None:
        super().__init__(door, "bookings", sub)
        self.streams = streams
        self.channels = {f"{name}-changes" if name == "board" else f"{name}-changes-{sub}" for name in streams.split(",")}

    def faults(self, ledger: Ledger) -> list[str]:
        """Says what is wrong with what was received. What came before the last reset may be of another epoch."""
        for life in self.lives[:-1]:
            life.lines = [line._replace(id=f"{ledger.epoch}-{line.id.partition('-')[2]}") for line in life.lines]
        return super().faults(ledger)


@dataclass
class View:
    """A client that begins with the rows, keeps up with them, and begins anew whenever it is told that it cannot."""

    gateway: Web
    stream: str
    sub: int
    rows: dict[int, Any] = field(default_factory=dict)
    whole: bool = False
    resets: int = 0
    last_id: str | None = None

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            headers = {"Authorization": f"Bearer {token(self.sub)}"} | ({"Last-Event-ID": self.last_id} if self.last_id else {})
            stream = await self.gateway.request(f"/streams/{self.stream}?snapshot=1", headers)
            try:
                while stream.status == 200:
                    self._take(await stream.next(3600))
            except EOFError:
                pass
            finally:
                stream.abort()
            await asyncio.sleep(0.05)

    def _take(self, event: sse.Event) -> None:
        self.last_id = event.id
        if event.name == "reset" or (event.name == "ready" and event.data["status"] != "resumed"):
            self.resets += event.name == "reset"
            self.rows, self.whole = {}, False
        elif event.name == "snapshot":
            self.rows |= {row["id"]: row for row in event.data["rows"]}
            self.whole = event.data["done"]
        elif event.name == self.stream and event.data["type"] == "DELETE":
            self.rows.pop(event.data["old_record"]["id"], None)
        elif event.name == self.stream:
            self.rows[event.data["record"]["id"]] = event.data["record"]

    async def expected(self, connection: Any, columns: Sequence[str]) -> dict[int, Any]:
        """Returns what Postgres has for this client."""
        whose = f"where owner_id = {self.sub}" if self.stream == "parcels" else ""
        rows = await connection.fetch(f"select row_to_json(r)::text from (select {', '.join(columns)} from public.parcels {whose}) r")
        return {row["id"]: row for row in (json.loads(text) for (text,) in rows)}


@dataclass
class Stage:
    """A gateway at work on the parcels."""

    servers: Servers
    connection: Any
    writers: Writers
    readers: list[Listener]
    views: list[View]

    async def go_on(self) -> None:
        """Waits until events of the parcels arrive again."""
        before = len(self.readers[-1].lines)
        await until(lambda: len(self.readers[-1].lines) > before + 2, 40)

    async def told(self) -> None:
        """Waits until each reader of the parcels has had one more reset than until now."""
        before = {reader: len(reader.resets) for reader in self.readers}
        await until(lambda: all(len(reader.resets) > number for reader, number in before.items()), 40)

    async def migrate(self, given: Plan, tells: str = "") -> list[str]:
        """Migrates, and waits until each reader has had the reset that it is to have; returns what was changed.

        That is the one of an epoch that begins, if one does, or one for the reason that is expected.
        """
        before = {reader: Counter(reader.resets) for reader in self.readers}
        connection = await self.servers.connect()
        changed = await migrate(connection, given)
        await connection.close()
        reason = "epoch" if any(line.startswith("log, epoch") for line in changed) else tells
        if reason:
            await until(lambda: all(reader.resets.count(reason) > had[reason] for reader, had in before.items()), 40)
        return changed

    async def logged(self) -> Counter[str]:
        """Returns how many rows the log has of each note that was acknowledged; what has only changed hands with another row is none."""
        found = await self.connection.fetch(
            "select l.new[1]::json ->> 'notes' as note, count(*) from rowcast.log l where l.new is not null"
            " and not exists (select from rowcast.log m where m.outbox_id = l.outbox_id and m.op = 'M') group by 1"
        )
        return Counter({row["note"]: row["count"] for row in found if row["note"] in self.writers.acknowledged})

    async def faults_in_log(self) -> Counter[str]:
        """Returns what the log says why rows could not be captured, and how often."""
        return Counter(row["fault"] for row in await self.connection.fetch("select fault from rowcast.log where op = 'F'"))

    async def check(self, *, parcels: Stream = PARCELS, board: Stream = BOARD, lost: int = 0) -> Ledger:
        """Everybody has everything; of what was committed, as many rows as `lost` are in the log without what they were."""
        ledger, faults = await agreed(self.servers, self.readers, 40)
        assert faults == []
        short = Counter(self.writers.acknowledged)
        short.subtract(await self.logged())
        assert min(short.values(), default=0) >= 0, "more in the log than was committed"
        assert short.total() == lost, f"{short.total()} rows were not captured, and {lost} are known"
        for view in self.views:
            expected = await view.expected(self.connection, (parcels if view.stream == "parcels" else board).columns)
            await until(lambda view=view, expected=expected: view.whole and view.rows == expected, 40)
        return ledger


@asynccontextmanager
async def staged(servers: Servers, create: str = CREATE) -> AsyncIterator[Stage]:
    """Publishes the table, and runs a bridge, a web process and clients; writers write until `still` is called."""
    connection = await servers.connect(server_settings={"search_path": "public", "timezone": "UTC"})
    try:
        await connection.execute(f"{create};{_BESIDES}")
        await migrate(connection, plan())
        async with _working(servers, connection) as stage:
            yield stage
    finally:
        connection.terminate()


@asynccontextmanager
async def _working(servers: Servers, connection: Any) -> AsyncIterator[Stage]:
    async with asyncio.TaskGroup() as group, web(servers, catalog()) as gateway:
        bridge = group.create_task(bridge_of(servers).run())
        readers = [
            *(Listener(gateway, "parcels", owner) for owner in OWNERS),
            Listener(gateway, "parcels,board", 1),
            Listener(gateway, "board", 1),
        ]
        views = [View(gateway, "parcels", 1), View(gateway, "board", 2)]
        viewing = [group.create_task(view.run()) for view in views]
        try:
            async with reading(readers):
                await until(lambda: all(view.whole for view in views))
                yield Stage(servers, connection, Writers(), readers, views)
        finally:
            await ended([*viewing, bridge])


@asynccontextmanager
async def busy(stage: Stage, writers: int = 3, pause: float = 0.01) -> AsyncIterator[None]:
    """Writes for as long as the block lasts; then each reader gets a last word that it cannot take for another."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(writers):
            group.create_task(stage.writers.write(stage.servers, stop, pause))
        try:
            await stage.go_on()
            yield
            await stage.go_on()
        finally:
            stop.set()
    await stage.connection.execute(f"update public.{stage.writers.table} set notes = 'the last word' where id <= 12")
    for owner in OWNERS:
        await stage.connection.execute(
            f"insert into public.{stage.writers.table} (id, owner_id, notes) values ($1, $2, 'the last word')", 9000 + owner, owner
        )
