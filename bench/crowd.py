"""The clients of one server: a process of its own, written in C, which as many clients in Python would be too slow for."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from bench import process
from bench.peer import Server
from bench.process import BenchError
from bench.stack import Stack

_SOURCE = Path(__file__).with_name("crowd.c")
_READY_SECONDS = 120.0


@dataclass(frozen=True)
class Said:
    """What has arrived since the clients were asked before; `busy`: CPU seconds since they began, `back`: who came again since."""

    events: int
    ended: int
    back: int
    ready: int
    backwards: int
    busy: float
    delays: list[float]


class Crowd:
    """The clients' process, asked from here. `seconds` is how long it took until all were ready."""

    def __init__(self, child: asyncio.subprocess.Process, lasting: bool, log: Path) -> None:
        self._child = child
        self._lasting = lasting
        self._log = log
        self.seconds = 0.0

    async def ask(self) -> Said:
        """Returns what has arrived. Raises BenchError if the process has ended, or a stream that was to last."""
        assert self._child.stdin is not None
        self._child.stdin.write(b"\n")
        said = Said(**orjson.loads(await self._line()))
        if said.ended and self._lasting:
            raise BenchError(f"{said.ended} streams have ended")
        return said

    async def _line(self) -> bytes:
        assert self._child.stdout is not None
        line = await self._child.stdout.readline()
        if not line:
            raise BenchError(f"the clients have ended; {process.last_lines(self._log)}")
        return line

    @staticmethod
    @asynccontextmanager
    async def open(
        stack: Stack, server: Server, clients: int, *, owns: bool = False, stalled: int = 0, again: int = 0
    ) -> AsyncIterator["Crowd"]:
        """Opens a stream for each client, with its own channel if it `owns` one, and yields when all are ready.

        The first `stalled` of them then read no more. With a port in `again` those whose stream ends come back there.
        """
        requests = stack.directory / "requests"
        requests.write_bytes(b"".join(server.request(client, owns).encode() + b"\0" for client in range(clients)))
        texts = (server.hello, server.reply, server.ready)
        arguments = [await _compiled(stack.directory), server.port, again, clients, requests, *texts, stalled]
        command = [each if isinstance(each, bytes) else str(each) for each in arguments]
        log = stack.directory / "crowd.log"
        async with process.started(
            [each if isinstance(each, bytes) else str(each) for each in command], stack.environment(), stack.directory, log, talks=True
        ) as child:
            process.pin(child.pid, 1)
            crowd = Crowd(child, lasting=not again, log=log)
            try:
                async with asyncio.timeout(_READY_SECONDS):
                    crowd.seconds = orjson.loads(await crowd._line())["seconds"]
            except TimeoutError:
                raise BenchError(f"{server.name}: the clients have not become ready within {_READY_SECONDS:.0f} s") from None
            yield crowd


async def _compiled(directory: Path) -> Path:
    program = directory / "crowd"
    if not program.exists():
        if shutil.which("cc") is None:
            raise BenchError("the clients are written in C, and there is no compiler: apt-get install gcc libc6-dev")
        compiler = await asyncio.create_subprocess_exec("cc", "-O2", "-o", program, _SOURCE)
        if await compiler.wait():
            raise BenchError(f"{_SOURCE.name} does not compile")
    return program
