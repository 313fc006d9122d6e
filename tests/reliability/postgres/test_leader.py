"""Two bridges at once: the leader stands still in the middle of its work, loses its lease, and goes on as if nothing had been."""

import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

import sql
from tests.gateway.fanout.traffic import audience, go_on, writing
from tests.reliability.postgres.network import beyond
from tests.support.gateway import until, web
from tests.support.ledger import agreed, reading
from tests.support.process import command, environment, started
from tests.support.servers import Servers
from tests.support.writers import connected

END_LEASE = """
    select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and classid::bigint = $1 and objid::bigint = $2
    and database = (select oid from pg_database where datname = current_database())"""


@pytest.mark.long
async def test_paused_leader_wakes(servers: Servers, tmp_path: Path) -> None:
    """The leader stands still, another takes over, and then both work: each position is given, published and delivered once."""
    logs = [tmp_path / f"{number}.log" for number in (1, 2)]

    def active() -> list[Path]:
        texts = {log: log.read_text() for log in logs}
        return [log for log, text in texts.items() if text.rfind("this bridge is active") > text.rfind("bridge starts again")]

    with ExitStack() as stack:
        processes = {log: stack.enter_context(started(command("bridge"), environment(servers), log)) for log in logs}
        async with web(servers) as gateway, reading(readers := audience(gateway)), connected(servers) as admin:
            async with writing(servers, writers=2) as traffic:
                await go_on(readers)
                for _ in range(3):
                    await until(lambda: len(active()) == 1)
                    leader = processes[active()[0]]
                    await go_on(readers)
                    leader.send_signal(signal.SIGSTOP)
                    try:
                        await admin.execute(END_LEASE, sql.LOCK_CLASS, sql.LEASE_LOCK)
                        await until(lambda: len(active()) == 2)
                        await beyond(servers, readers)
                    finally:
                        leader.send_signal(signal.SIGCONT)
                    await beyond(servers, readers)
            ledger, faults = await agreed(servers, readers)
            assert faults == []
            assert [(reader.statuses, reader.resets) for reader in readers] == [(["fresh"], [])] * len(readers)
            assert traffic.faults(ledger) == []
            await ledger.check_redis(servers)
