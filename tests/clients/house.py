"""A gateway that can be killed and started again, its database, and examples that follow it."""

import json
import os
import re
import signal
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import asyncpg

from tests.clients.example import Example
from tests.support.gateway import token, until
from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers

WITHIN = 60


@dataclass
class House:
    """A gateway, its database, and the examples of a page that run."""

    servers: Servers
    directory: Path
    stack: ExitStack
    env: dict[str, str]
    examples: list[Example]
    processes: list[Popen[bytes]] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.env['PORT']}"

    @property
    def token_file(self) -> Path:
        return self.directory / "token"

    def open(self) -> None:
        """Starts the gateway, and waits until it serves."""
        self.web = self.stack.enter_context(started(command("web"), self.env, self.directory / "web.log", cwd=self.directory))
        wait_ready(self.url)

    def kill(self) -> None:
        """Ends the gateway without a word."""
        self.web.kill()
        self.web.wait(30)

    def start(self) -> None:
        """Starts the examples."""
        self.processes = [each.start(self.url, self.token_file) for each in self.examples]

    async def connected(self) -> None:
        await until(lambda: all(each.connected for each in self.examples), WITHIN)

    async def stop(self) -> None:
        """Ends the examples as a machine that goes down does."""
        for process in self.processes:
            os.killpg(process.pid, signal.SIGTERM)
        await self.ended()

    async def ended(self) -> list[int]:
        """Waits until all have ended, and returns their exit codes."""
        await until(lambda: all(process.poll() is not None for process in self.processes), WITHIN)
        return [process.returncode for process in self.processes]

    async def change(self, notes: str) -> None:
        """Changes the first booking."""
        connection = await self.servers.connect()
        await connection.execute("update bookings set notes = $1 where id = 1", notes)
        await connection.close()
        self.told.append(notes)

    async def known(self) -> None:
        """Waits until every example knows the last change, and has kept its id."""
        await until(lambda: all(each.last == self.told[-1] and each.settled(len(self.told)) for each in self.examples), WITHIN)

    def begun(self) -> float:
        """Returns how many streams have begun anew, and not gone on where they were, since the gateway was started last."""
        with urllib.request.urlopen(self.url + "/metrics", timeout=30) as answer:
            found = re.findall(r'^rowcast_resumes_total\{kind="(\w+)"\} (\S+)$', answer.read().decode(), re.MULTILINE)
        assert sum(float(number) for _, number in found) >= len(self.examples)
        return sum(float(number) for kind, number in found if kind in ("fresh", "reset"))

    def ask(self, method: str, path: str, **body: Any) -> None:
        """Asks the gateway something, as an admin."""
        headers = {"Authorization": f"Bearer {token(13, 'admin')}", "Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, json.dumps(body).encode(), headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status < 300

    async def rows(self) -> Any:
        """Returns the first customer's bookings as JSON has them."""
        connection: asyncpg.Connection[Any] = await self.servers.connect()
        await connection.execute("set time zone 'UTC'")
        found = await connection.fetchval("select json_object_agg(id, b) from bookings b where customer_id = 1")
        await connection.close()
        return json.loads(found)


@contextmanager
def house(servers: Servers, directory: Path, examples: Sequence[Example] = (), **settings: str) -> Iterator[House]:
    """Runs a bridge and a gateway; the examples have not been started yet."""
    with ExitStack() as stack:
        port = str(free_port())
        stack.enter_context(started(command("bridge"), environment(servers), directory / "bridge.log", cwd=directory))
        env = environment(servers, PORT=port, ROWCAST_DRAIN="1s", **settings)
        for each in examples:
            each.place(directory)
            stack.enter_context(each.stack)
        one = House(servers, directory, stack, env, list(examples))
        one.token_file.write_text(token(jti=f"first of {directory.name}"))
        one.open()
        yield one
