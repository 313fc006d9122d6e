"""P1 and P2, one thing at a time: turns taken in any order, and what each protection of the order is there for."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sql
from gateway.bridge.listener import Connection
from gateway.bridge.sequencer import Sequencer
from tests.support.gateway import until
from tests.support.judge import Change, Committed, History, Verdict, judge
from tests.support.servers import Servers
from tests.support.writers import TELLING, commit, connected, prepare, read_log, sequencer_of


@pytest.mark.parametrize("careful", [True, False])
async def test_reclaim_keeps_what_has_no_position(servers: Servers, monkeypatch: pytest.MonkeyPatch, careful: bool) -> None:
    """A lane with a change that has no position yet is not truncated; without that look its changes are lost."""
    monkeypatch.setattr(sql, "LANE_BITS", 2)
    functions = sql.functions()
    assert "if v_left then" in functions
    await prepare(servers, writers=1)
    async with connected(servers) as writer, sequencer_of(servers) as sequencer:
        if not careful:
            await writer.execute(functions.replace("if v_left then", "if false then"))
        history = History()
        for version in range(6):
            await commit(writer, history, version % 2 + 1)
        assert await sequencer.reclaim() is not careful
        await sequencer.step()
        verdict = judge(history, await read_log(writer))
        assert verdict.right is careful
        assert (verdict.lost > 0) is not careful


@pytest.mark.parametrize("cache", [1, 50])
async def test_ids_in_blocks_misorder(servers: Servers, cache: int) -> None:
    """One row changed by two connections in turn keeps its versions in order, and would not if connections took ids in blocks."""
    await prepare(servers, writers=1)
    history = History()
    async with connected(servers) as admin:
        await admin.execute(f"alter sequence rowcast.outbox_id cache {cache}")
    async with connected(servers) as one, connected(servers) as other, sequencer_of(servers) as sequencer:
        for writer in (one, other, one):
            await commit(writer, history, 1)
        await sequencer.step()
        verdict = judge(history, await read_log(one))
    assert verdict.lost == 0
    assert (verdict.misordered == 0) is (cache == 1)


async def test_keys_refuse_a_second_step(servers: Servers) -> None:
    """With the sequencer's lock taken out of the step, the second of two that start from one position fails on the keys of the log."""
    lock = f"perform pg_advisory_xact_lock({sql.LOCK_CLASS}, {sql.SEQUENCER_LOCK});"
    functions = sql.functions()
    assert lock in functions
    await prepare(servers, writers=1)
    history = History()
    async with connected(servers) as one, connected(servers) as other:
        await one.execute(functions.replace(lock, ""))
        await commit(one, history, 1)
        transaction = one.transaction()
        await transaction.start()
        await one.execute(sql.statement("advance"), None, None)
        second = asyncio.create_task(other.execute(sql.statement("advance"), None, None))
        await until(lambda: one.fetchval("select exists (select from pg_locks where not granted and locktype = 'transactionid')"))
        await transaction.commit()
        with pytest.raises(asyncpg.UniqueViolationError):
            await second
        assert judge(history, await read_log(one)).right


async def test_step_refuses_an_old_snapshot(servers: Servers) -> None:
    """A step in a transaction whose snapshot is older than the lock is an error, not a log with holes."""
    async with connected(servers) as connection, connection.transaction(isolation="repeatable_read"):
        with pytest.raises(asyncpg.RaiseError, match="READ COMMITTED"):
            await connection.execute(sql.statement("advance"), None, None)


SCHEDULES = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.integers(0, 2), st.integers(1, 3)),
        st.tuples(st.just("end"), st.integers(0, 2), st.sampled_from(["commit", "commit", "rollback"])),
        st.tuples(st.just("step"), st.integers(0, 1), st.none()),
    ),
    max_size=30,
)
FREE = "update public.ledger set version = version + 1 where id = (select id from public.ledger where id = $1 for update skip locked)"


class Schedule:
    """Three writers and two sequencers that do what they are told, one thing at a time."""

    def __init__(self, writers: list[Connection], sequencers: list[Sequencer]) -> None:
        self._writers = writers
        self._sequencers = sequencers
        self._open: dict[int, tuple[int, list[Change]]] = {}
        self._history = History()

    async def play(self, steps: list[tuple[str, int, Any]]) -> Verdict:
        """Does the steps, ends what is open, and judges all that has ever been played."""
        for kind, who, what in [*steps, *(("end", who, "commit") for who in range(3)), ("step", 0, None)]:
            if kind == "step":
                await self._sequencers[who].step()
            elif kind == "end":
                await self._end(who, what)
            else:
                await self._change(who, what)
        return judge(self._history, await read_log(self._writers[0]))

    async def _change(self, who: int, row: int) -> None:
        if who not in self._open:
            self._open[who] = (next(self._history.clock), [])
            await self._writers[who].execute("begin")
        rows = await self._writers[who].fetch(f"{FREE} {TELLING}", row)
        self._open[who][1].extend(Change(each["txid"], "U", each["id"], each["version"]) for each in rows)

    async def _end(self, who: int, how: str) -> None:
        if who in self._open:
            began, changes = self._open.pop(who)
            await self._writers[who].execute(how)
            if how == "commit" and changes:
                self._history.committed.append(Committed(began, next(self._history.clock), changes))


def test_any_interleaving_is_right(servers: Servers) -> None:
    """Whatever the order in which three transactions and two sequencers take turns, the log is complete and in order."""

    async def open_schedule(stack: AsyncExitStack) -> Schedule:
        await prepare(servers, writers=0)
        writers = [await stack.enter_async_context(connected(servers)) for _ in range(3)]
        return Schedule(writers, [await stack.enter_async_context(sequencer_of(servers)) for _ in range(2)])

    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        schedule = runner.run(open_schedule(stack))

        @settings(max_examples=40, deadline=None, derandomize=True, database=None)
        @given(SCHEDULES)
        def right(steps: list[tuple[str, int, Any]]) -> None:
            verdict = runner.run(schedule.play(steps))
            assert replace(verdict, events=1).right, verdict

        try:
            right()
        finally:
            runner.run(stack.aclose())
