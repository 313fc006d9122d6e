"""Rows of an epoch that Postgres has begun and no bridge has told of."""

import asyncio

import pytest

from gateway.fanout import catchup
from tests.gateway.fanout.manual import manual
from tests.support.gateway import until, web
from tests.support.servers import Servers

_MANY = 30


async def _snapshots(servers: Servers, enough: int, within: float) -> tuple[int, list[str]]:
    """Opens a stream with its rows while no bridge tells of the epoch, until so many snapshots were read, or for so many seconds.

    Returns how many were read until then, and what comes at the end, when a bridge has told of it.
    """
    async with manual(servers) as by_hand, web(servers) as gateway:
        await by_hand.change()
        await until(lambda: gateway.hub.roster.life == by_hand.place.life)
        await by_hand.connection.execute("select rowcast.begin_epoch('test', 0)")
        stream = await gateway.open("bookings?snapshot=1", 1)
        read = 0
        try:
            async with asyncio.timeout(within):
                while read < enough:
                    read += (await stream.next()).name == "snapshot"
        except TimeoutError:
            pass
        by_hand.sequencer._seen = by_hand.publisher._place = None
        await by_hand.publish()
        (subscriber,) = gateway.hub.roster.subscribers
        await until(lambda: subscriber.epoch == by_hand.place.epoch and not gateway.hub._catch_up.busy)
        await by_hand.change()
        said = [(await stream.until("bookings")).data["type"]]
        await stream.close()
    return read, said


async def test_read_again_with_pauses(servers: Servers) -> None:
    """They are read again, with longer and longer pauses, and once a bridge has told of the epoch the stream goes on."""
    read, said = await _snapshots(servers, _MANY, within=2)
    assert 1 <= read < _MANY
    assert said == ["UPDATE"]


async def test_control_without_pauses(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were they read again at once, they would be read without end."""
    monkeypatch.setattr(catchup, "_AGAIN_MOST_SECONDS", 0.0)
    assert (await _snapshots(servers, _MANY, within=60))[0] == _MANY
