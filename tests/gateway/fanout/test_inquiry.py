"""Why somebody got an event or not: each answer is what happens on the stream, and each check has somebody whom it stops."""

from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import pytest

from gateway.fanout import inquiry
from streams.catalog import Catalog
from tests.gateway.fanout.manual import Manual, manual
from tests.gateway.fanout.test_judge import GUARDED, HIDE
from tests.gateway.http.ask import told
from tests.support import sse
from tests.support.gateway import Web, web
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]


@asynccontextmanager
async def running(servers: Servers, catalog: Catalog | None = None) -> AsyncIterator[tuple[Manual, Web]]:
    async with manual(servers) as by_hand, web(servers, catalog) as gateway:
        await by_hand.change()
        yield by_hand, gateway


async def why(gateway: Web, sub: object, stream: str, id: str, **more: str) -> Any:
    """Asks, and holds the answer against its own steps."""
    query = urlencode({"sub": str(sub), "stream": stream, "id": id, **more})
    answer = await told(gateway, f"/admin/explain?{query}")
    assert set(answer) == {"verdict", "because", "steps"}
    assert answer["because"].endswith(".")
    assert all(set(step) == {"check", "holds", "detail"} and step["detail"].endswith(".") for step in answer["steps"])
    *before, last = answer["steps"]
    assert all(step["holds"] for step in before)
    if answer["verdict"] not in ("delivered", "left", "reset"):
        assert (last["holds"], last["detail"]) == (False, answer["because"])
    return answer


async def verdict(gateway: Web, sub: object, stream: str, id: str, **more: str) -> tuple[str, str]:
    """Returns the verdict, and the check that was the last."""
    answer = await why(gateway, sub, stream, id, **more)
    return answer["verdict"], answer["steps"][-1]["check"]


async def do(by_hand: Manual, *statements: str) -> str:
    """Changes something, and returns the id of the last event of it."""
    for statement in statements:
        await by_hand.connection.execute(statement)
    await by_hand.sequencer.step()
    await by_hand.publish()
    return f"{by_hand.place.epoch}-{by_hand.place.position}"


async def test_each_check_stops_somebody(servers: Servers) -> None:
    """An id that is none, of another epoch, to come; another table's change; a role that may not; another's row; a filter."""
    async with running(servers) as (by_hand, gateway):
        id = await do(by_hand, "update bookings set notes = 'x', status = 'confirmed' where id = 1")
        epoch, _, position = id.partition("-")
        assert await verdict(gateway, 1, "bookings", "nonsense") == ("not-found", "id")
        assert await verdict(gateway, 1, "bookings", "none-0") == ("not-found", "epoch")
        assert await verdict(gateway, 1, "bookings", f"ffff0000-{position}") == ("not-found", "epoch")
        assert await verdict(gateway, 1, "bookings", f"{epoch}-0") == ("not-found", "epoch")
        assert await verdict(gateway, 1, "bookings", f"{epoch}-{int(position) + 1}") == ("not-found", "position")
        assert await verdict(gateway, 1, "bookings", f"{epoch}-999999999999999999") == ("not-found", "position")
        assert await verdict(gateway, 1, "services", id) == ("another-stream", "stream")
        assert await verdict(gateway, 1, "bookings", id, role="provider") == ("not-allowed", "role")
        assert await verdict(gateway, 2, "bookings", id) == ("not-for-them", "channel")
        assert await verdict(gateway, 1, "bookings", id, filter="status=eq.cancelled") == ("filtered", "filter")
        assert await verdict(gateway, 1, "bookings", id) == ("delivered", "connected")
        assert await verdict(gateway, 1, "bookings", id, filter="status=eq.confirmed") == ("delivered", "connected")
        assert await verdict(gateway, 1, "bookings", f"{id}-bookings") == ("delivered", "connected")
        provider = await by_hand.connection.fetchval("select provider_id from bookings where id = 1")
        assert await verdict(gateway, provider, "provider-bookings", id) == ("delivered", "connected")
        assert await verdict(gateway, 1, "provider-bookings", id) == ("not-for-them", "channel")
        assert await verdict(gateway, 1, "provider-bookings", id, provider_id=str(provider)) == ("delivered", "connected")
        assert await verdict(gateway, 1, "changes", id) == ("delivered", "connected")
        assert await verdict(gateway, 1, "changes", id, role="customer") == ("not-allowed", "role")
        someone = await why(gateway, 2, "bookings", id)
        assert someone["because"] == "It goes to bookings-changes-1, and they listen to bookings-changes-2."


