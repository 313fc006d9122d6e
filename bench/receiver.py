"""The client's side, a process of its own: opens streams, reads them off the socket, and says what arrived when.

Reads one line of JSON from stdin: port, path, token, clients, each (whether every arrival is wanted), numbered (the column that has
a change's number). Says `{"ready": n}`, then
four times a second how far it is, and when stdin ends, what arrived. Times are of the monotonic clock, which all processes share.
"""

import asyncio
import sys
import time
from datetime import datetime
from functools import partial
from typing import Any

import orjson
import uvloop

_SAY_SECONDS = 0.25


class Client(asyncio.Protocol):
    """One stream. Frames are counted, and only as much is read of them as is wanted."""

    def __init__(self, number: int, request: bytes, numbered: bytes | None) -> None:
        self._number = number
        self._request = request
        self._numbered = numbered
        self._text = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.events = 0
        self.position = 0
        self.delays: list[float] = []
        self.arrivals: list[tuple[int, int, float]] = []

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now, today = time.monotonic(), time.time()
        whole, mark, self._text = (self._text + data).rpartition(b"\n\n")
        if mark and not self.ready.done():
            _, mark, whole = whole.partition(b"\n\n")
            self.ready.set_result(None)
        if not mark:
            return
        frames = whole.split(b"\n\n")
        self.events += len(frames)
        last = frames[-1]
        self.position = int(_between(last, b"id: ", b"\n").split(b"-")[1])
        if captured := _between(last, b'"commit_timestamp":"', b'"'):
            self.delays.append(today - datetime.fromisoformat(captured.decode()).timestamp())
        if self._numbered is not None:
            self.arrivals += [(self._number, int(_between(frame, self._numbered, b'"') or -1), now) for frame in frames]

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ready.done():
            self.ready.set_exception(ConnectionError("the stream ended before it was ready"))


def _between(frame: bytes, before: bytes, after: bytes) -> bytes:
    return frame.partition(before)[2].partition(after)[0]


async def _run(config: dict[str, Any], stdin: asyncio.StreamReader) -> None:
    request = f"GET {config['path']} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {config['token']}\r\n\r\n".encode()
    numbered = f'"{config["numbered"]}":"'.encode() if config["each"] else None
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for number in range(config["clients"]):
        _, client = await loop.create_connection(partial(Client, number, request, numbered), "127.0.0.1", config["port"])
        clients.append(client)
    await asyncio.gather(*(client.ready for client in clients))
    _say({"ready": len(clients)})
    end = asyncio.ensure_future(stdin.read())
    while not end.done():
        await asyncio.wait({end}, timeout=_SAY_SECONDS)
        delays = [delay for client in clients for delay in client.delays]
        for client in clients:
            client.delays.clear()
        _say(
            {
                "at": time.monotonic(),
                "events": sum(client.events for client in clients),
                "position": min(client.position for client in clients),
                "delay": sorted(delays)[len(delays) // 2] if delays else None,
            }
        )
    _say({"arrivals": [arrival for client in clients for arrival in client.arrivals]})


def _say(what: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


async def _main() -> None:
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    await _run(orjson.loads(await stdin.readline()), stdin)


if __name__ == "__main__":
    uvloop.run(_main())
