"""Gives events to a server by HTTP, over one connection, without waiting in between."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench import process
from bench.process import BenchError

_OPEN_SECONDS = 20.0


async def until_open(port: int, child: asyncio.subprocess.Process, log: Path) -> None:
    """Returns when somebody listens on the port. Raises BenchError if the process ends before, or takes too long."""

    async def listens() -> bool:
        if child.returncode is not None:
            return True
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return False
        writer.close()
        return True

    if not await process.until(listens, _OPEN_SECONDS) or child.returncode is not None:
        raise BenchError(f"a server has not started; {process.last_lines(log)}")


class Publisher:
    """A connection on which events are posted, pipelined."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @staticmethod
    @asynccontextmanager
    async def open(port: int) -> AsyncIterator["Publisher"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            yield Publisher(reader, writer)
        finally:
            writer.close()

    async def post(self, events: Sequence[tuple[str, bytes]], headers: Mapping[str, str] = {}) -> None:
        """Posts bodies, each to a path, and returns when all are accepted. Raises BenchError for one that is not."""
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        for path, body in events:
            self._writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        for _ in events:
            head = await self._reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 20"):
                raise BenchError(f"publishing is answered with {head[:60]!r}")
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            await self._reader.readexactly(int(length or 0))
