"""The spine: a committed row reaches a client, in order, once, and a broken connection resumes."""

import pytest

from tests.support.gateway import gateway, positions
from tests.support.servers import Servers

pytestmark = pytest.mark.usefixtures("way_out")


async def test_committed_row_arrives(servers: Servers) -> None:
    """An update of a customer's booking arrives on the customer's stream, as the contract shows it."""
    async with gateway(servers) as web, web.stream("bookings") as stream:
        ready = await stream.next()
        assert ready.name == "ready"
        assert ready.data["status"] == "fresh"
        connection = await servers.connect()
        await connection.execute("update bookings set status = 'cancelled' where id = 1")
        (event,) = await stream.events(1)
        assert event.name == "bookings"
        assert event.data["type"] == "UPDATE"
        assert event.data["record"]["status"] == "cancelled"
        assert event.data["old_record"]["status"] != "cancelled"
        assert event.data["schema"] == "public"
        assert event.data["table"] == "bookings"
        assert {"name": "id", "type": "int8"} in event.data["columns"]
        await connection.close()


async def test_resume(servers: Servers) -> None:
    """A client that comes back with its last id gets what it has missed, once, and then what is live."""
    async with gateway(servers) as web:
        connection = await servers.connect()
        async with web.stream("bookings") as stream:
            await stream.next()
            await connection.execute("update bookings set notes = '1' where id = 1")
            (first,) = await stream.events(1)
        for note in "2345":
            await connection.execute("update bookings set notes = $1 where id = 1", note)
        async with web.stream("bookings", since=first.id) as stream:
            ready = await stream.next()
            assert ready.data["status"] == "resumed"
            missed = await stream.events(4)
            await connection.execute("update bookings set notes = '6' where id = 1")
            missed += await stream.events(1)
        assert [event.data["record"]["notes"] for event in missed] == list("23456")
        assert positions(missed) == list(range(first.position + 1, first.position + 6))
        await connection.close()
