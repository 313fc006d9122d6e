"""What we rely on in a storm: that uvloop accepts connections one by one, so those who are live have their turn in between."""

import asyncio
import socket
from contextlib import ExitStack

import uvloop

_CLIENTS = 100


async def _most_in_a_turn(listening: socket.socket) -> int:
    """Lets all in who wait, and returns how many came in one turn of the loop at most."""
    came: list[asyncio.BaseTransport] = []
    all_gone = asyncio.Event()

    class Kept(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            came.append(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            came.pop()
            if not came:
                all_gone.set()

    server = await asyncio.get_running_loop().create_server(Kept, sock=listening)
    most = before = 0
    async with asyncio.timeout(20):
        while before < _CLIENTS:
            await asyncio.sleep(0)
            most, before = max(most, len(came) - before), len(came)
    server.close()
    for transport in came:
        transport.close()
    await all_gone.wait()
    return most


def _waiting(stack: ExitStack) -> socket.socket:
    """Returns a socket on which a hundred connections wait to be accepted."""
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=_CLIENTS))
    for _ in range(_CLIENTS):
        stack.enter_context(socket.create_connection(listening.getsockname()))
    return listening


def test_a_storm_is_accepted_one_by_one() -> None:
    """A hundred that wait come in over many turns of the loop: requests of a storm are authorised as they are accepted."""
    with ExitStack() as stack:
        assert uvloop.run(_most_in_a_turn(_waiting(stack))) <= 2


def test_control_the_loop_of_the_standard_library() -> None:
    """The standard library's loop lets all in at once."""
    with ExitStack() as stack:
        assert asyncio.run(_most_in_a_turn(_waiting(stack))) == _CLIENTS
