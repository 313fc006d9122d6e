"""Declarations change while tables are written: no change is lost between two triggers, and whoever must not go on as before is told."""

import random
from dataclasses import replace

import pytest

import sql
from gateway import trigger
from gateway.migrator import Plan, migrate
from streams.catalog import Catalog
from streams.stream import Stream
from tests.reliability.migrations.notes import CREATE, EXAMPLES, NOTES, TASKS
from tests.reliability.migrations.parcels import BOARD, LABELS, PARCELS, busy, plan, staged
from tests.sql.published import Published, publishing
from tests.support.servers import MAX_BYTES, Servers

# Between the old trigger and the new one


async def test_waiting_changes_keep_their_owner(servers: Servers) -> None:
    """What waits for a position when triggers are made anew is still its owner's, though only the old functions know whose it is."""
    async with publishing(servers, "", *()) as published:
        assert await _payments(published) == {"payments-changes-1"}


async def test_control_waiting_changes(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without giving them positions first, all of them are a reset."""
    monkeypatch.setattr(trigger.Change, "_owners_before", ())
    async with publishing(servers, "", *()) as published:
        assert await _payments(published) == {"payments-changes"}


async def _payments(published: Published) -> set[str]:
    await published.execute("update payments set amount = amount + 1 where booking_id in (select id from bookings where customer_id = 1)")
    await migrate(published.connection, Plan(EXAMPLES, "never", MAX_BYTES))
    return {channel for channel, _ in await published.sent()}


WITH_BODY = replace(NOTES, columns=("id", "owner", "body"))
WITHOUT_BODY = replace(NOTES, columns=("id", "owner"))


async def test_waiting_changes_are_not_replayed(servers: Servers) -> None:
    """A declaration that publishes less concerns also what was captured by the old one and has no position yet."""
    assert await _replayed(servers) == 0


async def test_control_waiting_changes_are_replayed(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without giving it positions first, it is in the new epoch."""
    statement = sql.statement
    monkeypatch.setattr(sql, "statement", lambda name: "select $1::text, $2::text" if name == "advance" else statement(name))
    assert await _replayed(servers, statement("advance")) == 1


async def _replayed(servers: Servers, advance: str = "") -> int:
    """Returns in how many entries of the present epoch a column stands that is no longer published."""
    async with publishing(servers, CREATE, WITH_BODY) as published:
        await published.execute("update notes set body = 'canary'")
        await migrate(published.connection, Plan(Catalog([WITHOUT_BODY]), "armed", MAX_BYTES))
        await published.connection.fetch(advance or sql.statement("advance"), None, None)
        found = await published.connection.fetchval(
            "select count(*) from rowcast.log where new::text like '%canary%' and position >"
            " (select e.after_position from rowcast.epoch e order by e.number desc limit 1)"
        )
        assert await published.connection.fetchval("select count(*) from rowcast.log where new::text like '%canary%'") == 1
        return int(found)


async def test_published_again(servers: Servers) -> None:
    """A stream that was not published for a while begins with a reset: what happened meanwhile nobody knows."""
    async with publishing(servers, CREATE, NOTES, TASKS) as published:
        await migrate(published.connection, Plan(Catalog([TASKS]), "armed", MAX_BYTES))
        await published.execute("update notes set body = 'unseen'")
        await migrate(published.connection, Plan(Catalog([NOTES, TASKS]), "armed", MAX_BYTES))
        await published.execute("update notes set body = 'seen'")
        sent = [(channel, data) for channel, data in await published.sent() if channel.startswith("notes")]
        assert [(channel, isinstance(data, dict)) for channel, data in sent] == [("notes-changes", False), ("notes-changes-1", True)]


async def test_moved_to_another_table(servers: Servers) -> None:
    """A stream that is of another table than before begins an epoch: what it was is not replayed as what it is."""
    async with publishing(servers, CREATE, NOTES) as published:
        line, *_ = await migrate(published.connection, Plan(Catalog([replace(NOTES, table="public.tasks")]), "armed", MAX_BYTES))
        assert line.startswith("log, epoch")


# Again and again


def _wider(chance: random.Random) -> Plan:
    """A declaration that takes nothing from those who listen: other filters, a stream more."""
    streams: list[Stream] = [
        replace(PARCELS, filters=chance.choice(({}, {"state": "text"}, {"state": "text", "weight": "numeric"}))),
        BOARD,
        LABELS,
        *([replace(BOARD, name="beside", channel="beside-changes")] if chance.random() < 0.5 else []),
    ]
    return plan(*streams)


@pytest.mark.long
async def test_again_and_again(servers: Servers, chance: random.Random) -> None:
    """Declarations come and go under load: each change is in the log once, nobody is told anything, and no writer notices."""
    async with staged(servers) as stage:
        async with busy(stage, writers=4):
            for _ in range(6):
                await stage.migrate(_wider(chance))
                await stage.go_on()
            for every in (plan(notify="always"), plan(max_bytes=4096)):
                await stage.migrate(every)
                await stage.go_on()
        assert stage.writers.told == []
        await stage.check()
        assert [reader.resets for reader in stage.readers] == [[]] * len(stage.readers)


FEW = replace(BOARD, columns=("id", "notes"))


def _other(chance: random.Random) -> Plan:
    """A declaration that may publish less, or not at all for a while."""
    wide = replace(BOARD, name="wide", columns=chance.choice(((*BOARD.columns, "secret"), BOARD.columns)), channel="wide-changes")
    streams = [PARCELS, LABELS, chance.choice((BOARD, FEW)), *chance.choice(([], [wide]))]
    return plan(*streams)


@pytest.mark.long
async def test_again_and_again_with_epochs(servers: Servers, chance: random.Random) -> None:
    """Declarations that publish less begin epochs: everybody is told, ends with what Postgres has, and each change is in the log once."""
    async with staged(servers) as stage:
        async with busy(stage, writers=4):
            for _ in range(6):
                await stage.migrate(_other(chance))
                await stage.go_on()
            # The last one takes something away: what is added, rows have from their next change on.
            await stage.migrate(plan())
            await stage.migrate(plan(PARCELS, FEW, LABELS))
            await stage.go_on()
        assert stage.writers.told == []
        epochs = await stage.connection.fetchval("select count(*) from rowcast.epoch where reason = 'narrowed'")
        assert epochs
        assert all(reader.resets.count("epoch") for reader in stage.readers)
        assert {fault for fault in await stage.faults_in_log() if "not published for a while" not in fault} == set()
        await stage.check(board=FEW)
