"""Mercure's hub, 0.21, its library in a short program (go/mercure): private topics, a token (HS256) for each subscriber.

Its local transport, no history, no log, no heartbeat; one thread of Go's, as it has one core; what limits a slow client is as it comes.
"""

import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from urllib.parse import urlencode

from auth.key import shared_secret
from auth.token import sign
from bench import process
from bench.peer import ALL, Peer, Server, event, get, golang
from bench.peer.publisher import Publisher, until_open
from bench.stack import Stack, free_port

_HUB = "/.well-known/mercure"


@asynccontextmanager
async def _start(stack: Stack) -> AsyncIterator[Server]:
    port = free_port()
    secret = secrets.token_urlsafe(32)
    key = shared_secret(secret)
    log = stack.directory / "mercure.log"

    def token(may: str, topic: str) -> str:
        return sign(key, {"sub": topic, "mercure": {may: [topic]}, "exp": int(time.time()) + 3600})

    environment = stack.environment(MERCURE_KEY=secret, GOMAXPROCS="1")
    async with process.started([str(golang.program("mercure")), str(port)], environment, stack.directory, log) as child:
        process.pin(child.pid, 0)
        await until_open(port, child, log)
        async with Publisher.open(port) as publisher:
            headers = {"Authorization": f"Bearer {token('publish', '*')}", "Content-Type": "application/x-www-form-urlencoded"}

            def request(client: int, owns: bool) -> str:
                topic = str(client) if owns else "all"
                return get(f"{_HUB}?topic={topic}", Authorization=f"Bearer {token('subscribe', topic)}")

            async def publish(channels: Sequence[int]) -> None:
                forms = (
                    {"topic": "all" if channel == ALL else channel, "type": "bench", "private": "on", "data": event()}
                    for channel in channels
                )
                await publisher.post([(_HUB, urlencode(form).encode()) for form in forms], headers)

            yield Server("Mercure", [child.pid], port, request, "text/event-stream", publish)


MERCURE = Peer("Mercure", _start, partial(golang.missing, "mercure"), "nothing kept for who comes back, one process")
