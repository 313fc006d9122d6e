"""Many clients, in processes of their own: `python -m tests.endurance.crowd` is one of these, told by lines of JSON what to do.

- In: `{"clients": …}` once, then `{"do": "cut"}`, `{"do": "judge", "file": …}`. It ends when nobody speaks to it any more.
- Out: how many are connected and how much they have, every second; a verdict when it is asked for one.
"""

import asyncio
import pickle
import random
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import uvloop

from tests.endurance.client import Client
from tests.endurance.history import History
from tests.endurance.verdict import Verdict
from tests.support.cluster import Doors
from tests.support.gateway import until
from tests.support.process import environment

_LINE_BYTES = 2**24
_KINDS = (
    *("bookings",) * 4,
    *("provider-bookings",) * 2,
    *("bookings,provider-bookings",) * 2,
    "bookings,provider-bookings,services",
    "services",
)
RESTLESS = (0.0, 6.0)


class Role(NamedTuple):
    """What a client listens to, as whom, and how long it holds on to a connection."""

    streams: str
    sub: int
    patience: tuple[float, float] | None


def cast(number: int, customers: Sequence[int], providers: Sequence[int]) -> list[Role]:
    """Returns so many roles: each user in turn, and one in twenty restless."""
    roles = []
    for n in range(number):
        streams = _KINDS[n % len(_KINDS)]
        users = customers if streams == "bookings" else providers
        roles.append(Role(streams, users[n % len(users)], RESTLESS if n % 20 == 7 else None))
    return roles


@dataclass
class Crowd:
    """The clients' processes, seen from outside."""

    processes: list[Process]
    clients: int
    _states: dict[int, dict[str, int]] = field(default_factory=dict)
    _verdicts: "asyncio.Queue[Verdict]" = field(default_factory=asyncio.Queue)

    def count(self, what: str) -> int:
        """Returns how many are `joined` or `open`, how many events they have `received`, how often connections were opened (`openings`)."""
        return sum(state.get(what, 0) for state in self._states.values())

    def cut(self) -> None:
        """Cuts all connections at once."""
        self._say({"do": "cut"})

    async def judged(self, history: History, directory: Path, within: float) -> Verdict:
        """Waits until all have what is meant for them, for so long at most; returns what is wrong with what they have received."""
        file = directory / "history"
        await asyncio.to_thread(file.write_bytes, pickle.dumps(history))
        self._say({"do": "judge", "file": str(file), "within": within})
        verdict = Verdict()
        async with asyncio.timeout(within + 300):
            for _ in self.processes:
                verdict.add(await self._verdicts.get())
        return verdict

    def _say(self, what: Any) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.write(orjson.dumps(what) + b"\n")

    async def listen(self, process: Process) -> None:
        """Takes what a process says; raises RuntimeError when it has ended."""
        assert process.stdout is not None
        while line := await process.stdout.readline():
            said = orjson.loads(line)
            if "verdict" in said:
                self._verdicts.put_nowait(Verdict(**said["verdict"]))
            else:
                self._states[process.pid] = said
        raise RuntimeError("a process of the clients has ended")


@asynccontextmanager
async def crowd(ports: Sequence[int], roles: Sequence[Role], seed: int, processes: int = 2) -> AsyncIterator[Crowd]:
    """Starts clients, and yields when each has joined."""
    given = [roles[n::processes] for n in range(processes)]
    command = [sys.executable, "-m", "tests.endurance.crowd"]
    # A Ctrl-C is ours to hear.
    options: dict[str, Any] = {"stdin": PIPE, "stdout": PIPE, "limit": _LINE_BYTES, "start_new_session": True, "env": environment()}
    started = [await asyncio.create_subprocess_exec(*command, **options) for _ in given]
    try:
        each = Crowd(started, len(roles))
        async with asyncio.TaskGroup() as group:
            listening = [group.create_task(each.listen(process)) for process in started]
            for number, (process, theirs) in enumerate(zip(started, given, strict=True)):
                assert process.stdin is not None
                process.stdin.write(
                    orjson.dumps({"clients": [list(each) for each in theirs], "ports": ports, "seed": f"{seed} {number}"}) + b"\n"
                )
            await until(lambda: each.count("joined") == len(roles), 60)
            yield each
            for task in listening:
                task.cancel()
    finally:
        for process in started:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _main() -> None:
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader(limit=_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    first = orjson.loads(await orders.readline())
    random.seed(first["seed"])
    doors = Doors(first["ports"])
    clients = [Client(doors, streams, sub, (patience[0], patience[1]) if patience else None) for streams, sub, patience in first["clients"]]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.run()) for client in clients]
        tasks.append(group.create_task(_report(clients)))
        while line := await orders.readline():
            order = orjson.loads(line)
            if order["do"] == "cut":
                for client in clients:
                    client.cut()
            else:
                await _judge(clients, Path(order["file"]), order["within"])
        for task in tasks:
            task.cancel()


async def _report(clients: Sequence[Client]) -> None:
    while True:
        _print(
            {
                "joined": sum(bool(client.statuses) for client in clients),
                "open": sum(client.open for client in clients),
                "received": sum(client.received for client in clients),
                "openings": sum(client.openings for client in clients),
            }
        )
        await asyncio.sleep(0.5)


async def _judge(clients: Sequence[Client], file: Path, within: float) -> None:
    history: History = pickle.loads(await asyncio.to_thread(file.read_bytes))
    last = {client: history.last(client.channels) for client in clients}
    ends_at = time.monotonic() + within
    while (late := sum(not client.has(event) for client, event in last.items())) and time.monotonic() < ends_at:  # noqa: ASYNC110 - two hundred of them
        await asyncio.sleep(0.2)
    verdict = Verdict()
    for client in clients:
        verdict.add(client.judged(history))
    if late:
        verdict.examples.append(f"{late} clients have not caught up")
    _print({"verdict": verdict.as_json()})


def _print(what: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_main())
