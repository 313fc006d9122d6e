"""Every event that a gateway sends, of every stream in every format, is as `/openapi.json` says."""

import asyncio
import contextlib
import copy
import itertools
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from subprocess import Popen
from typing import Any, NamedTuple

import asyncpg
import pytest

from streams.catalog import load
from streams.stream import FORMATS
from tests.fuzz import declared, schema
from tests.fuzz.ground import Ground
from tests.support import sse
from tests.support.gateway import token, until
from tests.support.servers import Servers

_WITHIN = 40.0
_USERS = {"bookings,payments": (1, "customer"), "provider-bookings,availability": (9, "provider"), "notifications": (3, None)}
_USERS |= {"services,properties,property-alerts": (2, None), "system,changes": (13, "admin"), "odd": (4, None)}
_CHANGES = """
    update bookings set status = 'confirmed', notes = 'x' where id = 1;
    update bookings set customer_id = 2, provider_id = 10 where id = 1;
    update bookings set customer_id = 1, provider_id = 9 where id = 1;
    insert into payments (id, booking_id, amount) values (900, 1, 5);
    update payments set amount = 6 where id = 900;
    delete from payments where id = 900;
    insert into availability (id, provider_id, day, start_time, end_time) values (900, 9, '2026-05-04', '09:00', '17:00');
    update availability set available = false where id = 900;
    delete from availability where id = 900;
    insert into notifications (user_id, kind, title) values (3, 'news', 'x');
    update notifications set read = true where user_id = 3;
    delete from notifications where user_id = 3;
    insert into services (id, name, category, price) values (900, 'x', 'y', 1.50);
    update services set price = 2, description = repeat('long', 100000) where id = 900;
    delete from services where id = 900;
    insert into properties (id, name, city, state, price, units)
        values ('123e4567-e89b-12d3-a456-426614179999', 'x', 'Austin', 'TX', 12000000, 120);
    update properties set price = 11000000, status = 'pending' where name = 'x';
    delete from properties where name = 'x';
    insert into system_notices (id, title, body, public) values (900, 'x', 'y', true);
    update system_notices set title = 'z' where id = 900;
    delete from system_notices where id = 900;
    insert into odd (id, exact, doc) values (900, 12345678901234567890.10, '{"a": 1}');
    update odd set exact = 'NaN', letters = 'x' where id = 900;
    delete from odd where id = 900;
    truncate odd;
"""


class Heard(NamedTuple):
    """An event, and in which format its stream was."""

    name: str
    format: str
    data: Any

    @property
    def kind(self) -> tuple[str, ...]:
        """What it is an example of."""
        data = self.data
        said = [str(data.get(each)) for each in ("status", "reason", "type", "eventType") if each in data]
        flags = [each for each in ("left", "truncated", "changes", "deleted_at", "created_at") if each in data]
        return (self.name, self.format, *said, *flags)


def open_stream(port: int, path: str, sub: object, role: str | None, ttl: float = 3600, since: str = "") -> Any:
    lines = {"Authorization": f"Bearer {token(sub, role, ttl)}"} | ({"Last-Event-ID": since} if since else {})
    return sse.request("127.0.0.1", port, path, lines)


async def listen(stream: sse.Stream, heard: list[Heard], format: str) -> None:
    with contextlib.suppress(EOFError):
        while True:
            event = await stream.next(600)
            heard.append(Heard(event.name, format, event.data))


@asynccontextmanager
async def hearing(port: int) -> AsyncIterator[list[Heard]]:
    """Opens every stream in every format, with rows and without, from an odd id and a good one; each has its rows."""
    heard: list[Heard] = []
    whole = 0
    async with AsyncExitStack() as stack:
        for (streams, (sub, role)), format in itertools.product(_USERS.items(), sorted(FORMATS)):
            rows = "" if "changes" in streams else "&snapshot=1"
            whole += len(streams.split(",")) if rows else 0
            ways = [(rows, ""), ("", "garbage"), ("&lastEventId=earliest", "")]
            for query, since in ways if format == "raw" else ways[:1]:
                stream = await open_stream(port, f"/streams/{streams}?format={format}{query}", sub, role, since=since)
                assert stream.status == 200, stream.body
                stack.push_async_callback(stream.close)
                task = asyncio.create_task(listen(stream, heard, format))
                stack.callback(task.cancel)
        # A change that a snapshot sees already comes no more.
        await until(lambda: sum(each.name == "snapshot" and each.data["done"] for each in heard) >= whole, _WITHIN)
        yield heard


