"""The demo's traffic: gentle, all over the examples, and every second change for whoever pastes the first curl."""

import itertools

from gateway import demo
from tests.support.servers import Servers

ROUND = 24
"""Changes until every statement has had its turn."""


async def test_traffic(servers: Servers) -> None:
    """Each table that has a stream changes by itself, one row a statement, and half of the statements are of customer 1's bookings."""
    connection = await servers.connect()
    changed = dict.fromkeys(("bookings", "services", "properties", "payments", "availability"), 0)
    try:
        before = await connection.fetchval("select max(id) from notifications")
        mine = 0
        for statement, arguments in itertools.islice(demo.changes(), 2 * ROUND):
            tag = await connection.execute(statement, *arguments)
            assert tag in ("UPDATE 1", "UPDATE 0", "DELETE 0")
            mine += arguments[1:] == (1,)
            if tag == "UPDATE 1":
                changed[statement.split()[1]] += 1
        assert mine == ROUND
        assert min(changed.values()) > 0
        assert await connection.fetchval("select count(*) from notifications where id > $1 and user_id = 1", before) > 0
        assert await connection.fetchval("select count(*) from property_alerts") > 0
    finally:
        connection.terminate()


async def test_tidied(servers: Servers) -> None:
    """What the triggers of the examples have written is deleted after an hour, and what is newer stays."""
    connection = await servers.connect()
    try:
        await connection.execute("update properties set price = price + 1000")
        alerts = await connection.fetchval("select count(*) from property_alerts")
        for table in ("notifications", "property_alerts"):
            await connection.execute(f"update {table} set created_at = now() - interval '2 hours' where id = 2")
        for statement, arguments in itertools.islice(demo.changes(), ROUND):
            if "delete" in statement:
                assert await connection.execute(statement, *arguments) == "DELETE 1"
        assert await connection.fetchval("select count(*) from property_alerts") == alerts - 1
        assert await connection.fetchval("select count(*) from notifications where id = 2") == 0
    finally:
        connection.terminate()
