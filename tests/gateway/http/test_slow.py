"""Readers that do not take what comes: how much they are left before they are sent to the log."""

import pytest

from tests.gateway.http.raw import HANDED_OVER, reading_nothing, serving
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
    async with serving(module_servers) as (bridge, web), reading_nothing(web):
        await bridge.change(_SHORT // _EVENT_BYTES)
        await until(lambda: web.hub.roster.position == bridge.place.position)
        assert web.sample("rowcast_catch_ups_total") == 0
        await bridge.change(_LONG // _EVENT_BYTES)
        await until(lambda: web.hub.roster.position == bridge.place.position)
        assert web.sample("rowcast_catch_ups_total") == 1
