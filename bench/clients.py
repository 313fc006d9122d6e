"""The receiver's process, seen from here: what it has said so far."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from bench import process
from bench.declaration import booking
from bench.process import BenchError
from bench.stack import Stack, Web


@dataclass(frozen=True)
class Sample:
    """How far the clients were at one time; `delay` is the median since the sample before, in seconds since the capture."""

    at: float
    events: int
    position: int
    delay: float | None


@dataclass
class Clients:
    """Clients that listen."""

    child: asyncio.subprocess.Process
    samples: list[Sample] = field(default_factory=list)
    arrivals: list[tuple[int, int, float]] = field(default_factory=list)

    async def read(self) -> None:
        """Takes down what the receiver says until it ends."""
        assert self.child.stdout is not None
        while line := await self.child.stdout.readline():
            said: dict[str, Any] = orjson.loads(line)
            if "arrivals" in said:
                self.arrivals = [(number, change, at) for number, change, at in said["arrivals"]]
            else:
                self.samples.append(Sample(**said))


@asynccontextmanager
async def listening(
    stack: Stack, web: Web, clients: int, each: bool, path: str = f"/streams/{booking.name}", numbered: str = "notes"
) -> AsyncIterator[Clients]:
    """Opens streams and yields when all are ready; afterwards `arrivals` has every arrival, if `each` was wanted.

    The column `numbered` has a change's number.
    """
    command = [sys.executable, "-m", "bench.receiver"]
    async with process.started(command, stack.environment(), stack.directory, stack.directory / "receiver.log", talks=True) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        config = {"port": web.port, "path": path, "token": stack.token(), "clients": clients, "each": each, "numbered": numbered}
        child.stdin.write(orjson.dumps(config) + b"\n")
        async with asyncio.timeout(20):
            if not (line := await child.stdout.readline()) or orjson.loads(line) != {"ready": clients}:
                raise BenchError(f"the clients are not ready, see {stack.directory / 'receiver.log'}")
        found = Clients(child)
        reading = asyncio.create_task(found.read())
        try:
            yield found
            child.stdin.close()
            async with asyncio.timeout(20):
                await reading
        finally:
            reading.cancel()
