"""Rows of an epoch that Postgres has begun and no bridge has told of."""

from types import SimpleNamespace

import pytest

from gateway.fanout import catchup
from tests.gateway.fanout.manual import manual
from tests.support.gateway import until, web
from tests.support.servers import Servers

_MANY = 30


async def test_read_again_with_pauses(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are read again and again, with a pause before each that is one attempt further; the stream goes on once a bridge has told.

    The pauses asked for are taken as none here: without them the rows would be read at once, thirty times and more.
    """
    asked: list[tuple[int, float, float]] = []

    def pause(failures: int, base_seconds: float, most_seconds: float) -> float:
        asked.append((failures, base_seconds, most_seconds))
        return 0.0

    monkeypatch.setattr(catchup, "backoff", SimpleNamespace(pause=pause))
    async with manual(servers) as by_hand, web(servers) as gateway:
        await by_hand.change()
        await until(lambda: gateway.hub.roster.life == by_hand.place.life)
        await by_hand.connection.execute("select rowcast.begin_epoch('test', 0)")
        stream = await gateway.open("bookings?snapshot=1", 1)
        for _ in range(_MANY):
            await stream.until("snapshot")
        by_hand.sequencer._seen = by_hand.publisher._place = None
        await by_hand.publish()
        (subscriber,) = gateway.hub.roster.subscribers
        await until(lambda: subscriber.epoch == by_hand.place.epoch and not gateway.hub._catch_up.busy)
        # More may have been read than was looked at.
        assert len(asked) >= _MANY - 1
        assert asked == [(failures, 0.1, 5.0) for failures in range(1, len(asked) + 1)]
        await by_hand.change()
        assert (await stream.until("bookings")).data["type"] == "UPDATE"
        await stream.close()
