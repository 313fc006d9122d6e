"""A TCP proxy before a gateway: it lets those who come wait, leads them to another one, and cuts characters into their bytes."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

_PAUSE_SECONDS = 0.005
"""Long enough that a reader has read what came before."""
_PIECES = re.compile(rb"[^\x80-\xbf]+|[\x80-\xbf]")
"""What is no continuation of a character stays together."""


@dataclass
class Front:
    """Leads who comes to `target`, a port, while it is open; who is there stays.

    With `split` no read has a character of several bytes whole.
    """

    target: int
    split: bool = False
    port: int = 0
    open: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Cancelled when the loop ends, which Python 3.11 else takes for an error of ours.
        with closing(writer), suppress(OSError, asyncio.CancelledError):
            await self.open.wait()
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
            with closing(to_writer):
                requests = asyncio.create_task(_pump(reader, to_writer, split=False))
                await _pump(to_reader, writer, self.split)
                requests.cancel()


@asynccontextmanager
async def fronted(target: int, split: bool = False) -> AsyncIterator[Front]:
    """Serves before a port."""
    front = Front(target, split)
    front.open.set()
    server = await asyncio.start_server(front.serve, "127.0.0.1", 0)
    front.port = server.sockets[0].getsockname()[1]
    try:
        yield front
    finally:
        server.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, split: bool) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            pieces = _PIECES.findall(data) if split else [data]
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                if len(pieces) > 1:
                    await asyncio.sleep(_PAUSE_SECONDS)
