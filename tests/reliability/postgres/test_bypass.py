"""What passes the triggers by, and how it is found out."""

import pytest

from gateway.doctor import examine
from gateway.migrator import Plan, migrate
from streams.catalog import load
from tests.sql.published import Published, declare, publishing
from tests.support.gateway import settings
from tests.support.servers import MAX_BYTES, Servers

THINGS = declare("public.things", "id body", name="things")
CREATE = "create table public.things (id bigint primary key, body text)"
BYPASSES = {
    "all disabled, as pg_restore does": (
        "public.services",
        "alter table services disable trigger all",
        "update services set price = price + 1",
    ),
    "session_replication_role": ("public.services", "", "set session_replication_role = replica; update services set price = price + 1"),
    "trigger dropped": ("public.services", 'drop trigger "00_rowcast_capture" on services', "update services set price = price + 1"),
    "trigger demoted": (
        "public.services",
        'alter table services enable trigger "00_rowcast_capture"',
        "set session_replication_role = replica; update services set price = price + 1",
    ),
    "TRUNCATE's trigger dropped": ("public.services", 'drop trigger "00_rowcast_truncate" on services', "truncate services cascade"),
}


async def _found(servers: Servers, relation: str) -> bool:
    (finding,) = [each async for each in examine(settings(servers)) if each.what == f"trigger on {relation}"]
    return not finding.well


async def _captured(published: Published, statement: str) -> bool:
    await published.execute(statement, "reset session_replication_role")
    return any(change.new_channels and "services-changes" in change.new_channels for change in await published.changes())


@pytest.mark.parametrize("bypass", BYPASSES)
async def test_what_is_not_captured_is_found(servers: Servers, bypass: str) -> None:
    """What makes changes pass our triggers by is found by the doctor and mended by a migration; what is captured all the same is not."""
    relation, damage, statement = BYPASSES[bypass]
    async with publishing(servers, "") as published:
        await published.execute(*([damage] if damage else []))
        assert await _found(servers, relation) is bool(damage)
        assert await _captured(published, statement) is not bool(damage)
        await migrate(published.connection, Plan(load("streams"), "armed", MAX_BYTES))
        assert not await _found(servers, relation)
        await published.execute("insert into services (name, category, price) values ('another', 'repairs', 1)")
        await published.changes()
        assert await _captured(published, statement)