async def come(heard: list[Heard], *wanted: tuple[str, ...]) -> None:
    """Waits until something of each kind was heard, whatever else it is besides."""
    try:
        await until(lambda: all(_has(heard, each) for each in wanted), _WITHIN)
    except TimeoutError:
        raise AssertionError([each for each in wanted if not _has(heard, each)]) from None


def _has(heard: list[Heard], wanted: tuple[str, ...]) -> bool:
    return any(set(wanted) <= set(each.kind) for each in list(heard))


async def _everything(port: int, site: Servers, bridging: Popen[bytes]) -> list[Heard]:
    async with hearing(port) as heard:
        await come(heard, ("ready", "fresh"), ("ready", "reset"), ("ready", "resumed"), ("reset", "unknown-id"), ("snapshot",))
        connection = await asyncpg.connect(site.database_url)
        for statement in _CHANGES.split(";\n"):
            if statement.strip():
                await connection.execute(statement)
        await connection.close()
        operations = [("raw", "INSERT"), ("raw", "UPDATE"), ("raw", "DELETE"), ("raw", "left"), ("raw", "truncated")]
        operations += [("supabase", each) for each in ("INSERT", "UPDATE", "DELETE", "left")]
        operations += [
            ("cloudevents", f"rowcast.{stream}.{each}")
            for stream in declared.__all__
            if stream != "property_alerts" and "_" not in stream
            for each in ("insert", "update", "delete")
        ]
        operations += [("diff", each) for each in ("property-created", "property-updated", "property-deleted", "property-alert", "left")]
        await come(heard, *operations, ("reset", "truncated"))
        # An idle stream moves forward; a token that ends is warned of, and ends; an admin ends one.
        await come(heard, ("checkpoint",))
        for ttl, wanted in ((3.0, ("closed", "expired")), (30.0, ("auth-expiring",))):
            stream = await open_stream(port, "/streams/services", 1, None, ttl)
            task = asyncio.create_task(listen(stream, heard, "raw"))
            await come(heard, wanted)
            task.cancel()
            await stream.close()
        stream = await open_stream(port, "/streams/services", 1, None)
        ready = await stream.next()
        headers = {"Authorization": f"Bearer {token(13, 'admin')}"}
        answer = await sse.request("127.0.0.1", port, f"/admin/connections/{ready.data['connection']}", headers, method="DELETE")
        assert answer.status == 204
        await answer.close()
        await listen(stream, heard, "raw")
        await stream.close()
        await come(heard, ("reconnect", "admin"))
        bridging.send_signal(signal.SIGSTOP)
        try:
            await come(heard, *[(format, "STATUS") for format in ("raw", "diff", "supabase")], ("cloudevents", "rowcast.system.status"))
        finally:
            bridging.send_signal(signal.SIGCONT)
        return list(heard)


@pytest.fixture(scope="module")
def all_heard(one: Ground, bridged: tuple[Servers, Popen[bytes]]) -> list[Heard]:
    """Every kind of event, of a gateway whose bridge stands still in the end."""
    return asyncio.run(_everything(one.port, *bridged))


def test_every_event(all_heard: list[Heard]) -> None:
    """Whatever was sent is of its schema: each stream, each format, each kind."""
    assert {each.name for each in all_heard} >= sse.CONTROL | {stream.event("UPDATE") for stream in load(declared.__name__).values()}
    broken = {each.kind: said for each in all_heard if (said := schema.wrong(schema.schema_of(each.name, each.format), each.data))}
    assert not broken


def test_control_a_member_that_is_missing_or_another(all_heard: list[Heard]) -> None:
    """Of each kind of event: without a member that it must have, with one of another type, or with one more, it is refused."""
    kinds = {each.kind: each for each in all_heard}
    passed = []
    for each in kinds.values():
        name = schema.schema_of(each.name, each.format)
        for member in (
            "version",
            "reason",
            "streams",
            "connection",
            "position",
            "retry",
            "expires_at",
            "rows",
            "changes",
            "columns",
            "errors",
        ):
            if member in each.data:
                if not schema.wrong(name, schema.without(each.data, member)):
                    passed.append((each.kind, f"without {member}"))
                if not schema.wrong(name, {**copy.deepcopy(each.data), member: ["odd", 1.5]}):
                    passed.append((each.kind, f"odd {member}"))
        if each.format != "diff" and not schema.wrong(name, {**each.data, "more": 1}):
            passed.append((each.kind, "with more"))
    assert passed == []
