"""Readers that do not take what comes: how much they are left before they are sent to the log."""

import asyncio
import socket

import pytest

from tests.gateway.http.raw import HANDED_OVER, get, serving
from tests.support.gateway import until
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.uvicorn]

_EVENT_BYTES = 500
"""Of an event of bookings, at least."""
_SHORT = 200_000
_LONG = 3_000_000


@HANDED_OVER
async def test_a_burst_makes_nobody_slow(module_servers: Servers) -> None:
    """200 kB that come at once find room, though the client does not read for the moment; three megabytes do not.

    With less room a reader of everything, which is behind for a moment after each burst, is sent to the log again and again.
    """
    async with serving(module_servers) as (bridge, web):
        with socket.socket() as narrow:
            narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            narrow.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(narrow, (web.host, web.port))
            await loop.sock_sendall(narrow, get())
            await until(lambda: len(web.hub.roster.subscribers) == 1)
            await bridge.change(_SHORT // _EVENT_BYTES)
            await until(lambda: web.hub.roster.position == bridge.place.position)
            assert web.sample("rowcast_catch_ups_total") == 0
            await bridge.change(_LONG // _EVENT_BYTES)
            await until(lambda: web.hub.roster.position == bridge.place.position)
            assert web.sample("rowcast_catch_ups_total") == 1
