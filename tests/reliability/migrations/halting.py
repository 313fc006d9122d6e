"""A `rowcast migrate` that stops in the middle: `python -m tests.reliability.migrations.halting POINT FILE`.

It writes FILE and stands still, as a process does that is frozen, when it comes to POINT. What it runs is the migrator as it is; only
methods are wrapped, in this process.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from gateway import migrator, trigger
from gateway.bridge.listener import connect
from tests.reliability.migrations.parcels import plan

POINTS = ("in the schema", "with a table held", "after the first table", "before the last commit")


def arm(point: str, file: Path) -> None:
    """Wraps what leads through the point."""
    functions, put, make = migrator._functions, trigger.Change._put, trigger.Change.make
    made: list[str] = []

    def halt() -> None:
        file.touch()
        signal.raise_signal(signal.SIGSTOP)

    async def in_schema(connection: Any) -> list[str]:
        found = await functions(connection)
        if point == POINTS[0]:
            halt()
        return found

    async def held(self: trigger.Change, connection: Any) -> str:
        if point == POINTS[1] and self.relation == "public.parcels":
            halt()
        epoch = await put(self, connection)
        if point == POINTS[3] and self.relation == "public.parcels":
            halt()
        return epoch

    async def one(self: trigger.Change, connection: Any) -> list[str]:
        if made and point == POINTS[2]:
            halt()
        lines = await make(self, connection)
        made.append(self.relation)
        return lines

    migrator._functions = in_schema
    trigger.Change._put = held  # type: ignore[method-assign]
    trigger.Change.make = one  # type: ignore[method-assign]


def command(point: str, file: Path) -> list[str]:
    """Returns what starts such a migrator; it makes every trigger anew."""
    return [sys.executable, "-m", "tests.reliability.migrations.halting", point, str(file)]


async def main(point: str, file: str) -> None:
    arm(point, Path(file))
    connection = await connect(os.environ["DATABASE_URL"], "migrate")
    try:
        await migrator.migrate(connection, plan(notify="always"))
    finally:
        connection.terminate()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
