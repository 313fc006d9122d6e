"""The old primary lives on, or somebody still has its address: it takes nothing from the new one, and who was there finds that one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.bridge import life, publisher
from gateway.bridge.bridge import Bridge
from gateway.bridge.listener import connected, listening
from gateway.bridge.publisher import LeftBehind, Publisher, redis_client
from gateway.bridge.sequencer import Sequencer
from tests.gateway.fanout.traffic import audience, writing, written
from tests.reliability.failover import verdict
from tests.reliability.failover.epoch import in_redis, reasons
from tests.reliability.failover.pair import Pair, lose, write, writing_anew
from tests.support.gateway import bridge, until, web
from tests.support.ledger import Ledger, Reader, reading
from tests.support.servers import Servers


async def _followed(readers: list[Reader], epoch: str) -> None:
    """Waits until everybody is in another epoch."""
    await until(lambda: all(reader.last_id is not None and not reader.last_id.startswith(f"{epoch}-") for reader in readers), 60)


@asynccontextmanager
async def _split(both: Pair, patch: pytest.MonkeyPatch) -> AsyncIterator[tuple[list[Reader], list[Reader], list[str]]]:
    """The old primary lives on with a bridge, writers and a web process; the standby is promoted, and everybody else has gone there.

    Yields who is there, who has stayed, and the addresses of the bridges that were told that they are left behind.
    """
    told: list[str] = []
    lead = Bridge.lead

    async def watched(self: Bridge, *args: Any, **options: Any) -> None:
        try:
            await lead(self, *args, **options)
        except* LeftBehind:
            told.append(self._database_url)
            raise

    patch.setattr(Bridge, "lead", watched)
    async with (
        web(both.old) as left,
        web(both.servers) as gateway,
        reading(gone := audience(gateway)),
        bridge(both.old),
        writing(both.old, writers=1),
    ):
        await lose(both, gone)
        async with reading(stayed := [Reader(left, "bookings,services", user, (0.2, 1.0)) for user in (1, 2)]):
            await both.promote()
            async with bridge(both.servers):
                yield gone, stayed, told


@pytest.mark.long
async def test_old_primary_lives_on(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bridge on a primary that was left behind publishes nothing more, whoever still reads there gets no id with another content."""
    async with _split(both, monkeypatch) as (gone, stayed, told):
        async with writing_anew(both.servers, 1) as traffic:
            await until(lambda: len(told) > 2, 60)
            epoch = (await verdict.present(both.new)).epoch
            assert [await in_redis(both.redis_url) for _ in range(50)] == [epoch] * 50
            await written(both.new)
            await _followed(stayed, (await Ledger.read(both.old)).epoch)
        new = await verdict.settled(both.new, gone, 30)
        faults = [*verdict.faults(gone, await Ledger.read(both.old), new), *traffic.faults(new)]
        faults += [f"{id} has two contents" for id in verdict.twice([*gone, *stayed])]
    assert faults == []
    assert set(told) == {both.old.database_url}
    assert [reader.resets for reader in gone] == [["epoch"]] * len(gone)


@pytest.mark.long
async def test_control_bridge_that_is_not_told(both: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were timelines not compared, two bridges would take Redis from each other without end."""
    monkeypatch.setattr(publisher, "_SILENT_SECONDS", -1.0)
    async with _split(both, monkeypatch) as (_, _, told), writing(both.servers, writers=1):
        epochs: list[str] = []

        async def back_and_forth() -> bool:
            epoch = await in_redis(both.redis_url)
            epochs.extend([epoch] if epochs[-1:] != [epoch] else [])
            return len(epochs) > 5

        await until(back_and_forth, 60)
    assert told == []
    assert len(set(epochs)) == 2


async def test_connections_to_two_servers(both: Pair) -> None:
    """A bridge some of whose connections lead to the old primary still, and others to the new one, does not begin."""
    await both._ask(both.standby.url, "select pg_promote()")
    old, new = both.old.database_url, both.new.database_url
    async with (
        listening(new) as listener,
        Sequencer.open(old) as sequencer,
        connected(new, "publisher") as reader,
        connected(new, "retention") as keeper,
        redis_client(both.redis_url) as redis,
    ):
        before = await reasons(both.new)
        with pytest.raises(life.Scattered):
            await life.check(keeper, Publisher(reader, redis, 1000), sequencer.history, listener.history)
        assert await reasons(both.new) == before
        await life.check(keeper, Publisher(reader, redis, 1000), listener.history)
        assert await reasons(both.new) == [*before, "failover"]


def _both_hosts(both: Pair, first: int) -> str:
    """Returns an address of two hosts: one that leads to the first primary by some port, and the standby's."""
    return both.primary.url.replace(f":{both.primary.port}/", f":{first},127.0.0.1:{both.standby.port}/")


@pytest.mark.long
@pytest.mark.parametrize("silent", [False, True])
async def test_address_of_two_hosts(both: Pair, silent: bool) -> None:
    """An address of primary and standby leads to whichever is the primary, also when the other one says nothing any more."""
    servers = Servers(_both_hosts(both, both.way.port), both.redis_url)
    epoch = (await verdict.present(both.old)).epoch
    async with bridge(servers), web(servers) as gateway, reading(readers := audience(gateway)):
        await write(both.old, "before")
        await until(lambda: readers[-1].lines)
        await both.followed()
        if silent:
            both.way.blackhole()
        await both.kill()
        await both._ask(both.standby.url, "select pg_promote()")
        await _followed(readers, epoch)
        async with writing_anew(both.new, 1) as traffic:
            await written(both.new)
        new = await verdict.settled(both.new, readers, 30)
        assert [*(f"{id}" for id in verdict.twice(readers)), *traffic.faults(new)] == []
        assert [reader.lines for reader in readers] == [new.lines(r.channels, r.lives[-1].after) for r in readers]
    if silent:
        both.way.heal()


@pytest.mark.long
async def test_control_address_of_one_host(both: Pair) -> None:
    """With the old primary's address alone nothing arrives after the failover."""
    servers = Servers(both.servers.database_url, both.redis_url)
    async with bridge(servers), web(servers) as gateway, reading([reader := Reader(gateway, "services", 1)]):
        await write(both.old, "before")
        await until(lambda: reader.lines)
        await both.followed()
        await both.kill()
        await both._ask(both.standby.url, "select pg_promote()")
        await write(both.new, "after")
        with pytest.raises(TimeoutError):
            await until(lambda: any("after" in line.data for line in reader.lines), 3)
