"""Two-phase commit: prepared transactions are captured when they commit, where the bell is off."""

from collections.abc import Iterator

import asyncpg
import pytest

from gateway import embedded
from tests.sql.published import declare, publishing
from tests.support.servers import FAST, Servers

CREATE = "create table public.things (id bigint primary key, body text)"
THINGS = declare("public.things", "id body", name="things")


@pytest.fixture(scope="module")
def two_phase(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """A Postgres of its own, because preparing is a setting of the server."""
    settings = FAST | {"max_prepared_transactions": "4"}
    with embedded.start(tmp_path_factory.mktemp("two-phase"), redis=False, settings=settings) as servers:
        assert servers.database_url
        yield Servers(servers.database_url, "")


async def test_prepared_transactions(two_phase: Servers) -> None:
    """With ROWCAST_NOTIFY=never a transaction can be prepared; it is captured if and when it commits, behind what committed before."""
    async with publishing(two_phase, CREATE, THINGS, notify="never") as published:
        await published.execute(
            "begin; insert into things values (1, 'prepared'); prepare transaction 'one'",
            "begin; insert into things values (2, 'forgotten'); prepare transaction 'two'",
            "insert into things values (3, 'meanwhile')",
        )
        assert await published.records() == [("INSERT", {"id": 3, "body": "meanwhile"})]
        await published.execute("commit prepared 'one'", "rollback prepared 'two'")
        assert await published.records() == [("INSERT", {"id": 1, "body": "prepared"})]


async def test_prepared_transactions_negative_control(two_phase: Servers) -> None:
    """With a bell that always rings Postgres refuses to prepare: it is the bell that stands in the way, and `never` that takes it away."""
    async with publishing(
        two_phase, CREATE.replace("things", "others"), declare("public.others", "id body", name="others"), notify="always"
    ) as published:
        with pytest.raises(asyncpg.FeatureNotSupportedError, match="NOTIFY"):
            await published.execute("begin; insert into others values (1, 'x'); prepare transaction 'three'")
        await published.execute("rollback")
