"""③ What a step costs where another table names the owners: payments, whose bookings change hands."""

from statistics import median

from bench.report import Figure, Report, milliseconds
from bench.scale import Scale
from bench.stack import Stack
from bench.step import empty, timed
from gateway.bridge.listener import Connection, connected
from gateway.bridge.sequencer import Sequencer

AIM = 2.0
_SMALL, _FACTOR = 2_000, 4
_ROUNDS = 3
_FIRST = 1_000_000
_WORK = {
    "bookings are made": "insert into public.bookings (id, customer_id, service_id, booking_date, start_time, end_time)"
    " select $1::bigint + n, 1 + n % 8, 1, now(), now(), now() + interval '1 hour' from generate_series(1, $2::int) n",
    "payments for them": "insert into public.payments (booking_id, amount) select $1::bigint + n, 1 from generate_series(1, $2::int) n",
    "bookings change hands, payments with them": "update public.bookings set customer_id = customer_id % 8 + 1"
    " where id > $1 and id <= $1 + $2::int",
    "bookings are deleted, payments with them": "delete from public.bookings where id > $1 and id <= $1 + $2::int",
}


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Lets steps grow: what a change costs must not grow with them."""
    report.expect(2)
    async with (
        stack.examples(),
        connected(stack.database_url, "bench writer") as connection,
        Sequencer.open(stack.database_url) as sequencer,
    ):
        await empty(sequencer)
        small = await _steps(report, connection, sequencer, _SMALL)
        large = await _steps(report, connection, sequencer, _SMALL * _FACTOR)
    ratios = {what: large[what] / small[what] / _FACTOR for what in _WORK}
    report.table(
        "Step: owners that another table names, the sequencer alone, medians, ms",
        ("of one statement", f"{_SMALL:,} rows", f"{_SMALL * _FACTOR:,} rows", "a row ÷ a row"),
        [(what, milliseconds(small[what]), milliseconds(large[what]), Figure.of(ratios[what], ".2f")) for what in _WORK],
    )
    worst = max(ratios.values())
    report.aim(f"a row in a step of {_FACTOR} times as many, with owners elsewhere", f"≤ {AIM:.0f}", Figure.of(worst, ".2f"), worst <= AIM)


async def _steps(report: Report, connection: Connection, sequencer: Sequencer, rows: int) -> dict[str, float]:
    report.say(f"statements of {rows:,} rows")
    times: dict[str, list[float]] = {what: [] for what in _WORK}
    for _ in range(_ROUNDS):
        for what, statement in _WORK.items():
            await connection.execute(statement, _FIRST, rows)
            times[what].append(await timed(lambda: empty(sequencer)))
    return {what: median(found) for what, found in times.items()}