async def test_too_old(servers: Servers) -> None:
    """What the log has dropped is too old, and what is left is not."""
    async with running(servers) as (by_hand, gateway):
        old = await do(by_hand, "update bookings set notes = 'old' where id = 1")
        await by_hand.connection.execute("select rowcast.open_segment()")
        kept = await do(by_hand, "update bookings set notes = 'kept' where id = 1")
        await by_hand.connection.execute("select rowcast.drop_segments('0 seconds')")
        assert await verdict(gateway, 1, "bookings", old) == ("too-old", "kept")
        assert await verdict(gateway, 1, "bookings", kept) == ("delivered", "connected")


async def test_an_epoch_is_over(servers: Servers) -> None:
    """An id of an epoch that is over is not found, though the log may have its position still."""
    async with running(servers) as (by_hand, gateway):
        old = await do(by_hand, "update bookings set notes = 'before' where id = 1")
        await by_hand.connection.execute("select rowcast.begin_epoch('test', 0)")
        assert await verdict(gateway, 1, "bookings", old) == ("not-found", "epoch")


async def test_who_is_connected(servers: Servers) -> None:
    """Whose streams are open, and past it, is the last step; where none is open it says so."""
    async with running(servers) as (by_hand, gateway):
        id = await do(by_hand, "update bookings set notes = 'x' where id = 1")
        nobody = (await why(gateway, 1, "bookings", id))["steps"][-1]
        assert (nobody["holds"], "They have no stream of bookings open" in nobody["detail"]) == (False, True)
        async with gateway.stream() as stream, gateway.stream("services") as other:
            await stream.until("ready")
            await other.until("ready")
            assert (await why(gateway, 1, "bookings", id))["steps"][-1] == {
                "check": "connected",
                "holds": True,
                "detail": "Open streams of bookings that they have: 1; that have come to it, or past it: 1.",
            }


async def test_truncated(servers: Servers) -> None:
    """A TRUNCATE is a reset to all who listen."""
    async with running(servers) as (by_hand, gateway):
        id = await do(by_hand, "truncate notifications")
        answer = await why(gateway, 7, "notifications", id)
        assert (answer["verdict"], "truncated" in answer["because"]) == ("reset", True)


async def test_several_owners_and_none(servers: Servers) -> None:
    """A row with several owners is theirs and nobody else's; one without an owner is nobody's."""
    async with running(servers) as (by_hand, gateway):
        insert = "insert into property_alerts (property_id, kind, city, state, name, price, status, user_ids)"
        id = await do(by_hand, f"{insert} values (gen_random_uuid(), 'created', 'X', 'TX', 'x', 1, 'sold', array[21, 22, 23, 24, 25])")
        assert (await why(gateway, 23, "property-alerts", id))["verdict"] == "delivered"
        another = await why(gateway, 26, "property-alerts", id)
        assert another["verdict"] == "not-for-them"
        assert "property-alerts-21 and property-alerts-22 and property-alerts-23 and 2 more" in another["because"]
        nobodys = await do(by_hand, "update bookings set provider_id = null where id = 1", "update bookings set notes = 'z' where id = 1")
        answer = await why(gateway, 9, "provider-bookings", nobodys)
        assert (answer["verdict"], "nobody's" in answer["because"]) == ("not-for-them", True)


async def test_row_level_security(servers: Servers) -> None:
    """Policies are asked as for an event: what they hide is hidden, or has left, and the claims they were asked with are told."""
    async with running(servers, GUARDED) as (by_hand, gateway):
        await by_hand.connection.execute(HIDE)
        seen = await do(by_hand, "insert into services (id, name, category, price) values (70, 'open', 'x', 1)")
        hidden = await do(by_hand, "insert into services (id, name, category, price) values (71, 'hidden', 'canary', 1)")
        gone = await do(by_hand, "update services set name = 'hidden' where id = 72", "update services set name = 'hidden' where id = 6")
        assert await verdict(gateway, 1, "services", seen) == ("delivered", "connected")
        assert await verdict(gateway, 1, "services", hidden) == ("hidden", "row-level security")
        assert await verdict(gateway, 1, "services", gone) == ("left", "connected")
        (step,) = [step for step in (await why(gateway, 1, "services", hidden))["steps"] if step["check"] == "row-level security"]
        assert '"sub":"1"' in step["detail"]
        gateway.app.state.inquiry._judge._pool._url = "postgresql://127.0.0.1:1/nowhere"


# What is said, and what has come


