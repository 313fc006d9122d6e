"""A state machine of writers and clients, whose views must end as what Postgres would show each user."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.fanout.subscriber import State
from streams.catalog import Catalog, load
from tests.gateway.fanout.manual import Manual, manual
from tests.support import statement
from tests.support.gateway import Web, until, web
from tests.support.servers import Servers
from tests.support.view import Client, Wish

GUARDED = Catalog([replace(each, rls=each.name == "provider-bookings") for each in load("streams").values()])
"""The examples' streams, one of which asks row-level security besides."""
HIDE = (
    "create policy hidden on bookings as restrictive for select to authenticated"
    " using (notes is distinct from 'hidden' or not (select rls.has_role('provider')));" + statement.FEW_ROWS
)
ALWAYS = [
    Wish(1, "customer", "bookings"),
    Wish(1, "customer", "payments"),
    Wish(9, "provider", "provider-bookings"),
    Wish(1, "customer", "notifications,properties,property-alerts,services"),
    Wish(9, "provider", "availability,notifications", format="cloudevents"),
]
"""Every stream that has a snapshot is among these, but `system`."""
ASKED = [
    Wish(1, "customer", "bookings", "status=in.(pending,confirmed)", "status in ('pending', 'confirmed')"),
    Wish(2, "customer", "bookings", "status=not.eq.cancelled", "status <> 'cancelled'"),
    Wish(2, "customer", "payments", "amount=gte.2", "amount >= 2"),
    Wish(10, "provider", "provider-bookings", "status=eq.confirmed", "status = 'confirmed'"),
    Wish(10, "provider", "availability", "available=is.true", "available", format="diff"),
    Wish(2, "customer", "notifications", "read=is.false", "not read", format="supabase"),
    Wish(2, "customer", "services", "active=is.true", "active"),
    Wish(2, "customer", "properties", "city=eq.Austin", "city = 'Austin'"),
    Wish(2, "customer", "properties", "price=lt.10000000", "price < 10000000", format="raw"),
    Wish(2, "customer", "property-alerts", "kind=neq.created", "kind <> 'created'"),
    Wish(1, "customer", "system"),
    Wish(13, "admin", "system", "severity=eq.info", "severity = 'info'", format="cloudevents"),
    Wish(10, "provider", "availability,provider-bookings,services", "available=is.false", "not available"),
    Wish(1, "customer", "bookings,payments,property-alerts", "status=eq.confirmed", "status = 'confirmed'", format="supabase"),
]
"""With filters, in all formats, of one stream and of several."""
MOST_CLIENTS = len(ALWAYS) + 3
REFUSED = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.IntegrityConstraintViolationError)


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
        for wish in ALWAYS:
            self.connect_one(wish, 2)

    def connect_one(self, wish: Wish, moments: int) -> None:
        self.clients.append(Client(self.gateway, wish, GUARDED))
        self.run(self._connect(self.clients[-1], moments))

    async def _connect(self, client: Client, moments: int) -> None:
        client.connect()
        await asyncio.sleep(moments * 0.004)

    @rule(statements=statement.drawn(4), commit=st.sampled_from([True, True, True, False]))
    def transaction(self, statements: list[Any], commit: bool) -> None:
        self.run(self._transaction(statements, commit))

    async def _transaction(self, statements: list[Any], commit: bool) -> None:
        transaction = self.writers[0].transaction()
        await transaction.start()
        try:
            for each in statements:
                await self.writers[0].execute(*each)
        except REFUSED:
            commit = False
        except BaseException:
            await transaction.rollback()
            raise
        await (transaction.commit() if commit else transaction.rollback())

    @precondition(lambda self: not self.open)
    @rule(statements=statement.drawn(2))
    def leave_open(self, statements: list[Any]) -> None:
        self.run(self._leave_open(statements))

    async def _leave_open(self, statements: list[Any]) -> None:
        transaction = self.writers[1].transaction()
        await transaction.start()
        try:
            for each in statements:
                await self.writers[1].execute(*each)
        except REFUSED:
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

    @precondition(lambda self: len(self.clients) < MOST_CLIENTS)
    @rule(wish=st.sampled_from(ASKED), moments=st.integers(0, 3))
    def connect(self, wish: Wish, moments: int) -> None:
        self.connect_one(wish, moments)

    @precondition(lambda self: self.clients)
    @rule(number=st.integers(0, MOST_CLIENTS - 1))
    def cut_and_come_back(self, number: int) -> None:
        client = self.clients[number % len(self.clients)]
        self.run(client.cut())
        self.run(self._connect(client, 0))

    @precondition(lambda self: not self.open)
    @rule(table=st.sampled_from(statement.TRUNCATED))
    def truncate(self, table: str) -> None:
        self.run(self._truncate(table))

    async def _truncate(self, table: str) -> None:
        while True:
            # Whoever reads rows or judges them may be in the way for a moment.
            with contextlib.suppress(asyncpg.LockNotAvailableError):
                await self.writers[0].execute(f"truncate {table}")
                return

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
            client.connect()
        hub = self.gateway.hub
        await until(lambda: all(client.view.whole for client in self.clients))
        await until(lambda: not hub._catch_up.busy and all(each.state is State.LIVE for each in hub.roster.subscribers))
        for client in self.clients:
            expected = await client.expected(self.writers[0])
            with contextlib.suppress(TimeoutError):
                await until(lambda client=client, expected=expected: not client.view.difference(expected), within=10)
            assert not client.view.difference(expected), client.view.difference(expected)

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
