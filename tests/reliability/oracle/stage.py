"""Real processes, writers, and clients with views that must end as what Postgres shows each user, whatever was restarted meanwhile.

- What is written follows from the run's seed; when each part notices that another one is gone does not.
- Half of the clients follow `services` besides: when the last change of it has come to them, so has all that was committed before,
  and their views are held against Postgres at that moment. The others are waited for.
"""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg

from streams.catalog import Catalog, load
from tests.support import oracle, statement
from tests.support.cluster import Cluster, cluster
from tests.support.gateway import until
from tests.support.view import Client, Rows, Wish

DECLARED = "tests.reliability.oracle.declared"
WRITERS = 2
_PATIENCE_SECONDS = 60.0
"""For what happens by itself, on a machine that has other things to do."""
_WRITER = {"application_name": "writer", "lock_timeout": "100ms", "timezone": "UTC"}
_LOST = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)


@dataclass
class Stage:
    """The parts, the clients, and what is drawn. `transactions` counts those that were committed."""

    cluster: Cluster
    chance: random.Random
    catalog: Catalog
    clients: list[Client] = field(default_factory=list)
    transactions: int = 0
    _marks: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    @property
    def witness(self) -> Client:
        """Somebody who follows much, and is never cut by us."""
        return self.clients[0]

    def admit(self, wishes: list[Wish]) -> None:
        """Lets clients come, each twice: on its streams alone, and with `services`."""
        alone = [Client(self.cluster.doors, wish, self.catalog) for wish in wishes]
        joined = [
            Client(self.cluster.doors, replace(wish, streams=f"{wish.streams},services"), self.catalog)
            for wish in wishes
            if "services" not in wish.names
        ]
        self.clients += [*joined, *alone]
        for client in self.clients:
            client.connect()

    @asynccontextmanager
    async def going_on(self) -> AsyncIterator[None]:
        """Lets writers write, and clients be cut, come back, or come anew, for as long as the block lasts."""
        writing = [asyncio.create_task(self._write(random.Random(self.chance.random()))) for _ in range(WRITERS)]
        enough = asyncio.Event()
        restless = asyncio.create_task(self._restless(random.Random(self.chance.random()), enough))
        try:
            yield
        finally:
            for task in writing:
                task.cancel()
            # Never in the middle of cutting one.
            enough.set()
            ended = await asyncio.gather(*writing, restless, return_exceptions=True)
        for each in ended:
            if each is not None and not isinstance(each, asyncio.CancelledError):
                raise AssertionError("a writer, or who cuts clients, has stumbled") from each

    async def _write(self, chance: random.Random) -> None:
        while True:
            with contextlib.suppress(*_LOST):
                connection = await self.cluster.servers.connect(timeout=5, server_settings=_WRITER)
                try:
                    while True:
                        await self._transaction(connection, chance)
                        await asyncio.sleep(chance.uniform(0, 0.04))
                finally:
                    connection.terminate()
            await asyncio.sleep(0.05)

    async def _transaction(self, connection: asyncpg.Connection, chance: random.Random) -> None:
        if chance.random() < 0.02:
            await connection.execute(f"truncate {chance.choice(statement.TRUNCATED)}")
            return
        statements, commit = statement.draw(chance, 4), chance.random() < 0.9
        transaction = connection.transaction()
        await transaction.start()
        try:
            for each in statements:
                await connection.execute(*each)
        except oracle.REFUSED:
            commit = False
        await (transaction.commit() if commit else transaction.rollback())
        self.transactions += commit

    async def _restless(self, chance: random.Random, enough: asyncio.Event) -> None:
        while not enough.is_set():
            await asyncio.sleep(chance.uniform(0, 0.3))
            client = chance.choice(self.clients[1:])
            await client.cut()
            if chance.random() < 0.2:
                client.last_id = None
            client.connect()

    async def progress(self, transactions: int = 10) -> None:
        """Waits until so many more transactions are committed, and events go on to arrive."""
        until_then = self.transactions + transactions
        await until(lambda: self.transactions >= until_then, _PATIENCE_SECONDS)
        events = self.witness.events
        await until(lambda: self.witness.events > events, _PATIENCE_SECONDS)

    async def settle(self) -> list[str]:
        """Waits until everybody has everything, and says which views are not what Postgres shows. Nobody may be writing."""
        connection = await self.cluster.servers.connect(server_settings={"timezone": "UTC"})
        try:
            # A commit that was under way when its writer left may still come.
            await until(lambda: self._nobody_writes(connection), _PATIENCE_SECONDS)
            mark = f"mark {next(self._marks)}"
            await connection.execute("update services set description = $1 where id = 1", mark)
            found = []
            for client in self.clients:
                # Says what went wrong with one that has stumbled.
                client.connect()
                found.append(await self._look(client, await client.expected(connection), mark))
        finally:
            connection.terminate()
        return [each for each in found if each]

    async def _nobody_writes(self, connection: asyncpg.Connection) -> bool:
        writers = "select count(*) from pg_stat_activity where application_name = $1"
        return bool(await connection.fetchval(writers, _WRITER["application_name"]) == 0)

    async def _look(self, client: Client, expected: Mapping[str, Rows], mark: str) -> str:
        """Waits until a client has everything, and says what is wrong with its view."""
        view = client.view

        def done() -> bool:
            if client.wish.marked:
                return view.whole and view.rows["services"].get(1, {}).get("description") == mark
            return view.whole and not view.difference(expected)

        with contextlib.suppress(TimeoutError):
            await until(done, _PATIENCE_SECONDS)
        return view.difference(expected) if view.whole else f"{client.wish} has no whole snapshot"

    def told(self) -> set[str]:
        """Returns the reasons of all resets and endings so far."""
        return {reason for client in self.clients for reason in client.told}


@asynccontextmanager
async def staged(directory: Path, chance: random.Random, wishes: list[Wish], *, bridges: int = 2, webs: int = 2) -> AsyncIterator[Stage]:
    """Starts everything, and the clients; yields when each has its snapshots."""
    async with cluster(directory, bridges=bridges, webs=webs, ROWCAST_STREAMS=DECLARED, ROWCAST_DRAIN="1s") as parts:
        stage = Stage(parts, chance, load(DECLARED))
        connection = await parts.servers.connect()
        await connection.execute(oracle.HIDE)
        await connection.close()
        stage.admit(wishes)
        try:
            await until(lambda: all(client.view.whole for client in stage.clients), _PATIENCE_SECONDS)
            yield stage
        finally:
            for client in stage.clients:
                with contextlib.suppress(AssertionError):
                    await client.cut()
