"""Everybody listens to everything that they may open while statements are run, and what they received is held against a table.

A step is a statement, and lines `who stream: what; what`: `1 9 notifications: INSERT n1`. `who` may be `all`. The stream of all
changes is compared by table, `changes/bookings`, as what one statement writes to several tables has no order among them.
"""

import asyncio
import contextlib
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support import sse
from tests.support.canary import Canaries
from tests.support.gateway import Web, gateway, token
from tests.support.servers import Servers

ROLES = {1: "customer", 2: "customer", 9: "provider", 10: "provider", 13: "admin"}
EVERYBODY = tuple(ROLES)
MAY_OPEN = {
    "bookings": (1, 2),
    "provider-bookings": (9, 10),
    "payments": (1, 2),
    "availability": (9, 10),
    "notifications": EVERYBODY,
    "services": EVERYBODY,
    "properties": EVERYBODY,
    "property-alerts": EVERYBODY,
    "system": EVERYBODY,
    "changes": (13,),
}

Step = tuple[str, ...]
Told = dict[tuple[int, str], list[str]]
"""What is told, by client and stream."""

_PATHS = {"properties": "properties?format=raw", "properties-diff": "properties"}
"""Where a stream's path is not its name here: properties are heard in both formats."""
_OWNER_COLUMN = {
    "bookings": "customer_id",
    "provider-bookings": "provider_id",
    "availability": "provider_id",
    "notifications": "user_id",
}
_PROPERTY_EVENTS = {"INSERT": "property-created", "UPDATE": "property-updated", "DELETE": "property-deleted"}
_PATIENCE_SECONDS = 15


@dataclass
class Heard:
    """What one client received over one connection. The strict reader admits nothing beside ids, names, data and heartbeats."""

    who: int
    stream: str
    headers: str
    ready: sse.Event
    events: list[sse.Event] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.headers + "".join(f"{each.id} {each.name} {each.raw}\n" for each in (self.ready, *self.events))

    @property
    def in_order(self) -> bool:
        """Whether each id came once, and positions rise; on several streams one position may come on each."""
        positions = [self.ready.position, *(each.position for each in self.events)]
        return positions == sorted(positions) and len({each.id for each in self.events}) == len(self.events)

    def covers(self, stream: str) -> bool:
        """Whether lines of the table for a stream are for this connection."""
        together = "," in self.stream
        return stream.partition("/")[0] in self.stream.partition("?")[0].split(",") or (together and stream == "properties-diff")


@dataclass
class Witness:
    """What everybody must be told, and what they have heard."""

    web: Web
    canaries: Canaries
    expected: Told
    heard: list[Heard]

    @property
    def told(self) -> Told:
        """Returns what each connection of one stream was told, in the words of the table."""
        found: Told = defaultdict(list)
        for heard in self.heard:
            for event in heard.events if not {",", "?"} & set(heard.stream) else ():
                table, what = tell(self.canaries, heard, event)
                found[heard.who, f"changes/{table}" if heard.stream == "changes" else heard.stream].append(what)
        return dict(found)

    @property
    def leaks(self) -> set[tuple[int, str, str]]:
        """Returns client, stream and version of whatever was received and is in no line for them."""
        found = set()
        for heard in self.heard:
            may = self.canaries.named(lines_for(heard, self.expected))
            found |= {(heard.who, heard.stream, version) for version in self.canaries.seen(heard.text) if version not in may}
        return found

    def together(self, who: int) -> tuple[list[Any], list[Any]]:
        """Returns what came on the connection with all streams, and what came on the others, in the order of positions."""
        mine = [heard for heard in self.heard if heard.who == who]
        [one] = [heard.events for heard in mine if "," in heard.stream]
        # The connection with all streams has properties in their default format.
        alone = [heard for heard in mine if not {",", "?"} & set(heard.stream) and heard.stream != "properties"]
        in_order = sorted((each.position, heard.stream, each.name, each.raw) for heard in alone for each in heard.events)
        return [(each.position, each.name, each.raw) for each in one], [(position, *rest) for position, _, *rest in in_order]

    async def check_resumed(self, heard: Heard) -> None:
        """Comes back with the id of `ready`, with that of the first event, and to the earliest: what follows is the same."""
        ids = [(0, "earliest"), (0, heard.ready.id), *((1, each.id) for each in heard.events[:1])]
        for number, id in ids:
            answer, again = await connect(self.web, heard.who, heard.stream, id)
            with contextlib.suppress(TimeoutError):
                while len(again.events) < len(heard.events) - number:
                    again.events.append(await answer.next(_PATIENCE_SECONDS))
            await answer.close()
            assert again.events == heard.events[number:], f"{heard.who} {heard.stream} since {id}"


def read_table(steps: Iterable[Step]) -> Told:
    """Returns the lines of the steps."""
    found: Told = defaultdict(list)
    for line in (line for _, *lines in steps for line in lines):
        head, _, what = line.partition(": ")
        *who, stream = head.split()
        for each in EVERYBODY if who == ["all"] else map(int, who):
            found[each, stream] += what.split("; ")
    return dict(found)


