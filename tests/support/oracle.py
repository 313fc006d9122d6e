"""A state machine of writers and clients, whose views must end as what Postgres would show each user."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.fanout.subscriber import State
from streams.catalog import Catalog, load
from tests.gateway.fanout.manual import Manual, manual
from tests.support.gateway import Web, token, until, web
from tests.support.servers import Servers

GUARDED = Catalog([replace(each, rls=each.name == "provider-bookings") for each in load("streams").values()])
HIDE = (
    "create policy hidden on bookings as restrictive for select to authenticated"
    " using (notes is distinct from 'hidden' or not (select rls.has_role('provider')));"
    "truncate notifications; delete from payments where booking_id > 6; delete from bookings where id > 6"
)
BOOKINGS, PAYMENTS = st.integers(1, 8), st.integers(1, 10)
CUSTOMERS, PROVIDERS = st.sampled_from([1, 2]), st.sampled_from([9, 10, None])
STATUSES, NOTES, AMOUNTS = st.sampled_from(["pending", "confirmed", "cancelled"]), st.sampled_from(["x", "hidden", None]), st.integers(0, 4)
STATEMENTS = st.one_of(
    st.tuples(st.just("update bookings set status = $2 where id = $1"), BOOKINGS, STATUSES),
    st.tuples(st.just("update bookings set notes = $2 where id = $1"), BOOKINGS, NOTES),
    st.tuples(st.just("update bookings set customer_id = $2 where id = $1"), BOOKINGS, CUSTOMERS),
    st.tuples(st.just("update bookings set provider_id = $2 where id = $1"), BOOKINGS, PROVIDERS),
    st.tuples(st.just("delete from bookings where id = $1 and $2::integer is not null"), BOOKINGS, st.just(1)),
    st.tuples(
        st.just(
            "insert into bookings (id, customer_id, service_id, booking_date, start_time, end_time)"
            " values ($1, $2, 1, now(), now(), now() + interval '1 hour') on conflict (id) do update set customer_id = excluded.customer_id"
        ),
        BOOKINGS,
        CUSTOMERS,
    ),
    st.tuples(
        st.just(
            "insert into payments (id, booking_id, amount) select $1, id, 2 from bookings where id = $2"
            " on conflict (id) do update set booking_id = excluded.booking_id"
        ),
        PAYMENTS,
        BOOKINGS,
    ),
    st.tuples(st.just("update payments set amount = $2 where id = $1"), PAYMENTS, AMOUNTS),
    st.tuples(st.just("delete from payments where id = $1 and $2::integer is not null"), PAYMENTS, st.just(1)),
)
ALWAYS = [
    (1, "customer", "bookings", "", "true"),
    (1, "customer", "payments", "", "true"),
    (9, "provider", "provider-bookings", "", "true"),
]
ASKED = st.sampled_from(
    [
        (1, "customer", "bookings", "status=in.(pending,confirmed)", "status in ('pending', 'confirmed')"),
        (2, "customer", "bookings", "status=not.eq.cancelled", "status <> 'cancelled'"),
        (2, "customer", "payments", "amount=gte.2", "amount >= 2"),
        (10, "provider", "provider-bookings", "status=eq.confirmed", "status = 'confirmed'"),
    ]
)
TABLES = {
    "bookings": ("bookings", "customer_id = {}"),
    "provider-bookings": ("bookings", "provider_id = {}"),
    "payments": ("payments", "true"),
}


@dataclass
class Client:
    """A client that materialises what it gets, and comes back with its last id."""

    gateway: Web
    sub: int
    role: str
    stream: str
    filter: str
    condition: str
    view: dict[int, Any] = field(default_factory=dict)
    whole: bool = False
    last_id: str | None = None
    faults: list[str] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def connect(self) -> None:
        self.task = asyncio.create_task(self._read())

    async def cut(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)
            self.task = None

    async def _read(self) -> None:
        name, _, condition = self.filter.partition("=")
        path = f"/streams/{self.stream}?snapshot=1" + (f"&{name}={quote(condition)}" if name else "")
        headers = {"Authorization": f"Bearer {token(self.sub, self.role)}"} | ({"Last-Event-ID": self.last_id} if self.last_id else {})
        opening = asyncio.ensure_future(self.gateway.request(path, headers))
        try:
            stream = await asyncio.shield(opening)
        except asyncio.CancelledError:
            await (await opening).close()
            raise
        try:
            with contextlib.suppress(EOFError):
                while True:
                    event = await stream.next(3600)
                    self.last_id = event.id
                    self._take(event.name, event.data)
        finally:
            await stream.close()

    def _take(self, name: str, data: Any) -> None:
        if (name == "ready" and data["status"] != "resumed") or name == "reset":
            self.view, self.whole = {}, False
        elif name == "snapshot":
            self.view |= {row["id"]: row for row in data["rows"]}
            self.whole = data["done"]
        elif name == self.stream and data["type"] == "DELETE":
            self.view.pop(data["old_record"]["id"], None)
        elif name == self.stream:
            self.view[data["record"]["id"]] = data["record"]

    async def expected(self, connection: Any) -> dict[int, Any]:
        """Returns what Postgres would show this user."""
        table, owner = TABLES[self.stream]
        columns = ", ".join(GUARDED[self.stream].columns)
        async with connection.transaction():
            claims = json.dumps({"sub": str(self.sub), "role": self.role})
            await connection.execute("select set_config('request.jwt.claims', $1, true), set_config('role', 'authenticated', true)", claims)
            query = f"select {columns} from {table} where {owner.format(self.sub)} and {self.condition}"
            rows = await connection.fetch(f"select row_to_json(r)::text from ({query}) r")
        return {row["id"]: row for row in (json.loads(text) for (text,) in rows)}


class Machine(RuleBasedStateMachine):
    """One database and one gateway for all runs; `run` runs a coroutine there, `bridge` is moved by hand."""

    run: Callable[[Coroutine[Any, Any, Any]], Any]
    bridge: Manual
    gateway: Web
    writers: list[Any]

    def __init__(self) -> None:
        super().__init__()
        self.clients: list[Client] = []
        self.open: list[Any] = []

    @initialize()
    def begin(self) -> None:
        for asked in ALWAYS:
            self.clients.append(Client(self.gateway, *asked))
            self.run(self._connect(self.clients[-1], 2))

    @rule(statements=st.lists(STATEMENTS, min_size=1, max_size=4), commit=st.sampled_from([True, True, True, False]))
    def transaction(self, statements: list[Any], commit: bool) -> None:
        self.run(self._transaction(statements, commit))

    async def _transaction(self, statements: list[Any], commit: bool) -> None:
        transaction = self.writers[0].transaction()
        await transaction.start()
        try:
            for statement in statements:
                await self.writers[0].execute(*statement)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.IntegrityConstraintViolationError):
            commit = False
        await (transaction.commit() if commit else transaction.rollback())

    @precondition(lambda self: not self.open)
    @rule(statements=st.lists(STATEMENTS, min_size=1, max_size=2))
    def leave_open(self, statements: list[Any]) -> None:
        self.run(self._leave_open(statements))

    async def _leave_open(self, statements: list[Any]) -> None:
        transaction = self.writers[1].transaction()
        await transaction.start()
        try:
            for statement in statements:
                await self.writers[1].execute(*statement)
        except (asyncpg.LockNotAvailableError, asyncpg.IntegrityConstraintViolationError):
            await transaction.rollback()
            return
        self.open.append(transaction)

    @precondition(lambda self: self.open)
    @rule()
    def commit_what_is_open(self) -> None:
        self.run(self.open.pop().commit())

    @rule()
    def sequence(self) -> None:
        self.run(self.bridge.sequencer.step())

    @rule()
    def publish(self) -> None:
        self.run(self.bridge.publish())

    @precondition(lambda self: len(self.clients) < 6)
    @rule(asked=ASKED, moments=st.integers(0, 3))
    def connect(self, asked: Any, moments: int) -> None:
        self.clients.append(Client(self.gateway, *asked))
        self.run(self._connect(self.clients[-1], moments))

    async def _connect(self, client: Client, moments: int) -> None:
        client.connect()
        await asyncio.sleep(moments * 0.004)

    @precondition(lambda self: self.clients)
    @rule(number=st.integers(0, 5))
    def cut_and_come_back(self, number: int) -> None:
        client = self.clients[number % len(self.clients)]
        self.run(client.cut())
        self.run(self._connect(client, 0))

    @precondition(lambda self: not self.open)
    @rule()
    def truncate(self) -> None:
        self.run(self.writers[0].execute("truncate payments"))

    @precondition(lambda self: self.clients)
    @rule()
    def quiet(self) -> None:
        self.run(self._quiet())

    async def _quiet(self) -> None:
        while self.open:
            await self.open.pop().commit()
        while await self.bridge.sequencer.step():
            pass
        await self.bridge.publish()
        for client in self.clients:
            if client.task is None or client.task.done():
                client.connect()
        hub = self.gateway.hub
        await until(lambda: all(client.whole for client in self.clients))
        await until(lambda: not hub._catch_up.busy and all(each.state is State.LIVE for each in hub.roster.subscribers))
        for client in self.clients:
            expected = await client.expected(self.writers[0])
            with contextlib.suppress(TimeoutError):
                await until(lambda client=client, expected=expected: client.view == expected, within=5)
            assert client.view == expected, (client.sub, client.stream, client.filter)

    def teardown(self) -> None:
        try:
            if self.clients:
                self.run(self._quiet())
        finally:
            self.run(self._end())

    async def _end(self) -> None:
        while self.open:
            await self.open.pop().rollback()
        for client in self.clients:
            await client.cut()
        await until(lambda: not self.gateway.hub.roster.subscribers)


@asynccontextmanager
async def staged(servers: Servers) -> Any:
    """Starts a database, a gateway and two writers, with rows that row-level security hides from providers."""
    async with AsyncExitStack() as stack:
        bridge = await stack.enter_async_context(manual(servers))
        gateway = await stack.enter_async_context(web(servers, GUARDED))
        await bridge.connection.execute(HIDE)
        writers = [await servers.connect(server_settings={"lock_timeout": "100ms", "timezone": "UTC"}) for _ in range(2)]
        for each in writers:
            stack.callback(each.terminate)
        await bridge.sequencer.step()
        await bridge.publish()
        await until(lambda: gateway.hub.tail.connected)
        yield bridge, gateway, writers
