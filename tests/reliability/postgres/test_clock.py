"""Clocks that differ by minutes, and jump: nothing that is promised goes by them, but tokens."""

import random
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest

from gateway import wire
from gateway.bridge import retention
from gateway.bridge.publisher import _script
from tests.gateway.bridge.test_ordering import sequencing
from tests.gateway.fanout.manual import manual
from tests.gateway.fanout.traffic import RESTLESS, writing
from tests.reliability.postgres.network import captured
from tests.support import skewed
from tests.support.cluster import Doors
from tests.support.gateway import until, web
from tests.support.judge import judge
from tests.support.ledger import Reader, agreed, reading
from tests.support.process import environment, free_port, started, wait_ready
from tests.support.servers import Servers
from tests.support.writers import CHANGE, change, connected, contend, read_log

MINUTES = 60.0
TWO_HOURS = 120 * MINUTES


class Clocks:
    """The clocks of some processes, each wrong in its own way."""

    def __init__(self, directory: Path, *names: str) -> None:
        self._files = [directory / f"{name}.clock" for name in names]
        self.set(*(0.0 for _ in names))

    def set(self, *offsets: float) -> None:
        for file, offset in zip(self._files, offsets, strict=True):
            # Whole or not at all: somebody may be reading.
            whole = file.with_suffix(".new")
            whole.write_text(str(offset))
            whole.rename(file)

    def jump(self, chance: random.Random) -> None:
        """Sets each to something between ten minutes slow and ten minutes fast."""
        self.set(*(chance.uniform(-10, 10) * MINUTES for _ in self._files))


@pytest.mark.long
async def test_clocks_jump(servers: Servers, tmp_path: Path, chance: random.Random) -> None:
    """Clocks of bridges and web processes jump by up to twenty minutes while clients come and go among them: nothing is lost or reset."""
    names = ("bridge-1", "bridge-2", "web-1", "web-2")
    clocks = Clocks(tmp_path, *names)
    clocks.jump(chance)
    with ExitStack() as stack:
        ports = []
        for name in names:
            port = free_port()
            env = environment(servers, HOST="127.0.0.1", PORT=str(port))
            stack.enter_context(started(skewed.command(tmp_path / f"{name}.clock", name[:-2]), env, tmp_path / f"{name}.log"))
            if name.startswith("web"):
                wait_ready(f"http://127.0.0.1:{port}", path="/livez")
                ports.append(port)
        doors = Doors(ports)
        readers = [Reader(doors, "bookings", user, RESTLESS) for user in range(1, 5)]
        readers += [Reader(doors, "provider-bookings", 9), Reader(doors, "bookings,services", 2), Reader(doors, "services", 1)]
        async with reading(readers):
            async with writing(servers, writers=2) as traffic:
                for _ in range(8):
                    await captured(servers, 40)
                    clocks.jump(chance)
            ledger, faults = await agreed(servers, readers, within=30)
        assert faults == []
        assert traffic.faults(ledger) == []
        assert not any(reader.resets for reader in readers)
        await ledger.check_redis(servers)


async def test_control_clock_is_wrong(servers: Servers, tmp_path: Path) -> None:
    """The clocks of those processes are wrong: a web process that is two hours ahead ends the streams of tokens that are good for one."""
    clocks, port = Clocks(tmp_path, "web"), free_port()
    env = environment(servers, HOST="127.0.0.1", PORT=str(port))
    with started(skewed.command(tmp_path / "web.clock", "web"), env, tmp_path / "web.log"):
        wait_ready(f"http://127.0.0.1:{port}", path="/livez")
        stream = await Doors([port]).open("services", 1, "customer", None)
        assert (await stream.next()).name == "ready"
        clocks.set(TWO_HOURS)
        assert (await stream.until("closed")).data["reason"] == "expired"
        await stream.close()
        with pytest.raises(AssertionError):
            await Doors([port]).open("services", 1, "customer", None)


JUMPY = """
    create function public.jumpy() returns trigger language plpgsql as $$ begin
        new.captured_at := new.captured_at + (random() - 0.5) * interval '20 minutes'; return new; end $$;
    create trigger jumpy before insert on rowcast.outbox_0 for each row execute function public.jumpy();
    create trigger jumpy before insert on rowcast.outbox_1 for each row execute function public.jumpy();"""


