"""A TCP proxy that cuts, blackholes, slows, and loses replies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit, urlunsplit


@dataclass
class Proxy:
    """Forwards `port` to the target. Its faults apply to connections that are open and to those that come."""

    target_host: str
    target_port: int
    port: int = 0
    swallow_requests: bool = False
    swallow_replies: bool = False
    refuse: bool = False
    delay_seconds: float = 0.0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def url(self, original: str) -> str:
        """Returns an address that leads through the proxy."""
        parts = urlsplit(original)
        host = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{host}@127.0.0.1:{self.port}" if host else f"127.0.0.1:{self.port}"))

    @property
    def connections(self) -> int:
        return len(self._writers) // 2

    def cut(self) -> None:
        """Resets every open connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    def blackhole(self) -> None:
        """Swallows everything in both directions and says nothing."""
        self.swallow_requests = self.swallow_replies = True

    def heal(self) -> None:
        """Forwards again; what was swallowed stays lost, so connections of the time before are cut."""
        if self.swallow_requests or self.swallow_replies:
            self.cut()
        self.swallow_requests = self.swallow_replies = self.refuse = False
        self.delay_seconds = 0.0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuse:
            writer.transport.abort()
            return
        try:
            target_reader, target_writer = await asyncio.open_connection(self.target_host, self.target_port)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, target_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, target_writer, requests=True))
                group.create_task(self._pump(target_reader, writer, requests=False))
        except* (OSError, EOFError):
            pass
        finally:
            self._writers -= pair
            for each in pair:
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, requests: bool) -> None:
        while data := await reader.read(65536):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            if self.swallow_requests if requests else self.swallow_replies:
                continue
            writer.write(data)
            await writer.drain()
        raise EOFError


@asynccontextmanager
async def proxied(url: str) -> AsyncIterator[Proxy]:
    """Starts a proxy in front of the server of an address."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    proxy = Proxy(parts.hostname, parts.port)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await server.wait_closed()
