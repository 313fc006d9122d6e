"""Two parts at a time, and what can happen between them: cut, swallowed, slow, answers lost. Under load each reader has exactly the log."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from gateway.fanout import archive as archives
from gateway.fanout.archive import Archive, ArchivePage
from gateway.fanout.frame import Cursor
from gateway.fanout.recent import Recent
from gateway.fanout.repair import Repair
from gateway.fanout.subscriber import Subscriber
from tests.reliability.edge.load import Strike, go_on_regardless, struck
from tests.support.proxy import Proxy
from tests.support.servers import Servers

Changes = Callable[[], Awaitable[None]]


async def cut(proxy: Proxy, changes: Changes) -> None:
    """Resets what is open, and refuses what comes."""
    proxy.refuse = True
    proxy.cut()
    await changes()
    proxy.heal()


async def swallow(proxy: Proxy, changes: Changes) -> None:
    """Takes everything and says nothing."""
    proxy.blackhole()
    await changes()
    proxy.heal()


async def slow(proxy: Proxy, changes: Changes) -> None:
    """Hands on what comes a while later."""
    proxy.delay_seconds = 0.03
    await changes()
    proxy.heal()


async def lose_answers(proxy: Proxy, changes: Changes) -> None:
    """Hands on what is asked, and never what is answered."""
    proxy.swallow_replies = True
    await changes()
    proxy.heal()


PAIRS = ("bridge and Redis", "web and Redis", "web and Postgres", "client and web")


def _reads_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets those who come back ask Postgres, and wait for it for a moment only."""

    async def nothing(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(Recent, "read", nothing)
    monkeypatch.setattr(archives, "_TIMEOUT_SECONDS", 1.0)


async def _exactly_the_log(servers: Servers, pair: str, strike: Strike, monkeypatch: pytest.MonkeyPatch, rounds: int) -> None:
    if pair == "web and Postgres":
        _reads_postgres(monkeypatch)
    load = await struck(servers, pair, strike, rounds)
    assert load.faults == []
    assert load.resets == []
    held = {tuple(reader.statuses) for reader in load.readers if reader._patience is None}
    # A client whose own connection broke comes back with its id; all others have noticed nothing.
    assert {status for statuses in held for status in statuses[:1]} == {"fresh"}
    assert {status for statuses in held for status in statuses[1:]} <= ({"resumed"} if pair == "client and web" else set())


@pytest.mark.parametrize("pair", PAIRS)
async def test_cut(servers: Servers, monkeypatch: pytest.MonkeyPatch, pair: str) -> None:
    """Whatever connections of a pair are reset, and refused for a while, each reader has exactly the log, and no reset."""
    await _exactly_the_log(servers, pair, cut, monkeypatch, 1)


@pytest.mark.long
@pytest.mark.parametrize("strike", [cut, swallow, slow, lose_answers])
@pytest.mark.parametrize("pair", PAIRS)
async def test_again_and_again(servers: Servers, monkeypatch: pytest.MonkeyPatch, pair: str, strike: Strike) -> None:
    """The same, several times, for whatever can happen between two parts."""
    await _exactly_the_log(servers, pair, strike, monkeypatch, 3)


def _forgets_what_it_missed(patch: pytest.MonkeyPatch) -> None:
    """Lets a web process that is connected to Redis again go on from the head."""
    repair = Repair.run

    async def forgetful(self: Repair) -> None:
        if not self._roster.epoch:
            await repair(self)
        self._roster.arrive(self._roster.channels.values(), (await self._backlog.head()).position)

    patch.setattr(Repair, "run", forgetful)


def _takes_a_part_for_all(patch: pytest.MonkeyPatch) -> None:
    """Lets whatever Postgres has answered pass for all that there is."""
    read = Archive.read

    async def short(self: Archive, channels: Any, after: int, limit: int) -> ArchivePage:
        page = await read(self, channels, after, 1)
        return replace(page, through=page.bounds.head)

    _reads_postgres(patch)
    patch.setattr(Archive, "read", short)


def _begins_one_later(patch: pytest.MonkeyPatch) -> None:
    """Lets those who come back begin one position further than they are."""
    start = Subscriber.start

    def later(self: Subscriber, cursor: Cursor) -> None:
        start(self, Cursor(cursor.epoch, cursor.position + 1))

    patch.setattr(Subscriber, "start", later)


CONTROLS = dict(zip(PAIRS, (go_on_regardless, _forgets_what_it_missed, _takes_a_part_for_all, _begins_one_later), strict=True))


@pytest.mark.parametrize("pair", PAIRS)
async def test_control(servers: Servers, monkeypatch: pytest.MonkeyPatch, pair: str) -> None:
    """With what protects a pair switched off, the same cut is seen: something is missing."""
    CONTROLS[pair](monkeypatch)
    # Somebody must come back while the pair is apart: of four times sometimes at none.
    load = await struck(servers, pair, cut, 12, within=3)
    assert any("missing" in fault for fault in load.faults)
