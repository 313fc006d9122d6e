"""Socket.IO in Python: WebSocket only, a room for each channel, events published by HTTP.

python-socketio under uvicorn, with uvloop, httptools, websockets and Rowcast's settings of the garbage collector, of the versions in
constraints.txt; no compression, no access log, no ping within a run.
"""

import importlib.util
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from bench import process
from bench.peer import ALL, Peer, Server, event
from bench.peer.publisher import Publisher, until_open
from bench.stack import Stack, free_port

_UPGRADE = """GET /socket.io/?EIO=4&transport=websocket&channel={channel} HTTP/1.1
Host: localhost
Upgrade: websocket
Connection: Upgrade
Sec-WebSocket-Version: 13
Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==

"""
_MASK = 1
"""Four times, as it has no zero byte: the client's frame is given to the load client in an argument."""


def _missing() -> str | None:
    installed = all(importlib.util.find_spec(name) for name in ("socketio", "websockets"))
    return None if installed else "python-socketio and websockets"


def _frame(text: bytes) -> bytes:
    """Returns a short WebSocket text frame of a client."""
    return bytes([0x81, 0x80 | len(text), *[_MASK] * 4, *(byte ^ _MASK for byte in text)])


@asynccontextmanager
async def _start(stack: Stack) -> AsyncIterator[Server]:
    port = free_port()
    log = stack.directory / "socketio.log"
    command = [sys.executable, "-m", "bench.peer.rooms", str(port)]
    async with process.started(command, stack.environment(), stack.directory, log) as child:
        process.pin(child.pid, 0)
        await until_open(port, child, log)
        async with Publisher.open(port) as publisher:

            def request(client: int, owns: bool) -> str:
                return _UPGRADE.format(channel=client if owns else "all").replace("\n", "\r\n")

            async def publish(channels: Sequence[int]) -> None:
                await publisher.post([(f"/publish/{'all' if channel == ALL else channel}", event()) for channel in channels])

            yield Server("Socket.IO", [child.pid], port, request, '40{"sid"', publish, '0{"sid"', _frame(b"40"))


SOCKETIO = Peer("Socket.IO", _start, _missing, "no tokens, nothing kept, no limit of what waits for a slow client", burst=10)
