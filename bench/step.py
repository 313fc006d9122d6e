"""③ What the sequencer's look and step cost, by the size of what waits, under an old snapshot, and for a very large transaction."""

import time
from collections.abc import Awaitable, Callable
from math import ceil
from statistics import median

from bench import process
from bench.declaration import ROWS
from bench.report import Figure, Report, milliseconds
from bench.scale import Scale
from bench.stack import Stack
from gateway import wire
from gateway.bridge.listener import Connection, connected
from gateway.bridge.sequencer import Sequencer

AIM = 2.0
_LOOKS = 200
_AT_ONCE = 1_000
_PUBLISH_SECONDS = 5.0
_LARGE_SECONDS = 60.0
"""A very large transaction that would take longer to write and to sequence is made smaller, and so it is where less time is left."""
_MARGIN_SECONDS = 15.0
_UPDATE = "update public.bench_booking set notes = 'Ring ' || $3::int, updated_at = now() where id > $1 and id <= $2"


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Measures looks and steps without a bridge, then lets a very large transaction pass a real one."""
    async with connected(stack.database_url, "bench writer") as connection, Sequencer.open(stack.database_url) as sequencer:
        await empty(sequencer)
        pace = await _sizes(sequencer, connection, scale, report)
        await _old(stack, sequencer, connection, scale, report)
        await empty(sequencer)
        await _large(stack, connection, scale, report, pace)


async def empty(sequencer: Sequencer) -> None:
    """Gives positions to all that waits."""
    while await sequencer.step():
        pass


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    """Returns how many seconds something takes."""
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


async def _look(sequencer: Sequencer) -> float:
    """Returns the median time of an idle look."""
    return median([await timed(sequencer.step) for _ in range(_LOOKS)])


async def _sizes(sequencer: Sequencer, connection: Connection, scale: Scale, report: Report) -> float:
    """Returns the seconds that a change takes in the largest step."""
    rows = [("idle look", "0", milliseconds(await _look(sequencer)), "")]
    report.expect(3)
    for size, rounds in ((1, scale.step_rounds), (100, scale.step_rounds // 2), (ROWS, 5)):
        report.say(f"steps of {size:,} changes")
        times = []
        for round in range(rounds):
            await connection.execute(_UPDATE, 0, size, round)
            times.append(await timed(sequencer.step))
        rows.append(("step", Figure.of(size, ","), milliseconds(median(times)), Figure.of(size / median(times), ",.0f")))
    report.table("Step: the sequencer alone, medians", ("what", "changes", "ms", "changes/s"), rows)
    return median(times) / ROWS


async def _old(stack: Stack, sequencer: Sequencer, connection: Connection, scale: Scale, report: Report) -> None:
    start = await _look(sequencer)
    rows = [("before", milliseconds(start), "1.00", "")]
    ratios = []
    report.expect(2 * ceil(scale.old_snapshot_changes / (20 * _AT_ONCE)))
    for name, statement in (
        ("an old snapshot held open", "select count(*) from public.bench_booking"),
        ("an old writer held open", f"update public.bench_booking set notes = 'old' where id = {ROWS}"),
    ):
        async with connected(stack.database_url, "bench holder") as holder:
            await holder.execute("begin isolation level repeatable read")
            await holder.execute(statement)
            for done in range(0, scale.old_snapshot_changes, _AT_ONCE):
                if done % (_AT_ONCE * 20) == 0:
                    report.say(f"{name}, {done:,} of {scale.old_snapshot_changes:,} changes")
                first = done % (ROWS - _AT_ONCE)
                await connection.execute(_UPDATE, first, first + _AT_ONCE, done)
                await sequencer.step()
                if done % (_AT_ONCE * 10) == 0:
                    await sequencer.reclaim()
            look = await _look(sequencer)
            waiting = await stack.connection.fetchval(
                "select pg_total_relation_size('rowcast.outbox_0') + pg_total_relation_size('rowcast.outbox_1')"
            )
            rows.append((name, milliseconds(look), Figure.of(look / start, ".2f"), Figure.of(waiting / 1e6, ",.0f", " MB")))
            ratios.append(look / start)
        await empty(sequencer)
    report.table(f"Idle look after {scale.old_snapshot_changes:,} changes", ("with", "ms", "÷ before", "outbox"), rows)
    report.aim("idle look under an old snapshot ÷ before", f"≤ {AIM:.0f}", Figure.of(ratios[0], ".2f"), ratios[0] <= AIM)


async def _large(stack: Stack, connection: Connection, scale: Scale, report: Report, pace: float) -> None:
    report.expect(3)
    report.say("how fast rows are written")
    probe = scale.large_transaction // 100
    pace += await timed(lambda: _insert(connection, 10 * ROWS, probe)) / probe
    seconds = max(5.0, min(_LARGE_SECONDS, stack.seconds_left - _PUBLISH_SECONDS - _MARGIN_SECONDS))
    size = min(scale.large_transaction, int(seconds / pace) // 1000 * 1000)
    async with stack.bridge("armed") as bridge:
        memory = process.memory_mb(bridge)
        before = await stack.head()
        report.say(f"a transaction of {size:,} changes")
        writing = await timed(lambda: _insert(connection, 100 * ROWS, size))
        started = time.perf_counter()

        async def sequenced() -> bool:
            return await stack.head() >= before + size

        await process.until(sequenced, 2 * _LARGE_SECONDS)
        sequencing = time.perf_counter() - started
        report.say(f"publishing for {_PUBLISH_SECONDS:.0f} s")
        first, began = await _published(stack), time.perf_counter()
        await stack.until_drained(_PUBLISH_SECONDS)
        publishing = (await _published(stack) - first) / (time.perf_counter() - began)
        peak = process.memory_mb(bridge, peak=True)
    report.table(
        f"One transaction of {size:,} changes",
        ("what", "figure"),
        [
            ("written in", Figure.of(writing, ",.1f", " s")),
            ("from COMMIT until all of it has positions", Figure.of(sequencing, ",.1f", " s")),
            ("sequenced", Figure.of(size / sequencing, ",.0f", " changes/s")),
            ("then published, nothing else to do", Figure.of(publishing, ",.0f", " changes/s")),
            ("memory of the bridge before", Figure.of(memory, ",.0f", " MB")),
            ("its peak", Figure.of(peak, ",.0f", " MB")),
        ],
    )


async def _insert(connection: Connection, first: int, size: int) -> None:
    await connection.execute(
        "insert into public.bench_booking (id, customer_id, provider_id, service_id)"
        " select $1::int + id, id % 500, id % 50, id % 6 from generate_series(1, $2::int) id",
        first,
        size,
    )


async def _published(stack: Stack) -> int:
    return int(await stack.redis.hget(wire.META, "position") or 0)
