"""A proxy that has no port left towards the gateway: whoever comes is told when to come back, and the others notice nothing."""

import contextlib
import random
import socket
from contextlib import AsyncExitStack
from pathlib import Path

from tests.support.behind import behind, change, heard, sample
from tests.support.curl import listening
from tests.support.gateway import until
from tests.support.servers import Servers

_PORTS = 3
"""For each of the two servers that the configuration has."""
_OURS_FROM = 10_000


def _free_ports(count: int) -> int:
    """Returns the first of so many ports in a row that nobody has, below those that the kernel gives to whoever asks for any."""
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        first = random.randrange(_OURS_FROM, lowest - count)
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


def _few_ports() -> dict[str, str]:
    """Changes the configuration so that streams have few ports."""
    first = _free_ports(2 * _PORTS)
    return {
        f"track rowcast/{name}": f"track rowcast/{name} source 127.0.0.1:{start}-{start + _PORTS - 1}"
        for name, start in (("first", first), ("second", first + _PORTS))
    }


async def test_no_ports_are_left(servers: Servers, tmp_path: Path) -> None:
    """Who comes is told to come back; who is there goes on; once somebody has left there is room again."""
    async with behind(servers, "haproxy", tmp_path, _few_ports()) as (web, each), AsyncExitStack() as stack:
        answers = [await stack.enter_async_context(listening(each)) for _ in range(2 * _PORTS)]
        for answer in answers:
            assert (await answer.stream.next()).name == "ready"
        async with listening(each) as refused:
            told = await refused.stream.next()
            assert (told.name, told.data["reason"]) == ("reconnect", "unavailable")
        assert sample(web, "rowcast_connections") == 2 * _PORTS
        await change(servers, "still here")
        for answer in answers:
            assert await heard(answer) == ["still here"]
        await answers[0].close()
        await until(lambda: sample(web, "rowcast_connections") == 2 * _PORTS - 1)
        async with listening(each) as newcomer:
            assert (await newcomer.stream.next()).name == "ready"


async def test_control_ports_enough(servers: Servers, tmp_path: Path) -> None:
    """As the docs have it, one more is nobody's trouble: it was the ports."""
    async with behind(servers, "haproxy", tmp_path) as (_, each), AsyncExitStack() as stack:
        for _ in range(2 * _PORTS + 1):
            answer = await stack.enter_async_context(listening(each))
            assert (await answer.stream.next()).name == "ready"
