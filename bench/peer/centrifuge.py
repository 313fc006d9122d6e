"""Centrifuge, 0.38, the library that Centrifugo is made of, in a short program (go/centrifuge), with a token (HS256) for each subscriber.

It stands for Centrifugo, which is not to be had as a module, and whose own settings, metrics and `uni_sse` are not measured. Streams are
those of the library's handler, channels those that the token names; in memory, no history, no log, no pings; one thread of Go's.
"""

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import quote

import orjson

from auth.key import shared_secret
from auth.token import sign
from bench import process
from bench.peer import ALL, Peer, Server, event, get, golang
from bench.peer.publisher import Publisher, until_open
from bench.stack import Stack, free_port


@asynccontextmanager
async def _start(stack: Stack) -> AsyncIterator[Server]:
    port = free_port()
    secret = secrets.token_urlsafe(32)
    key = shared_secret(secret)
    log = stack.directory / "centrifuge.log"
    environment = stack.environment(CENTRIFUGE_KEY=secret, GOMAXPROCS="1")
    async with process.started([str(golang.program("centrifuge")), str(port)], environment, stack.directory, log) as child:
        process.pin(child.pid, 0)
        await until_open(port, child, log)
        async with Publisher.open(port) as publisher:

            def request(client: int, owns: bool) -> str:
                claims = {"sub": str(client), "channels": [str(client) if owns else "all"], "exp": int(time.time()) + 3600}
                command = orjson.dumps({"id": 1, "connect": {"token": sign(key, claims)}})
                return get(f"/connection/sse?cf_connect={quote(command)}")

            async def publish(channels: Sequence[int]) -> None:
                await publisher.post([(f"/publish/{'all' if channel == ALL else channel}", event()) for channel in channels])

            yield Server("Centrifuge", [child.pid], port, request, '"connect":{"client"', publish)


CENTRIFUGE = Peer("Centrifuge", _start, partial(golang.missing, "centrifuge"), "nothing kept for who comes back, one process")
