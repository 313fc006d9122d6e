"""A TCP proxy that cuts, blackholes, slows, and loses replies."""

import asyncio
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
    _serving: set[asyncio.Task[None]] = field(default_factory=set)
    _silenced: set[asyncio.StreamWriter] = field(default_factory=set)
    watched: bytes = b""
    """What marks the connections that carry it towards the server."""
    _marked: set[asyncio.StreamWriter] = field(default_factory=set)

    def url(self, original: str) -> str:
        """Returns an address that leads through the proxy."""
        parts = urlsplit(original)
        host = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{host}@127.0.0.1:{self.port}" if host else f"127.0.0.1:{self.port}"))

    @property
    def connections(self) -> int:
        return len(self._writers) // 2

    @property
    def silent(self) -> int:
        """Connections that were silenced and that nobody has given up yet."""
        return len(self._silenced & self._writers) // 2

    def silence(self) -> None:
        """Swallows everything on the connections that are open now; those that come are served."""
        self._silenced = set(self._writers)

    def silence_marked(self) -> int:
        """Swallows everything on the marked connections that are open now; returns how many these are."""
        self._silenced |= self._marked & self._writers
        return self.silent

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
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            if not self.refuse:
                await self._forward(reader, writer)
        finally:
            self._serving.discard(task)
            writer.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target_reader, target_writer = await asyncio.open_connection(self.target_host, self.target_port)
        except OSError:
            return
        pair = {writer, target_writer}
        self._writers |= pair
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, target_writer, pair, requests=True))
                group.create_task(self._pump(target_reader, writer, pair, requests=False))
        except* (OSError, EOFError):
            pass
        finally:
            self._writers -= pair
            self._marked -= pair
            for each in pair:
                each.transport.abort()

    async def _end(self) -> None:
        """Cuts whoever is connected, being connected, or just accepted."""
        # From being accepted to being served it takes half a dozen turns of the loop.
        for _ in range(12):
            await asyncio.sleep(0)
            for task in self._serving:
                task.cancel()
        if self._serving:
            await asyncio.wait(self._serving)
        # An aborted transport closes in the next turn.
        await asyncio.sleep(0)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pair: set[asyncio.StreamWriter], *, requests: bool
    ) -> None:
        while data := await reader.read(65536):
            if requests and self.watched and self.watched in data:
                self._marked |= pair
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            if writer in self._silenced or (self.swallow_requests if requests else self.swallow_replies):
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
        await proxy._end()
