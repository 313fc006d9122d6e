"""Rowcast's web process, fed through Redis as by its bridge: each client with a token of its own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from bench import own, process
from bench.feeder import Feeder
from bench.peer import ALL, Peer, Server, event, get
from bench.stack import Stack

READY = "event: ready"


@asynccontextmanager
async def fed(stack: Stack) -> AsyncIterator[Feeder]:
    """Yields what feeds Redis, where a bridge has begun a log; empties Redis at the end."""
    async with stack.bridge("never"):
        pass
    try:
        async with Feeder.running(stack.redis) as feeder:
            yield feeder
    finally:
        await stack.redis.flushall()


@asynccontextmanager
async def served(stack: Stack, feeder: Feeder, name: str = "Rowcast", module: str = "gateway") -> AsyncIterator[Server]:
    """Starts a web process, on the first core."""

    def request(client: int, owns: bool) -> str:
        streams = f"{own.booking.name},{own.own.name}" if owns else own.booking.name
        return get(f"/streams/{streams}", Authorization=f"Bearer {stack.token(client)}")

    async def publish(channels: Sequence[int]) -> None:
        await feeder.feed(
            [
                (own.booking.name, own.booking.broadcast, event())
                if channel == ALL
                else (own.own.name, f"{own.own.broadcast}-{channel}", event())
                for channel in channels
            ]
        )

    async with stack.web(module, ROWCAST_STREAMS=own.__name__) as web:
        process.pin(web.pid, 0)
        yield Server(name, [web.pid], web.port, request, READY, publish)


@asynccontextmanager
async def _start(stack: Stack, name: str, module: str) -> AsyncIterator[Server]:
    async with fed(stack) as feeder, served(stack, feeder, name, module) as server:
        yield server


def _starter(name: str, module: str) -> Peer:
    def start(stack: Stack) -> AbstractAsyncContextManager[Server]:
        return _start(stack, name, module)

    return Peer(name, start, lambda: None)


ROWCAST = _starter("Rowcast", "gateway")
PLAIN = _starter("on sse-starlette", "bench.peer.plain")
