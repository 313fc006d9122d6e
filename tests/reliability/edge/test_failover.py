"""Redis fails over, or is there twice: what was acknowledged comes, once, in order, whoever is connected to which."""

import pytest

from gateway import wire
from gateway.bridge import publisher as publishers
from gateway.embedded import ValkeyServer
from gateway.fanout import tail as tails
from gateway.fanout.page import Head
from gateway.fanout.repair import Repair
from tests.gateway.fanout.manual import manual
from tests.gateway.fanout.traffic import go_on, written
from tests.reliability.edge.load import Load, believe_redis, check, go_on_regardless, loaded, redis_at, staying
from tests.support.gateway import bridge, until, web
from tests.support.ledger import Reader, reading
from tests.support.proxy import proxied
from tests.support.servers import Servers

Pair = tuple[ValkeyServer, ValkeyServer]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test does not wait for seconds of patience."""
    monkeypatch.setattr(tails, "SILENCE_SECONDS", 0.6)
    monkeypatch.setattr(publishers, "BEAT_SECONDS", 0.1)


async def _follow(replica: ValkeyServer, primary: ValkeyServer, port: int) -> None:
    """Makes one a replica of the other, over a port, and waits until it has what the other has."""
    async with redis_at(replica.url) as redis, redis_at(primary.url) as other:
        # Else it waits whether others come too.
        await other.config_set("repl-diskless-sync-delay", 0)
        await redis.config_set("masterauth", primary.password)
        await redis.replicaof("127.0.0.1", port)

        async def there() -> bool:
            return bool((await redis.info("replication"))["master_link_status"] == "up")

        await until(there)


async def _promote(replica: ValkeyServer, behind: ValkeyServer | None) -> None:
    """Makes a replica a primary; it lacks what the other has, or the test is wrong."""
    async with redis_at(replica.url) as redis:
        await redis.replicaof("NO", "ONE")
        if behind is not None:
            async with redis_at(behind.url) as other:
                assert int(await redis.hget(wire.META, "position")) < int(await other.hget(wire.META, "position"))


async def _fail_over(servers: Servers, old_and_new: Pair, within: float = 20) -> Load:
    """Promotes a replica that lacks the last appends, under load; everybody is sent there."""
    old, new = old_and_new
    async with proxied(old.url) as way, proxied(old.url) as link:
        own = Servers(servers.database_url, way.url(old.url))
        async with bridge(own), web(own) as gateway, loaded(servers, staying(gateway), within) as load:
            await _follow(new, old, link.port)
            link.blackhole()
            await written(servers)
            await _promote(new, behind=old)
            way.target_port = new.port
            way.cut()
            await go_on(load.readers)
    return load


async def test_replica_that_lacks_the_last_appends(servers: Servers, old_and_new: Pair) -> None:
    """What only the old primary had is appended again, those who have it get it once, and Redis has each position once."""
    load = await _fail_over(servers, old_and_new)
    assert load.faults == []
    assert load.statuses == {("fresh",)}
    assert load.resets == []
    await check(servers, old_and_new[1].url)


async def test_control_nobody_looks_where_redis_is(servers: Servers, old_and_new: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Went the bridge on where it was, Redis would lack what it lacked, and the check sees it."""
    go_on_regardless(monkeypatch)
    await _fail_over(servers, old_and_new, within=3)
    with pytest.raises(AssertionError, match="Redis has"):
        await check(servers, old_and_new[1].url)


async def _split(servers: Servers, old_and_new: Pair, within: float = 20, starving: bool = False) -> Load:
    """Lets half of the web processes stay on the old primary, which still accepts, while the bridge and the others have gone."""
    old, new = old_and_new
    async with proxied(old.url) as way:
        stays, goes = Servers(servers.database_url, old.url), Servers(servers.database_url, way.url(old.url))
        async with bridge(goes), web(stays) as left, web(goes) as right:
            there, here = staying(left), staying(right)
            async with loaded(servers, [*there, *here], within) as load:
                await _follow(new, old, old.port)
                await _promote(new, behind=None)
                way.target_port = new.port
                way.cut()
                await go_on(here)
                if starving:
                    return load
                await go_on(there)
                # A bridge that still believes in the old one can append nothing but the same.
                async with manual(stays) as late:
                    await late.publish()
                    await go_on(there)
                    await go_on(here)
    return load


async def test_two_primaries(servers: Servers, old_and_new: Pair) -> None:
    """Who is left on the old primary gets everything too, from Postgres; and whoever appends there appends the same."""
    load = await _split(servers, old_and_new)
    assert load.faults == []
    assert load.statuses == {("fresh",)}
    assert load.resets == []
    for server in old_and_new:
        await check(servers, server.url)


async def test_control_redis_is_believed(servers: Servers, old_and_new: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were only Redis asked where the log is, who is on the old primary would starve, and the check sees it."""
    believe_redis(monkeypatch)
    load = await _split(servers, old_and_new, within=3, starving=True)
    assert any("missing" in fault for fault in load.faults)


async def _an_epoch_that_is_over(servers: Servers) -> list[str]:
    """Brings Redis back to the epoch before, which Postgres knows to be over; returns the resets that a reader was told."""
    async with manual(servers) as by_hand, web(servers) as gateway, reading([reader := Reader(gateway, "bookings", 1)]):
        await by_hand.change(3)
        before = await by_hand.keys()
        await by_hand.connection.execute("select rowcast.begin_epoch('test', 10)")
        by_hand.sequencer._seen = by_hand.publisher._place = None
        await by_hand.change(2)
        await until(lambda: reader.resets)
        tail = gateway.hub.tail
        await by_hand.fail_over(before)
        await by_hand.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda: not tail.connected)
        await until(lambda: tail.connected)
        by_hand.publisher._place = None
        await by_hand.change()
        await until(lambda: reader.last_id and reader.last_id.endswith("-13"))
    return reader.resets


async def test_replica_of_an_epoch_that_is_over(servers: Servers) -> None:
    """A replica that was so far behind takes nobody back into an epoch that Postgres knows to be over."""
    assert await _an_epoch_that_is_over(servers) == ["epoch"]


async def test_control_redis_is_believed_about_epochs(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were Redis believed, clients would be told to begin anew, and anew again."""

    async def believing(self: Repair) -> Head:
        return await self._backlog.head()

    monkeypatch.setattr(Repair, "_head", believing)
    assert len(await _an_epoch_that_is_over(servers)) > 1
