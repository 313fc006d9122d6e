"""Clients at work: a process for each, and what each says of each of its streams."""

import contextlib
import itertools
import json
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tests.clients.client import Client
from tests.support.process import ROOT, environment
from tests.support.sse import CONTROL

NAMES = (*sorted(CONTROL), "bookings", "message")
"""What clients listen to; `message` is what some make of what is no event of ours."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Heard:
    """An event as a client has it; `data` is text."""

    id: str
    name: str
    data: str

    @property
    def value(self) -> Any:
        return json.loads(self.data)


@dataclass
class Run:
    """What one client says of one stream, the newest last. `end` is how it ended for good, if it did."""

    client: Client
    number: int
    events: list[Heard] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    end: str = ""

    def take(self, said: Mapping[str, Any]) -> None:
        if "event" in said:
            self.events.append(Heard(**said["event"]))
        if "error" in said:
            self.errors.append(said["error"])
        if "end" in said:
            self.end = said["end"]

    def named(self, name: str) -> list[Heard]:
        return [event for event in self.events if event.name == name]


class Host:
    """A process in which clients run."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._runs: dict[int, Run] = {}
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True
            )
        self._log = log
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def listen(self, client: Client, number: int, url: str, token: str, since: str | None = None, profile: str = "") -> Run:
        """Lets a client open a stream; `since` is the last id that it shall have, `profile` whose browser it is."""
        run = self._runs[number] = Run(client, number)
        job = {"run": number, "client": client.name, "url": url, "token": token, "lastEventId": since, "profile": profile, "names": NAMES}
        try:
            self._input.write(json.dumps(job) + "\n")
            self._input.flush()
        except OSError:
            run.end = self._crashed()
        return run

    def stop(self) -> None:
        # What still listens does not keep it.
        self._process.kill()
        self._process.wait()
        self._reader.join()
        with contextlib.suppress(BrokenPipeError):
            self._input.close()

    @property
    def _input(self) -> IO[str]:
        assert self._process.stdin
        return self._process.stdin

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in lines:
                said = json.loads(line)
                self._runs[said["run"]].take(said)
        for run in self._runs.values():
            run.end = run.end or self._crashed()

    def _crashed(self) -> str:
        return "its process has ended: " + (self._log.read_text().strip() or "it does not say why")[-300:]


@contextmanager
def hosts(clients: Iterable[Client], directory: Path) -> Iterator[dict[str, Host]]:
    """Starts what the clients run in, and yields it by the client's name."""
    started: dict[tuple[str, ...], Host] = {}
    try:
        found = {}
        for client in clients:
            key = tuple(client.command)
            if key not in started:
                started[key] = Host(key, directory / f"{client.name}.log")
            found[client.name] = started[key]
        yield found
    finally:
        for host in started.values():
            host.stop()


def new_number() -> int:
    """Returns a number that no other run has: by it the gateway's log knows who asks."""
    return next(_numbers)
