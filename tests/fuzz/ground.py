"""A bridge and a web process, a neighbour on an open stream, and whoever may notice what a request does to others."""

import itertools
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import create_connection, socket
from typing import Any

import orjson
import psycopg
from redis import Redis

from gateway import wire
from tests.fuzz import declared, law
from tests.fuzz.answer import Exchange, exchange
from tests.support import sse
from tests.support.gateway import token
from tests.support.process import command, environment, free_port, started, wait_ready
from tests.support.servers import Servers

SENDER = 7_000_001
"""The customer in whose name things are sent: nothing that is made up speaks of them, so nothing revokes their tokens."""
NEIGHBOUR = 7_654_321
"""A customer with a booking of their own, of whom nothing that is sent speaks."""
_OWED_SECONDS = 30.0
"""How long what is owed is waited for: the server's own patience is a second here."""
_PENDING = 40


class Neighbour:
    """Somebody whose stream is open all the time, and whose booking is changed: each change comes, once, in order."""

    def __init__(self, port: int, database_url: str) -> None:
        self._database = psycopg.connect(database_url, autocommit=True)
        self._socket: socket = create_connection(("127.0.0.1", port), _OWED_SECONDS)
        head = f"GET /streams/bookings HTTP/1.1\r\nHost: rowcast\r\nAuthorization: Bearer {token(NEIGHBOUR, ttl=86_400)}\r\n\r\n"
        self._socket.sendall(head.encode())
        self._name = f"at {port}"
        self._text = b""
        self._heard: list[sse.Event] = []
        self._numbers = itertools.count(1)
        self._until(lambda: any(event.name == "ready" for event in self._heard))
        # What was written before may still be on its way.
        text = self._change()
        self._until(lambda: text in self._told())
        self._heard.clear()

    def notices(self) -> list[str]:
        """Changes the booking, waits for the event, and returns what is not as if nobody else were there."""
        text = self._change()
        try:
            self._until(lambda: bool(self._told()))
        except (OSError, EOFError) as error:
            return [f"the neighbour hears nothing: {error!r}"]
        told = self._told()
        self._heard.clear()
        return [] if told == [text] else [f"the neighbour hears {told} instead of {text}"]

    def _change(self) -> str:
        # Another gateway's neighbour has the same booking, and is heard here too.
        text = f"{law.CANARY} {self._name} {next(self._numbers)}"
        self._database.execute("update bookings set notes = %s where customer_id = %s", (text, NEIGHBOUR))
        return text

    def _told(self) -> list[str]:
        told = [str(event.data["record"]["notes"]) if event.name == "bookings" else event.name for event in self._heard]
        return [each for each in told if self._name in each or not each.startswith(law.CANARY)]

    def close(self) -> None:
        self._socket.close()
        self._database.close()

    def _until(self, condition: Any) -> None:
        deadline = time.monotonic() + _OWED_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError
            data = self._socket.recv(65536)
            if not data:
                raise EOFError
            self._text += data
            self._take()

    def _take(self) -> None:
        # Chunks begin and end where events do; their sizes stand on lines of their own.
        *blocks, self._text = self._text.split(b"\n\n")
        for block in blocks:
            found = re.search(rb"id: ([^\n]+)\nevent: ([^\n]+)\ndata: ([^\n]+)$", block)
            if found is not None and found[2] not in (b"checkpoint", b"auth-expiring"):
                self._heard.append(sse.Event(found[1].decode(), found[2].decode(), orjson.loads(found[3]), found[3].decode()))