async def test_clock_of_postgres_jumps(servers: Servers) -> None:
    """With every change captured at another time than it was, the log is complete and in order; sorted by those times it would not be."""
    async with connected(servers) as admin:
        await admin.execute(JUMPY)
        history = await contend(servers, [sequencing(servers)], seconds=1, least=1000, writers=8, haste=30)
        verdict = judge(history, await read_log(admin))
        assert verdict.right, verdict
        by_time = await admin.fetch(f"select {CHANGE} from rowcast.log order by committed_at")
        assert judge(history, [(number, change(row)) for number, row in enumerate(by_time, 1)]).misordered > 0


@pytest.mark.parametrize("careful", [True, False])
async def test_clock_of_redis_is_set_back(servers: Servers, careful: bool) -> None:
    """After Redis' clock was set back an hour, a channel's log that expires is known to be gone; with a mark of before it would not be."""
    async with manual(servers) as by_hand:
        if not careful:
            text = _script("beat.lua")
            assert " or now < tonumber(meta[5])" in text
            by_hand.publisher._beat = by_hand.redis.register_script(text.replace(" or now < tonumber(meta[5])", ""))
        await by_hand.change(3)
        await by_hand.redis.hincrby(wire.META, "marked_at", 3600)
        # As time goes by: Redis is at work for another reason, and the log of a channel that is silent expires.
        for _ in range(3):
            await by_hand.change(booking=2)
            await by_hand.redis.hincrby(wire.META, "marked_at", -wire.MARK_SECONDS)
        await by_hand.change(booking=2)
        place = by_hand.place
        assert await by_hand.redis.delete(wire.log_prefix(place.epoch, place.life) + "bookings-changes-1")
        async with web(servers) as gateway, reading([reader := Reader(gateway, "bookings", 1, since=f"{place.epoch}-1")]):
            await until(lambda: reader.statuses)
            # What comes now comes after what was missed.
            await by_hand.change(booking=1)
            await until(lambda: reader.lines and reader.lines[-1].position == 8)
            _, faults = await agreed(servers, [reader])
        positions = [line.position for line in reader.lines]
    assert positions == ([2, 3, 8] if careful else [8])
    assert bool(faults) is not careful


OF_BEFORE = ("min(later.opened_at)", "min(later.opened_at) filter (where later.segment = s.segment + 1)")
"""Each segment by the one behind it alone."""


@pytest.mark.parametrize("careful", [True, False])
async def test_clock_was_ahead(servers: Servers, careful: bool) -> None:
    """A segment that was opened while the clock was a year ahead goes after those before it; each judged by itself, they leave a hole."""
    async with manual(servers) as by_hand:
        admin = by_hand.connection
        if not careful:
            text = await admin.fetchval("select pg_get_functiondef('rowcast.drop_segments(interval)'::regprocedure)")
            assert OF_BEFORE[0] in text
            await admin.execute(text.replace(*OF_BEFORE))
        for opened in ("2 days", "-1 year", "2 days"):
            await by_hand.change(2)
            await admin.execute("select rowcast.open_segment()")
            newest = "segment = (select max(segment) from rowcast.segment)"
            await admin.execute(f"update rowcast.segment set opened_at = now() - interval '{opened}' where {newest}")
        await by_hand.change(2)
        await admin.execute("select rowcast.drop_segments('1 day')")
        epoch = by_hand.place.epoch
        await by_hand.redis.flushall()
        async with web(servers) as gateway, reading([reader := Reader(gateway, "bookings", 1, since=f"{epoch}-2")]):
            await until(lambda: reader.resets or len(reader.lines) == 4)
        left = [row["segment"] for row in await admin.fetch("select segment from rowcast.segment order by segment")]
    found = (left, reader.resets, [line.position for line in reader.lines])
    # Two of each segment; those of the third are the hole.
    assert found == (([4], ["retention"], []) if careful else ([2, 4], [], [3, 4, 7, 8]))


async def test_clock_was_set_back(servers: Servers) -> None:
    """A segment "of next year" is followed by another one when the bridge has known it for an eighth of the retention, and not before."""
    watch = retention.Watch()
    async with manual(servers) as by_hand:

        async def segments() -> int:
            await by_hand.change()
            await by_hand.connection.execute("update rowcast.segment set opened_at = now() + interval '1 year'")
            await retention.tidy(by_hand.connection, timedelta(days=1), watch)
            count: int = await by_hand.connection.fetchval("select count(*) from rowcast.segment")
            return count

        for hours, expected in ((0, 1), (2, 1), (1, 2), (0, 2), (2, 2), (1, 3)):
            watch._since -= hours * 3600
            assert await segments() == expected
