"""A crowd of clients before a proxy, in the test's event loop, and a writer for them."""

import asyncio
import resource
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import pytest

from tests.reliability.deploy.member import Connection, Member
from tests.support.front import NAME, Front
from tests.support.gateway import token, until
from tests.support.ledger import Line
from tests.support.servers import Servers

PATH = "/streams/services"
PATIENCE_SECONDS = 120.0
_AT_ONCE = 50
"""Connections that are being opened at a time at the beginning."""
_FIRST_USER = 1000
_FILES_FOR_EACH = 4
"""Open files: here one, at a gateway one, at the proxy two."""


@contextmanager
def files_for(clients: int) -> Iterator[None]:
    """Lets this process, and what it starts, have as many files open as so many clients need; else the test is skipped."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max(soft, _FILES_FOR_EACH * clients + 500)
    if needed > hard != resource.RLIM_INFINITY:
        pytest.skip(f"{clients} clients need {needed} open files, and here are {hard} (ulimit -Hn)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@dataclass
class Crowd:
    """Members before a front."""

    front: Front
    members: list[Member]
    _context: ssl.SSLContext
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    _connections: dict[Member, Connection] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _left: bool = False

    @property
    def open(self) -> int:
        """How many have a stream."""
        return sum(member.open for member in self.members)

    def come(self, member: Member, after_seconds: float = 0) -> None:
        """Lets a member come, unless the crowd has left."""
        if not self._left:
            task = asyncio.create_task(self._come(member, after_seconds))
            self._tasks.add(task)
            task.add_done_callback(self._came)

    def _came(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.result()

    async def _come(self, member: Member, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        lines = [f"GET {PATH} HTTP/1.1", f"Host: {NAME}:{self.front.port}", f"Authorization: Bearer {member.token}"]
        if member.remembers and member.last_id:
            lines.append(f"Last-Event-ID: {member.last_id}")
        request = "\r\n".join(lines).encode() + b"\r\n\r\n"
        async with self._places:
            try:
                _, self._connections[member] = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(member, request, self.come), "127.0.0.1", self.front.port, ssl=self._context, server_hostname=NAME
                )
            except OSError:
                member.cuts += 1
                self.come(member, 1.0)

    async def leave(self) -> None:
        """Cuts all connections."""
        self._left = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._connections.values():
            connection.abort()
        await until(lambda: not self.open)

    def faults(self, lines: Sequence[Line]) -> list[str]:
        """Says what is wrong with what members received; nothing is right."""
        return [f"member {number}: {fault}" for number, member in enumerate(self.members) for fault in member.faults(lines)]


@asynccontextmanager
async def gathered(front: Front, size: int, remembers: bool = True) -> AsyncIterator[Crowd]:
    """Yields when all have a stream."""
    context = ssl.create_default_context(cafile=str(front.certificate.chain))
    members = [Member(token(_FIRST_USER + number), remembers) for number in range(size)]
    crowd = Crowd(front, members, context)
    try:
        for member in members:
            crowd.come(member)
        await until(lambda: crowd.open == size, PATIENCE_SECONDS)
        yield crowd
    finally:
        await crowd.leave()


@asynccontextmanager
async def writing(servers: Servers, each_second: float) -> AsyncIterator[None]:
    """Changes a service again and again for as long as the block lasts."""
    connection = await servers.connect()

    async def work() -> None:
        number = 0
        while True:
            await connection.execute("update services set description = $1 where id = 1", f"change {(number := number + 1)}")
            await asyncio.sleep(1 / each_second)

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        task.cancel()
        (ended,) = await asyncio.gather(task, return_exceptions=True)
        connection.terminate()
    assert isinstance(ended, asyncio.CancelledError), ended