@dataclass
class Listener:
    """Somebody who listens, and what came to them: by id, the type and whether it says `left`."""

    sub: int
    role: str
    stream: str
    filter: str = ""
    came: dict[str, tuple[str, bool]] = field(default_factory=dict)

    async def read(self, stream: sse.Stream) -> None:
        """Reads up to the reset that ends the test."""
        async for event in stream:
            if event.name == "reset":
                return
            self.came[event.id] = event.data["type"], event.data.get("left", False)

    def question(self) -> Mapping[str, str]:
        return {"role": self.role} | ({"filter": self.filter} if self.filter else {})


LISTENERS: Sequence[Listener] = (
    Listener(1, "customer", "bookings"),
    Listener(2, "customer", "bookings"),
    Listener(1, "customer", "bookings", "status=eq.confirmed"),
    Listener(2, "customer", "bookings", "status=neq.cancelled"),
    Listener(9, "provider", "provider-bookings"),
    Listener(10, "provider", "provider-bookings"),
    Listener(1, "customer", "payments"),
    Listener(2, "customer", "payments"),
    Listener(1, "customer", "notifications"),
    Listener(1, "customer", "system"),
    Listener(13, "admin", "system"),
    Listener(1, "customer", "system", "severity=eq.info"),
    Listener(1, "customer", "services", "name=like.New*"),
)
CHANGES = (
    "update bookings set status = 'confirmed' where id in (1, 2)",
    "update bookings set customer_id = 3 - customer_id where id in (1, 2)",
    "update bookings set status = 'cancelled', provider_id = 10 where id in (1, 2)",
    "update bookings set provider_id = 9, customer_id = 3 where id = 1",
    "update bookings set customer_id = 1, status = 'confirmed' where id = 1",
    "update payments set status = status where booking_id in (1, 2)",
    "insert into system_notices (id, title, body, severity, public) values (70, 'a', 'b', 'info', true), (71, 'a', 'b', 'info', false)",
    "update system_notices set public = not public where id in (70, 71)",
    "update system_notices set severity = 'warning', public = true where id in (70, 71)",
    "delete from system_notices where id in (70, 71)",
    "insert into services (id, name, category, price) values (70, 'New one', 'x', 1), (71, 'Old one', 'x', 1)",
    "update services set name = 'New two' where id in (70, 71)",
    "update services set name = 'Old two' where id in (70, 71)",
    "delete from services where id in (70, 71)",
    "delete from payments where booking_id = 2",
    "delete from bookings where id = 2",
)


TABLES = ("services", "bookings", "payments", "notifications", "system_notices")
"""Whose truncation all listeners hear."""


async def _said(gateway: Web, listener: Listener, id: str) -> str:
    return str((await why(gateway, listener.sub, listener.stream, id, **listener.question()))["verdict"])


async def test_what_is_said_is_what_has_come(servers: Servers) -> None:
    """Of each event and each listener: it came where it is said to have been delivered, as it is said, and nowhere else."""
    async with running(servers) as (by_hand, gateway), AsyncExitStack() as stack:
        listeners = [replace(each, came={}) for each in LISTENERS]
        opened = []
        for each in listeners:
            filter = f"?{each.filter}" if each.filter else ""
            opened.append(await stack.enter_async_context(gateway.stream(f"{each.stream}{filter}", each.sub, each.role)))
        for stream in opened:
            assert (await stream.next()).name == "ready"
        first = by_hand.place.position + 1
        for change in CHANGES:
            await do(by_hand, change)
        last = by_hand.place.position
        await do(by_hand, f"truncate {', '.join(TABLES)} cascade")
        for each, stream in zip(listeners, opened, strict=True):
            await each.read(stream)
        verdicts: Counter[str] = Counter()
        for each in listeners:
            for position in range(first, last + 1):
                id = f"{by_hand.place.epoch}-{position}"
                said = await _said(gateway, each, id)
                verdicts[said] += 1
                kind, left = each.came.pop(id, (None, False))
                assert (said if said in ("delivered", "left") else None) == (kind and ("left" if left else "delivered")), (each, id, said)
            assert each.came == {}
        assert {"delivered", "left", "another-stream", "not-for-them", "filtered"} == set(verdicts)
        assert min(verdicts.values()) > 5, verdicts


async def test_control_another_answer(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the filter not asked, what is said would not be what has come."""
    monkeypatch.setattr(inquiry, "_filtered", lambda question, entry, way: entry)
    with pytest.raises(AssertionError):
        await test_what_is_said_is_what_has_come(servers)
