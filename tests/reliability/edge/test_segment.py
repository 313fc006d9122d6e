"""The log goes on in another segment while a replay is on its way."""

import asyncio

import pytest

from gateway.fanout.archive import Archive
from gateway.migrator import Plan, migrate
from streams.catalog import load
from tests.gateway.fanout.manual import manual
from tests.support.gateway import until
from tests.support.servers import MAX_BYTES, Servers

NEXT = "drop table rowcast.log_channel_2; drop table rowcast.log_2"


@pytest.mark.parametrize("ahead", [True, False])
async def test_segment_is_opened_within_a_replay(servers: Servers, ahead: bool) -> None:
    """A replay that was planned before has what is in the new one; were its tables made only then, it would lack that, and not know it."""
    archive = Archive(servers.database_url)
    async with manual(servers) as by_hand:
        locker = await servers.connect()
        try:
            await by_hand.change(2)
            if not ahead:
                await by_hand.connection.execute(NEXT)
            transaction = locker.transaction()
            await transaction.start()
            # Whoever plans a replay waits here, and knows by then which segments there are.
            await locker.execute("lock table rowcast.log_channel_1 in access exclusive mode")
            reading = asyncio.create_task(archive.read(["bookings-changes-1"], 0, 100))

            async def waits() -> bool:
                found: bool = await by_hand.connection.fetchval(
                    "select exists (select from pg_stat_activity where application_name = 'rowcast archive' and wait_event_type = 'Lock'"
                    " and datname = current_database())"
                )
                return found

            await until(waits)
            await by_hand.connection.execute("select rowcast.open_segment()")
            await by_hand.write(2)
            await transaction.rollback()
            page = await reading
        finally:
            locker.terminate()
            await archive.close()
    assert page.through == page.bounds.head == 4
    assert [entry.position for entry in page.entries] == ([1, 2, 3, 4] if ahead else [1, 2])


async def test_each_has_the_next_one_ready(servers: Servers) -> None:
    """Also where none was made ahead, which `migrate` mends: there is one more than is used, and it is dropped in its turn."""
    async with manual(servers) as by_hand:

        async def tables() -> list[int]:
            rows = await by_hand.connection.fetch(
                "select substr(c.relname, 5)::int as number from pg_class c"
                " where c.relnamespace = 'rowcast'::regnamespace and c.relkind = 'r' and c.relname ~ '^log_[0-9]+$' order by 1"
            )
            return [row["number"] for row in rows]

        assert await tables() == [1, 2]
        await by_hand.connection.execute(NEXT)
        await by_hand.connection.execute("delete from rowcast.installed where name = 'functions'")
        await migrate(by_hand.connection, Plan(load("streams"), "armed", MAX_BYTES))
        assert await tables() == [1, 2]
        await by_hand.connection.execute(NEXT)
        for expected in ([1, 2, 3], [1, 2, 3, 4]):
            await by_hand.change()
            await by_hand.connection.execute("select rowcast.open_segment()")
            assert await tables() == expected
        await by_hand.change()
        await by_hand.connection.execute("select rowcast.drop_segments('0 seconds')")
        assert await tables() == [3, 4]