class Ground:
    """A web process under fire. `wrong` are the laws that were found broken; `check` raises AssertionError for them."""

    def __init__(self, port: int, log: Path, servers: Servers) -> None:
        self.port = port
        self.servers = servers
        self.sent = 0
        self._log = log
        self._read = 0
        self._pending: list[Exchange] = []
        self.neighbour = Neighbour(port, servers.database_url)

    def send(self, data: bytes, *methods: str) -> Exchange:
        """Sends bytes and returns what came; raises AssertionError for a broken law. What is still owed is asked for in `settle`."""
        self.sent += 1
        made = exchange(self.port, data, *methods)
        if made.settled:
            self._hold(made)
        else:
            self._pending.append(made)
            if len(self._pending) > _PENDING:
                self.settle()
        if self.sent % 20 == 0:
            self.check()
        return made

    def ask(self, method: str, path: str, *lines: bytes | str, body: bytes | None = None) -> Exchange:
        """Makes one request that is whole."""
        return self.send(request(method, path, *lines, body=body), method)

    def settle(self, within: float = _OWED_SECONDS) -> None:
        """Waits for what is owed, for so many seconds at most."""
        owed, self._pending = self._pending, []
        for each in owed:
            each.listen(within)
            each.connection.close()
            self._hold(each)

    def check(self) -> None:
        """Sees that the neighbour has noticed nothing and that nothing crashed."""
        wrong = self.neighbour.notices() + law.told_of(self._said())
        assert not wrong, wrong

    def finish(self) -> None:
        """The last word of a test: nothing is owed, and all is as before."""
        self.settle()
        self.check()

    def beat(self, *numbers: object) -> bytes:
        """Returns a beat of this very life of the log, with something for its numbers."""
        with Redis.from_url(self.servers.redis_url, decode_responses=True) as redis:
            return orjson.dumps([redis.hget(wire.META, "epoch"), redis.hget(wire.META, "life"), *numbers])

    def publish(self, channel: str, data: bytes) -> None:
        with Redis.from_url(self.servers.redis_url) as redis:
            redis.publish(channel, data)

    def _hold(self, made: Exchange) -> None:
        wrong = law.broken(made)
        if any(each.startswith("status 5") for each in wrong):
            wrong += self._crash()
        assert not wrong, (wrong, made.sent[:2000], made.received[:1000])

    def _crash(self) -> list[str]:
        """Waits a while for what a crash leaves in the log, which comes after the answer."""
        deadline = time.monotonic() + 5
        while not (told := law.told_of(self._said())) and time.monotonic() < deadline:
            time.sleep(0.02)
        return told

    def _said(self) -> str:
        with self._log.open("rb") as file:
            file.seek(self._read)
            said = file.read()
        self._read += len(said)
        return said.decode("utf-8", "replace")


def request(method: str, path: str, *lines: bytes | str, body: bytes | None = None) -> bytes:
    """Writes a request; lines and path go out as they are."""
    head = [f"{method} {path} HTTP/1.1".encode("utf-8", "surrogateescape"), b"Host: rowcast"]
    head += [line if isinstance(line, bytes) else line.encode("utf-8", "surrogateescape") for line in lines]
    if body is not None:
        head.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(head) + b"\r\n\r\n" + (body or b"")


@contextmanager
def web(servers: Servers, directory: Path, *args: str, **settings: str) -> Iterator[tuple[int, Path]]:
    """Starts a web process, and yields its port and its log."""
    port = free_port()
    log = directory / f"web-{port}.log"
    env = environment(servers, **_settings(PORT=str(port), LOG_LEVEL="info", ROWCAST_KEEP_ALIVE="1s", **settings))
    with started([sys.executable, "-m", "tests.fuzz.hasty", *args, "web"], env, log):
        wait_ready(f"http://127.0.0.1:{port}")
        yield port, log


@contextmanager
def bridge(servers: Servers, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    with started(command("bridge"), environment(servers, **_settings()), directory / "bridge.log") as process:
        yield process


def _settings(**more: str) -> dict[str, str]:
    return {"ROWCAST_STREAMS": declared.__name__, "ROWCAST_HEARTBEAT": "2s", "ROWCAST_CONNECTIONS_PER_USER": "0"} | more


@contextmanager
def ground(servers: Servers, directory: Path, *args: str, **settings: str) -> Iterator[Ground]:
    """Starts a web process with a neighbour; a bridge must run."""
    with ExitStack() as stack:
        port, log = stack.enter_context(web(servers, directory, *args, **settings))
        made = Ground(port, log, servers)
        stack.callback(made.neighbour.close)
        yield made
