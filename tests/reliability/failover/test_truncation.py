"""The log is truncated, or is another history's: another epoch begins, and nobody takes what is left for the whole of it."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway import wire
from gateway.bridge import life
from gateway.bridge.listener import Connection
from gateway.bridge.publisher import Publisher
from gateway.fanout.recent import Recent
from tests.gateway.fanout.manual import manual
from tests.reliability.failover.epoch import in_redis, reasons
from tests.support.gateway import bridge, until, web
from tests.support.ledger import Reader, reading
from tests.support.servers import Servers

TRUNCATIONS: dict[str, Callable[[Connection], Any]] = {
    "the log": lambda connection: connection.execute("truncate rowcast.log"),
    "the end of the log": lambda connection: connection.execute("delete from rowcast.log where position > 3"),
}


@pytest.mark.parametrize("what", TRUNCATIONS)
async def test_log_is_truncated(servers: Servers, what: str) -> None:
    """Where entries are gone that are to be kept, another epoch begins, and nobody is given a log with a hole for the whole of it."""
    async with manual(servers) as by_hand:
        await by_hand.change(5)
        epoch = by_hand.place.epoch
        await TRUNCATIONS[what](by_hand.connection)
    async with bridge(servers), web(servers) as gateway:
        await until(lambda: _began(servers, "the log was truncated", epoch))
        async with reading([reader := Reader(gateway, "bookings", 1, since=f"{epoch}-1")]):
            await _write_booking(servers)
            await until(lambda: reader.lines)
        assert reader.resets == ["epoch"]


async def _began(servers: Servers, reason: str, before: str) -> bool:
    return reason in await reasons(servers) and await in_redis(servers.redis_url) != before


async def _write_booking(servers: Servers) -> None:
    connection = await servers.connect()
    await connection.execute("update bookings set notes = 'after' where id = 1")
    await connection.close()


async def test_control_truncated_log_goes_on(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Went the epoch on, who comes back with an id from before would be told that it has everything."""

    async def no_look(*_: Any) -> None: ...

    async def nothing(*_: Any, **__: Any) -> None:
        return None

    monkeypatch.setattr(life, "check", no_look)
    monkeypatch.setattr(life, "look", no_look)
    monkeypatch.setattr(Recent, "read", nothing)
    async with manual(servers) as by_hand:
        await by_hand.change(5)
        epoch = by_hand.place.epoch
        await by_hand.connection.execute("truncate rowcast.log")
    async with bridge(servers), web(servers) as gateway:
        async with reading([reader := Reader(gateway, "bookings", 1, since=f"{epoch}-1")]):
            await _write_booking(servers)
            await until(lambda: reader.lines)
        assert (reader.resets, [line.position for line in reader.lines]) == ([], [6])


@pytest.mark.parametrize("forgets", [True, False])
async def test_nothing_goes_out_under_the_name_of_the_epoch_before(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, forgets: bool
) -> None:
    """What waits while another epoch begins is published as that one's; a bridge that kept what it knew of Redis would not do so."""
    if not forgets:
        monkeypatch.setattr(Publisher, "forget", lambda self: None)
    async with manual(servers) as by_hand:
        await by_hand.change(5)
        before = by_hand.place.epoch
        await by_hand.connection.execute("update rowcast.epoch set timeline = '0'")
        await life.check(by_hand.connection, by_hand.publisher)
        await by_hand.write(3)
        await by_hand.publisher.drain()
        epoch, position = await by_hand.redis.hmget(wire.META, "epoch", "position")
    assert int(position) == 8
    assert (epoch.decode() != before) is forgets
