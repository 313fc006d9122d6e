"""①–⑨ What the matching of saved searches adds to the way of a listing's change, and how long the alerts themselves take."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial

from bench import process
from bench.clients import Clients, listening
from bench.report import Figure, Report, milliseconds, percentile
from bench.scale import Scale
from bench.stack import Stack
from gateway.bridge.listener import Connection, connect

RATE = 100
SEARCHES = 100_000
AIM_SECONDS = 0.020
_CLIENTS = 10
_PROPERTIES = 1_000
# Cities of one state each. Nine tenths of the searches name city and state, of the rest most only the state; each wants a seventh of
# all prices. So hundreds of users match each change.
_LISTINGS = f"""
insert into public.properties (name, city, state, price, units)
select '0', 'City ' || n % 200, 'S' || n % 50, 1000000 + n * 1000, 10 + n % 300 from generate_series(1, {_PROPERTIES}) n
"""
_SEARCH = """
insert into public.saved_searches (user_id, city, state, min_price, max_price)
select 100 + n % 20000, case when n % 100 < 90 then 'City ' || n % 200 end, case when n % 100 < 99 then 'S' || n % 50 end,
       1000000 + low, 1150000 + low
from (select n, (hashint8(n)::bigint + 2147483648) % 850 * 1000 as low from generate_series(1, $1::bigint) n) each
"""
# Everything is in this one's search, so that its clients see each alert.
_WATCHER = "insert into public.saved_searches (user_id) values (1)"
_UPDATE = "update public.properties set name = $2, price = price + 1 where id = $1"


@dataclass(frozen=True)
class Delays:
    """In seconds: of the writer's statements, and since these were sent of each arrival of a change and of an alert."""

    statements: list[float]
    changes: list[float]
    alerts: list[float]
    missing: int


async def run(stack: Stack, scale: Scale, report: Report) -> None:
    """Changes prices at a pace, with nobody's search saved, and with a hundred thousand."""
    report.expect(3)
    async with stack.examples():
        await stack.connection.execute(_LISTINGS)
        await stack.connection.execute("truncate public.saved_searches, public.property_alerts")
        async with stack.bridge("armed", ROWCAST_STREAMS="streams"):
            report.say(f"{RATE} price changes a second, no saved searches")
            alone = await _measure(stack, scale)
            report.say(f"saving {SEARCHES:,} searches")
            await stack.connection.execute(_SEARCH, SEARCHES)
            await stack.connection.execute(_WATCHER)
            await stack.connection.execute("vacuum analyze public.saved_searches")
            report.say(f"{RATE} price changes a second, {SEARCHES:,} saved searches")
            matched = await _measure(stack, scale)
        told = await stack.connection.fetchval("select avg(cardinality(user_ids))::float8 from public.property_alerts")
    _tell(report, alone, matched, told or 0.0)


def _tell(report: Report, alone: Delays, matched: Delays, told: float) -> None:
    def row(name: str, values: list[float]) -> tuple[str, ...]:
        return name, *(milliseconds(percentile(values, share)) for share in (0.5, 0.95, 0.99, 1)), Figure.of(len(values), ",")

    report.table(
        f"Alerts: {RATE} price changes a second, {_CLIENTS} clients, ms since the UPDATE was sent",
        ("", "p50", "p95", "p99", "max", "count"),
        [
            row("no searches: the writer's statement", alone.statements),
            row("no searches: property-updated", alone.changes),
            row(f"{SEARCHES:,} searches: the writer's statement", matched.statements),
            row(f"{SEARCHES:,} searches: property-updated", matched.changes),
            row(f"{SEARCHES:,} searches: property-alert", matched.alerts),
        ],
        (f"an alert concerns {told:.0f} users", f"not arrived: {alone.missing + matched.missing}"),
    )
    if not alone.changes or not matched.changes or not matched.alerts:
        report.fail("nothing of the listings' changes has arrived")
        return
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        added = percentile(matched.changes, share) - percentile(alone.changes, share)
        report.aim(f"matching adds to a change's delay, {name}", "≤ 20 ms", milliseconds(added, " ms"), added <= AIM_SECONDS)


async def _measure(stack: Stack, scale: Scale) -> Delays:
    changes = int(RATE * scale.delay_seconds)
    alerted = bool(await stack.connection.fetchval("select exists (select from public.saved_searches)"))
    listings = [row["id"] for row in await stack.connection.fetch("select id from public.properties order by id")]
    connection = await connect(stack.database_url, "bench writer")
    sent: list[tuple[float, float]] = []
    try:
        async with stack.web(ROWCAST_STREAMS="streams") as web:
            paths = ("/streams/properties?format=raw", "/streams/property-alerts?format=raw")
            async with (
                listening(stack, web, _CLIENTS, True, paths[0], "name") as seen,
                listening(stack, web, _CLIENTS, True, paths[1], "name") as told,
            ):
                start = time.monotonic() + 1 / RATE
                for number in range(changes):
                    await asyncio.sleep(max(0.0, start + number / RATE - time.monotonic()))
                    sent.append(await _change(connection, listings[number % len(listings)], number))
                await stack.until_drained(10)
                for clients in (seen, told) if alerted else (seen,):
                    await process.until(partial(_all, clients, changes), 5)
    finally:
        connection.terminate()
    arrived = [[at - sent[number][0] for _, number, at in clients.arrivals if number >= 0] for clients in (seen, told)]
    missing = changes * _CLIENTS * (1 + alerted) - sum(map(len, arrived))
    return Delays([after - before for before, after in sent], arrived[0], arrived[1], missing)


async def _all(clients: Clients, changes: int) -> bool:
    return bool(clients.samples) and clients.samples[-1].events >= changes * _CLIENTS


async def _change(connection: Connection, listing: object, number: int) -> tuple[float, float]:
    """Changes a price; returns when that was sent and when it was committed."""
    before = time.monotonic()
    await connection.execute(_UPDATE, listing, str(number))
    return before, time.monotonic()
