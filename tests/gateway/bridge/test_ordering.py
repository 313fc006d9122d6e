"""P1 and P2: under hostile writers the log is complete and in order; the same judge finds the usual ways of reading an outbox wrong."""

import asyncio
import sys

import pytest

import sql
from tests.support.judge import Change, Committed, History, Verdict, judge
from tests.support.servers import Servers, fresh
from tests.support.writers import CHANGE, Background, change, connected, contend, read_log, sequencer_of

OUTBOX = "(select * from rowcast.outbox_0 union all select * from rowcast.outbox_1) o"
BY_ID = f"select o.id as outbox_id, {CHANGE} from {OUTBOX} where o.id > $2 and $1::text is not null order by o.id"
BY_HORIZON = f"""
select o.id as outbox_id, {CHANGE} from {OUTBOX}
where (o.txid, o.id) > ($1::text::xid8, $2::bigint) and o.txid < pg_snapshot_xmin(pg_current_snapshot())
order by o.txid, o.id"""


def sequencing(servers: Servers) -> Background:
    """A sequencer that steps until nothing is left."""

    async def sequence(stop: asyncio.Event) -> None:
        async with sequencer_of(servers) as sequencer:
            last = False
            while not last:
                last = stop.is_set()
                while await sequencer.step():
                    pass
                await asyncio.sleep(0.001)

    return sequence


def polling(servers: Servers, statement: str, log: list[tuple[int, Change]]) -> Background:
    """A reader that remembers the last row it saw, and asks for those after it."""

    async def poll(stop: asyncio.Event) -> None:
        txid, outbox_id, last = "0", 0, False
        async with connected(servers) as connection:
            while not last:
                last = stop.is_set()
                for row in await connection.fetch(statement, txid, outbox_id):
                    log.append((len(log) + 1, change(row)))
                    txid, outbox_id = str(row["txid"]), row["outbox_id"]
                await asyncio.sleep(0.005)

    return poll


def reclaiming(servers: Servers, truncated: list[bool]) -> Background:
    """Truncates lanes whenever it can, and notes each one."""

    async def reclaim(stop: asyncio.Event) -> None:
        async with sequencer_of(servers) as sequencer:
            while not stop.is_set():
                if await sequencer.reclaim():
                    truncated.append(True)
                await asyncio.sleep(0.002)

    return reclaim


@pytest.fixture(scope="module")
def battle(run_servers: Servers) -> dict[str, Verdict]:
    """One run of 22 writers, two sequencers, and two readers of the same outbox; what the judge says of each."""
    by_id: list[tuple[int, Change]] = []
    by_horizon: list[tuple[int, Change]] = []

    async def run(servers: Servers) -> dict[str, Verdict]:
        beside = [sequencing(servers), sequencing(servers), polling(servers, BY_ID, by_id), polling(servers, BY_HORIZON, by_horizon)]
        async with connected(servers) as admin:
            await admin.execute("create index on rowcast.outbox_0 (id); create index on rowcast.outbox_1 (id)")
            history = await contend(servers, beside, seconds=10, least=10_000)
            log = await read_log(admin)
            by_outbox_id = await admin.fetch(f"select {CHANGE} from rowcast.log order by outbox_id")
        sys.stdout.write(f"taken back: {dict(history.taken_back)}\n")
        logs = {
            "sequencer": log,
            "by id": by_id,
            "by horizon": by_horizon,
            "log by outbox id": [(number, change(row)) for number, row in enumerate(by_outbox_id, 1)],
        }
        return {name: judge(history, each) for name, each in logs.items()}

    with fresh(run_servers) as servers:
        verdicts = asyncio.run(run(servers))
    for name, verdict in verdicts.items():
        sys.stdout.write(f"{name}: {verdict}\n")
    return verdicts


def test_sequencer_is_complete_and_ordered(battle: dict[str, Verdict]) -> None:
    """Two sequencers at once lose, double, invent, misorder and scatter nothing."""
    verdict = battle["sequencer"]
    assert verdict.events >= 10_000
    assert verdict.right, verdict


def test_cursor_over_ids_loses(battle: dict[str, Verdict]) -> None:
    """A reader that asks for ids above the last one it saw never gets those that were committed late."""
    assert battle["by id"].lost > 0


def test_horizon_misorders(battle: dict[str, Verdict]) -> None:
    """A reader that waits for the oldest open transaction and sorts by transaction numbers misorders versions."""
    assert battle["by horizon"].lost == 0
    assert battle["by horizon"].misordered > 0


def test_ids_alone_scatter_transactions(battle: dict[str, Verdict]) -> None:
    """The same log sorted by outbox id alone keeps versions in order and tears transactions apart."""
    assert battle["log by outbox id"].misordered == 0
    assert battle["log by outbox id"].scattered > 0


HISTORY = History(
    [
        Committed(0, 1, [Change(1, "I", 1, 1)]),
        Committed(2, 3, [Change(2, "U", 1, 2), Change(2, "U", 2, 5)]),
        Committed(4, 5, [Change(3, "D", 1, 2)]),
    ]
)
RIGHT = list(enumerate((change for each in HISTORY.committed for change in each.changes), 1))


@pytest.mark.parametrize(
    ("fault", "log"),
    [
        ("lost", RIGHT[1:]),
        ("doubled", [*RIGHT, (5, RIGHT[3][1])]),
        ("invented", [*RIGHT, (5, Change(4, "U", 3, 1))]),
        ("gaps", [*RIGHT[:3], (5, RIGHT[3][1])]),
        ("misordered", [(5 - position, change) for position, change in RIGHT]),
        ("untimely", [(3, RIGHT[0][1]), (1, RIGHT[1][1]), (2, RIGHT[2][1]), RIGHT[3]]),
        ("scattered", [(2, RIGHT[0][1]), (1, RIGHT[1][1]), *RIGHT[2:]]),
    ],
)
def test_judge_sees_each_fault(fault: str, log: list[tuple[int, Change]]) -> None:
    """A right log is judged right, and with one fault in it the judge names that fault."""
    assert judge(HISTORY, RIGHT).right
    verdict = judge(HISTORY, log)
    assert getattr(verdict, fault) > 0
    assert not verdict.right


async def test_truncated_lanes_lose_nothing(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the same writers, lanes of 256 ids are truncated again and again, and the log is complete and in order."""
    monkeypatch.setattr(sql, "LANE_BITS", 8)
    truncated: list[bool] = []
    async with connected(servers) as admin:
        beside = [sequencing(servers), sequencing(servers), reclaiming(servers, truncated)]
        history = await contend(servers, beside, seconds=3, least=4000, haste=30)
        verdict = judge(history, await read_log(admin))
    sys.stdout.write(f"{len(truncated)} lanes truncated: {verdict}\n")
    assert len(truncated) >= 2
    assert verdict.right, verdict
