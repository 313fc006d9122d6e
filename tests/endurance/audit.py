"""Readers that must miss nothing, held against the log while both go on: what agrees is forgotten, before retention drops it.

- A reader lives once here: it comes back within the retention, so to be told `reset` is to have lost something.
- The readers' tokens are short: their streams expire, and are of a limited age, and that must cost them nothing.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import sql
from tests.endurance.load import Load
from tests.support import sse
from tests.support.cluster import Doors
from tests.support.ledger import Ledger, Line, Reader
from tests.support.servers import Servers

_EVERY_SECONDS = 1.0
_MOST = 20


class ShortLived:
    """Doors that are opened with tokens of so many seconds."""

    def __init__(self, doors: Doors, seconds: float) -> None:
        self._doors = doors
        self._seconds = seconds

    async def open(self, streams: str, sub: object, role: str | None, since: str | None, **claims: Any) -> sse.Stream:
        """Opens streams as a user, after an id."""
        return await self._doors.open(streams, sub, role, since, ttl=self._seconds, **claims)


def steady(door: ShortLived, load: Load) -> list[Reader]:
    """Readers of one stream and of several; some hold on to their connection, some leave and come back."""
    customers, providers = load.customers, load.providers
    return [
        *(Reader(door, "bookings", user) for user in customers[:3]),
        *(Reader(door, "bookings", user, (0.2, 8.0)) for user in customers[3:6]),
        *(Reader(door, "provider-bookings", user) for user in providers[:1]),
        *(Reader(door, "bookings,provider-bookings,services", user) for user in providers[1:2]),
        *(Reader(door, "bookings,provider-bookings,services", user, (0.5, 15.0)) for user in providers[2:4]),
        Reader(door, "bookings,services", customers[-1], (0.0, 0.5)),
        Reader(door, "services", customers[0]),
    ]


class Audit:
    """Compares readers with the log from a moment on; `faults` says what has been wrong, `checked` how many events were right."""

    def __init__(self, servers: Servers, readers: Sequence[Reader]) -> None:
        self.checked = 0
        self.faults: list[str] = []
        self.position = 0
        self.notes: Counter[str] = Counter()
        """How many rows of the log carry each, up to `position`."""
        self._servers = servers
        self._expected: dict[Reader, list[Line]] = {reader: [] for reader in readers}

    async def begin(self) -> None:
        """Begins at the head of the log, when all that was written before is in it; readers begin after it."""
        while await self._waiting():  # noqa: ASYNC110 - it happens in Postgres
            await asyncio.sleep(0.05)
        connection = await self._servers.connect()
        self.position = await connection.fetchval("select max(position) from rowcast.head") or 0
        await connection.close()

    async def run(self, stop: asyncio.Event) -> None:
        """Compares until stopped."""
        while not stop.is_set():
            await self.advance()
            await asyncio.sleep(_EVERY_SECONDS)

    async def advance(self) -> None:
        """Reads on in the log, and compares what has been received up to there."""
        ledger = await Ledger.read(self._servers, self.position)
        for note, count in ledger.notes.items():
            self.notes[note.partition(" for ")[0]] += count
        for reader in list(self._expected):
            self._expected[reader] += ledger.lines(reader.channels, self.position)
            await asyncio.sleep(0)
            self._compare(reader)
        self.position = ledger.head

    def _compare(self, reader: Reader) -> None:
        if not reader.lives:
            return
        expected, life = self._expected[reader], reader.lives[0]
        while expected and expected[0].position <= life.after:
            del expected[0]
        if len(reader.lives) > 1:
            self._give_up(reader, f"began anew: {reader.resets or reader.statuses[-3:]}, {len(expected)} events are missing")
            return
        count = min(len(expected), len(life.lines))
        for number, (wanted, got) in enumerate(zip(expected, life.lines, strict=False)):
            if wanted != got:
                self._give_up(
                    reader, f"event {self.checked + number} is {got.id} {got.stream}, and must be {wanted.id} {wanted.stream}: {got}"
                )
                return
        del expected[:count], life.lines[:count]
        self.checked += count

    def _give_up(self, reader: Reader, fault: str) -> None:
        """Compares this reader no more: whatever follows would be wrong too."""
        if len(self.faults) < _MOST:
            self.faults.append(f"{reader}: {fault[:400]}")
        del self._expected[reader]

    async def finish(self, load: Load, within: float) -> None:
        """Waits until all that was written is in the log and has been received. Nobody writes any more."""
        deadline = time.monotonic() + within
        while not await self._complete():
            if time.monotonic() > deadline:
                for reader, expected in self._expected.items():
                    if expected or (reader.lives and reader.lives[0].lines):
                        surplus = len(reader.lives[0].lines) if reader.lives else 0
                        self.faults.append(f"{reader}: {len(expected)} events are missing, {surplus} are too many: {expected[:1]}")
                break
            await asyncio.sleep(0.2)
        self.faults += [*load.contradictions(self.notes), *(f"a writer was told {error}, {n} times" for error, n in load.errors.items())][
            :_MOST
        ]

    async def _complete(self) -> bool:
        waiting = await self._waiting()
        await self.advance()
        return not waiting and all(
            not expected and reader.lives and not reader.lives[0].lines for reader, expected in self._expected.items()
        )

    async def _waiting(self) -> int:
        """Returns how many changes have no position yet."""
        connection = await self._servers.connect()
        try:
            row = await connection.fetchrow(sql.statement("outbox"))
        finally:
            await connection.close()
        assert row is not None
        return int(row["depth"])