def lines_for(heard: Heard, told: Told) -> list[str]:
    """Returns what a table has for a connection."""
    return [line for (who, stream), lines in told.items() if who == heard.who and heard.covers(stream) for line in lines]


def tell(canaries: Canaries, heard: Heard, event: sse.Event) -> tuple[str, str]:
    """Returns an event's table, and what it says in the words of a table; what is not as it must be is told at length."""

    def versions(row: Any) -> str:
        owner = (row or {}).get(_OWNER_COLUMN.get(heard.stream, ""), heard.who)
        return "+".join(canaries.seen(json.dumps(row))) + ("" if owner == heard.who else f" of {owner}")

    data = event.data
    if event.name == "reset":
        return str(data.get("table")).removeprefix("public."), "reset" if data["reason"] == "truncated" else event.raw
    if heard.stream == "properties-diff":
        return "properties", _tell_diff(event, versions)
    kind, record, old = data["type"], data["record"], data["old_record"]
    what = {
        ("INSERT", True, False, False): f"INSERT {versions(record)}",
        ("UPDATE", True, True, False): f"UPDATE {versions(old)} → {versions(record)}",
        ("DELETE", False, True, False): f"DELETE {versions(old)}",
        ("DELETE", False, True, True): f"LEFT {old['id']}" if old and list(old) == ["id"] else "",
    }.get((kind, record is not None, old is not None, data.get("left", False)))
    name = {"property-alerts": "property-alert", "properties": _PROPERTY_EVENTS[kind]}.get(heard.stream, heard.stream)
    return data["table"], what if what and event.name == name else f"{event.name} {event.raw}"


def _tell_diff(event: sse.Event, versions: Callable[[Any], str]) -> str:
    data, columns = event.data, set(event.data)
    if event.name == "property-deleted" and columns == {"version", "property_id", "deleted_at"}:
        return f"{event.name} {data['property_id']}"
    if event.name == "property-updated" and columns == {"version", "property_id", "changes", "updated_at"}:
        old, new = ({name: change[side] for name, change in data["changes"].items()} for side in ("old", "new"))
        return f"{event.name} {versions(old)} → {versions(new)}"
    if event.name == "property-created" and columns >= {"version", "property_id", "name", "city", "state", "price", "units", "created_at"}:
        return f"{event.name} {versions(data)}"
    return f"{event.name} {event.raw}"


async def connect(web: Web, who: int, stream: str, since: str | None = None) -> tuple[sse.Stream, Heard]:
    """Opens a stream, and reads `ready`; the caller closes."""
    headers = {"Authorization": f"Bearer {token(who, ROLES[who])}"} | ({"Last-Event-ID": since} if since else {})
    answer = await web.request(f"/streams/{_PATHS.get(stream, stream)}", headers)
    assert answer.status == 200, f"{who} {stream}: {answer.status} {answer.body!r}"
    ready = await answer.next()
    assert (ready.name, ready.data["status"]) == ("ready", "resumed" if since else "fresh"), f"{who} {stream}: {ready}"
    return answer, Heard(who, stream, str(answer.headers), ready)


async def _listen(answer: sse.Stream, heard: Heard, canaries: Canaries, ends: int) -> None:
    """Reads until the end has come as often as it must; what does not come in time is missed by whoever compares."""
    with contextlib.suppress(TimeoutError, EOFError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while ends:
                heard.events.append(await answer.next(_PATIENCE_SECONDS))
                ends -= "end" in canaries.seen(heard.events[-1].raw)
    await answer.close()


def _connections(who: int, formats: Iterable[str]) -> list[str]:
    """Returns one for each stream that a client may open, one for properties' own format, one for all; and each in more formats."""
    streams = [name for name, may in MAY_OPEN.items() if who in may]
    return [*streams, "properties-diff", ",".join(streams), *(f"{name}?format={format}" for name in streams for format in formats)]


@asynccontextmanager
async def witness(servers: Servers, prepared: str, steps: Sequence[Step], formats: Sequence[str] = ()) -> AsyncIterator[Witness]:
    """Lets everybody listen while the statements are run, each in a transaction of its own.

    The last step has version `end` for everybody on every stream: who has it has all that came before.
    """
    canaries, expected = Canaries(), read_table(steps)
    connection = await servers.connect(server_settings={"search_path": "public"})
    try:
        await connection.execute(canaries.fill(prepared))
        async with gateway(servers) as web:
            clients = [await connect(web, who, stream) for who in EVERYBODY for stream in _connections(who, formats)]
            async with asyncio.TaskGroup() as group:
                for answer, heard in clients:
                    ends = sum(line.endswith(" end") for line in lines_for(heard, expected))
                    if "," in heard.stream:
                        ends -= 1  # a line for each of the two formats
                    group.create_task(_listen(answer, heard, canaries, ends))
                for statement, *_ in steps:
                    await connection.execute(canaries.fill(statement))
            yield Witness(web, canaries, expected, [heard for _, heard in clients])
    finally:
        await connection.close()
