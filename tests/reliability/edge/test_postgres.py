"""A web process cannot reach Postgres: what is live goes on, who must wait is told so and keeps their place, who lost a right is out."""

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from gateway.fanout import archive as archives
from gateway.fanout.archive import Archive, ArchivePage, ArchiveUnavailable, Bounds
from gateway.fanout.recent import Recent
from tests.gateway.fanout.traffic import go_on
from tests.reliability.edge.load import loaded, staying
from tests.support import sse
from tests.support.access import revoke
from tests.support.gateway import bridge, token, web
from tests.support.ledger import Reader, agreed, reading
from tests.support.proxy import proxied
from tests.support.servers import Servers

REVOKED = 4


@pytest.fixture(autouse=True)
def replays_ask_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis has nothing for those who come back, and Postgres is waited for for a moment only."""

    async def nothing(*_: object, **__: object) -> None:
        return None

    monkeypatch.setattr(Recent, "read", nothing)
    monkeypatch.setattr(archives, "_TIMEOUT_SECONDS", 0.5)


async def _away(servers: Servers, silently: bool) -> tuple[list[str], list[str]]:
    """Lets clients come while Postgres is away; returns what those are told first, and what was wrong with what came to whom."""
    async with proxied(servers.database_url) as proxy:
        own = replace(servers, database_url=proxy.url(servers.database_url))
        async with bridge(servers), web(own) as gateway, AsyncExitStack() as stack, loaded(servers, staying(gateway)) as load:
            since = load.readers[0].last_id
            revoked = await gateway.open("bookings", REVOKED)
            await revoked.until("ready")
            if silently:
                proxy.blackhole()
            else:
                proxy.refuse = True
                proxy.cut()
            await go_on(load.readers)
            told = []
            for wanted in (since, "earliest"):
                async with gateway.stream("bookings", 1, since=wanted) as stream:
                    # An answer that is over is read already.
                    event = sse.parse(stream.body.removesuffix(b"\n\n"), first=True) if stream.body else await stream.next()
                    told.append(event.data.get("reason") or event.data["status"])
                    # Whoever is sent away comes back with the id that they have.
                    assert event.id == since or wanted == "earliest"
            await revoke(gateway, b'{"sub": "%d"}' % REVOKED)
            assert (await revoked.until("closed")).data == {"reason": "revoked"}
            revoked.abort()
            again = await gateway.request("/streams/bookings", {"Authorization": f"Bearer {token(REVOKED)}"})
            assert again.status == 401
            await go_on(load.readers)
            proxy.heal()
            back = Reader(gateway, "bookings", 1, since=since)
            # It reads until all is written, and is looked at with the others.
            await stack.enter_async_context(reading([back]))
            await go_on(load.readers)
            assert load.statuses == {("fresh",)}
            load.readers.append(back)
    assert back.statuses == ["resumed"]
    return told, load.faults


@pytest.mark.parametrize("silently", [False, True])
async def test_postgres_is_away(servers: Servers, silently: bool) -> None:
    """Open streams go on and are ended when they are revoked; who needs a replay is told to come back, and then gets all."""
    assert await _away(servers, silently) == (["unavailable", "unavailable"], [])


async def test_control_an_answer_without_postgres(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were nothing found where nobody can be asked, the client would miss what it has missed, and the check sees it."""
    read = Archive.read
    head = Bounds(1, 0, "", 0)

    async def hopeful(self: Archive, *args: Any) -> ArchivePage:
        nonlocal head
        try:
            page = await read(self, *args)
        except ArchiveUnavailable:
            return ArchivePage(head, (), head.head)
        head = page.bounds
        return page

    monkeypatch.setattr(Archive, "read", hopeful)
    async with proxied(servers.database_url) as proxy:
        own = replace(servers, database_url=proxy.url(servers.database_url))
        async with bridge(servers), web(own) as gateway, loaded(servers, staying(gateway), within=3) as load:
            since = load.readers[0].last_id
            await go_on(load.readers)
            async with reading([Reader(gateway, "bookings", 1, since=since)]):
                # Now it knows where the log is.
                await go_on(load.readers)
            proxy.refuse = True
            proxy.cut()
            async with reading([back := Reader(gateway, "bookings", 1, since=since)]):
                await go_on(load.readers)
                _, faults = await agreed(servers, [back], within=3)
    assert any("missing" in fault for fault in faults)
