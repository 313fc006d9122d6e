"""Real gateway processes for the clients: one that stays, and others that are killed and told to end."""

import re
import signal
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers

PLACES = 40
"""How many streams a user may have open: those of a gateway that was killed count for a while."""
_ANSWER = re.compile(rb'status=neq\.run-(\d+)\b[^"]*" (\d{3})')
_SETTINGS = {"ROWCAST_DRAIN": "1s", "ROWCAST_CONNECTIONS_PER_USER": str(PLACES)}


class Gateway:
    """A `rowcast web` that comes back under its address, and what it has logged."""

    def __init__(self, servers: Servers, log: Path, stack: ExitStack, web: Sequence[str] = (), **settings: str) -> None:
        self.port = free_port()
        self._web = list(web) or command("web")
        self._env = environment(servers, PORT=str(self.port), **_SETTINGS | settings)
        self._log = log
        self._read = 0
        self._answers: defaultdict[int, list[int]] = defaultdict(list)
        self._stack = stack
        self._process = self._started()

    def wait(self) -> None:
        """Waits until it serves."""
        wait_ready(f"http://127.0.0.1:{self.port}", within=60)

    def start(self) -> None:
        """Starts it again, and waits until it serves."""
        self._process = self._started()
        self.wait()

    def kill(self) -> None:
        """Ends it without a word."""
        self._end(signal.SIGKILL)

    def drain(self) -> None:
        """Tells it to end, and waits until it has."""
        self._end(signal.SIGTERM)

    def url(self, booking: int, number: int, port: int = 0) -> str:
        """Returns the address of a booking's changes, marked with a run's number by a filter that all bookings pass."""
        return f"http://127.0.0.1:{port or self.port}/streams/bookings?id=eq.{booking}&status=neq.run-{number}"

    def answers(self, number: int) -> list[int]:
        """Returns the statuses that a run's requests have got, in order."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            new = log.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for found in _ANSWER.finditer(whole):
            self._answers[int(found[1])].append(int(found[2]))
        return self._answers[number]

    def _started(self) -> subprocess.Popen[bytes]:
        return self._stack.enter_context(started(self._web, self._env, self._log, cwd=self._log.parent))

    def _end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        self._process.wait(30)


@contextmanager
def gateways(
    servers: Servers, directory: Path, *names: str, web: Sequence[str] = (), plain: Collection[str] = (), **settings: str
) -> Iterator[dict[str, Gateway]]:
    """Runs a bridge and gateways, and yields them by name. Those in `plain` are as Rowcast comes, without the settings."""
    with ExitStack() as stack:
        stack.enter_context(started(command("bridge"), environment(servers), directory / "bridge.log", cwd=directory))
        found = {name: Gateway(servers, directory / f"web{name}.log", stack, web, **({} if name in plain else settings)) for name in names}
        for each in found.values():
            each.wait()
        yield found
