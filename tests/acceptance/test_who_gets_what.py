"""Who gets what: for each statement the table says which client is told what, and whoever is not named gets not a byte of it.

- Everybody listens at once, on every stream that they may open, each over a connection of its own; and once more to all of
  them over one connection.
- `{b1}` names one version of a row. Its text, numbers and dates occur in no other: wherever one of them is received, that
  version was received. `hidden` is in every column and table that is not published, and in no line of the table.
- A line is `who stream: what`. `INSERT b1`, `UPDATE b1 → b2` and `DELETE b2` name the versions that the event carries,
  `LEFT 7001` the key, and that nothing else is told. A `+` joins versions of which one record carries values: a name may
  have changed and a price not. `new-7001` and `7001-confirmed` are the notifications that a booking's triggers write.
"""

import asyncio
from dataclasses import replace

import pytest

from streams import payload
from streams.payload import Change, Feed, Shape
from tests.acceptance.chapter import CHAPTERS, END, PREPARED, UNPUBLISHED
from tests.acceptance.chapter.booking import BOOKINGS
from tests.acceptance.chapter.everything import TRANSACTIONS
from tests.support import sse
from tests.support.gateway import gateway, token
from tests.support.servers import Servers
from tests.support.witness import EVERYBODY, MAY_OPEN, ROLES, Step, witness


@pytest.mark.parametrize("chapter", CHAPTERS)
async def test_who_gets_what(servers: Servers, chapter: str) -> None:
    """Everybody is told exactly what the table says, nobody receives a byte of anything else, and who comes back gets the same again."""
    async with witness(servers, PREPARED, (*CHAPTERS[chapter], END)) as seen:
        assert seen.told == seen.expected
        assert seen.leaks == set()
        for heard in seen.heard:
            assert heard.in_order, f"{heard.who} {heard.stream}"
            assert not [name for name in UNPUBLISHED if f'"{name}"' in heard.text], f"{heard.who} {heard.stream}"
        for who in EVERYBODY:
            together, merged = seen.together(who)
            assert together == merged
        await asyncio.gather(*(seen.check_resumed(heard) for heard in seen.heard))


@pytest.mark.parametrize("chapter", ["bookings", "payments", "properties", "alerts", "system"])
async def test_whatever_the_format(servers: Servers, chapter: str) -> None:
    """In each format the same events come to the same clients, and carry nothing of anybody else's; `raw` is what comes unasked."""
    async with witness(servers, PREPARED, (*CHAPTERS[chapter], END), formats=("raw", "diff", "supabase", "cloudevents")) as seen:
        assert seen.leaks == set()
        unasked = {(each.who, each.stream): each.events for each in seen.heard}
        for heard in seen.heard:
            stream, _, format = heard.stream.partition("?format=")
            assert [each.id for each in heard.events] == [each.id for each in unasked[heard.who, stream]], f"{heard.who} {heard.stream}"
            assert format != "raw" or heard.events == unasked[heard.who, stream]


async def test_one_transaction_in_the_order_of_its_statements(servers: Servers) -> None:
    """On a connection with several streams what one transaction wrote to several tables comes as it was written."""
    async with witness(servers, PREPARED, (*TRANSACTIONS, END)) as seen:
        [events] = [each.events for each in seen.heard if each.who == 9 and "," in each.stream]
        names = [(each.name, each.data["type"]) for each in events[1:9]]
        assert names == [
            ("provider-bookings", "INSERT"),
            ("notifications", "INSERT"),
            ("availability", "INSERT"),
            ("services", "UPDATE"),
            ("provider-bookings", "UPDATE"),
            ("notifications", "INSERT"),
            ("availability", "DELETE"),
            ("provider-bookings", "INSERT"),
        ]


async def test_a_provider_by_another_number(servers: Servers) -> None:
    """A provider's rows are those of the token's `provider_id`, and what is any user's is that of its `sub`."""
    async with (
        gateway(servers) as web,
        web.stream("provider-bookings,availability,notifications", 11, "provider", provider_id="9") as of_9,
        web.stream("provider-bookings,availability,notifications", 9, "provider", provider_id="10") as of_10,
    ):
        await _run(
            servers,
            "insert into bookings (customer_id, provider_id, service_id, booking_date, start_time, end_time)"
            " select 1, provider, 3, now(), now(), now() + interval '1 hour' from unnest(array[9, 10, 11]) as p (provider);"
            "insert into notifications (user_id, kind, title) values (10, '', ''), (9, '', '');"
            "insert into availability (provider_id, day, start_time, end_time) values"
            " (9, current_date, '09:00', '10:00'), (10, current_date, '09:00', '10:00'), (11, current_date, '09:00', '10:00')",
        )
        assert [await _owner(of_9) for _ in range(3)] == [("provider-bookings", 9), ("notifications", 11), ("availability", 9)]
        assert [await _owner(of_10) for _ in range(4)] == [
            ("provider-bookings", 10),
            ("notifications", 9),
            ("notifications", 9),
            ("availability", 10),
        ]


async def _run(servers: Servers, statements: str) -> None:
    connection = await servers.connect()
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


async def _owner(stream: sse.Stream) -> tuple[str, int]:
    [event] = await stream.events(1)
    record = event.data["record"]
    return event.name, record["user_id"] if event.name == "notifications" else record["provider_id"]


OF_FEED, RAW = payload._of_feed, payload._raw


def _no_left(change: Change, shape: Shape, index: int, feed: Feed) -> list[payload.Delivery | payload.Joint]:
    """Tells the former owner of a row that it was updated."""
    found = OF_FEED(change, shape, index, feed)
    return [
        replace(each, kind="UPDATE", data=RAW(change, shape, feed, "U"))
        if isinstance(each, payload.Delivery) and b'"left":true' in each.data
        else each
        for each in found
    ]


def _all_of_old(change: Change, shape: Shape, feed: Feed, op: str, left: bool = False) -> bytes:
    """Tells the new owner of a row what it was before."""
    return RAW(change, shape, feed, "U" if op == "I" and change.old else op, left)


@pytest.mark.parametrize(
    ("name", "instead", "leaks"),
    [
        ("_of_feed", _no_left, {(1, "bookings", "b4"), (9, "provider-bookings", "b5"), (2, "bookings", "b6"), (1, "bookings", "b9")}),
        ("_raw", _all_of_old, {(2, "bookings", "b3"), (10, "provider-bookings", "b4"), (1, "bookings", "b5"), (2, "bookings", "b9")}),
    ],
    ids=["no left", "all of old"],
)
async def test_control_leaks_are_found(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, name: str, instead: object, leaks: set[tuple[int, str, str]]
) -> None:
    """Were a row that moves told to both its owners whole, the same search would find whom it was told to."""
    monkeypatch.setattr(payload, name, instead)
    async with witness(servers, PREPARED, (*BOOKINGS, END)) as seen:
        assert seen.leaks >= leaks
        assert seen.told != seen.expected


async def test_control_unpublished_columns_are_found(servers: Servers) -> None:
    """Were a column with what nobody may see published, the same search would find it with everybody who sees the row."""
    published: Step = (
        "insert into services (id, {services}) values (4001, {s1.services});"
        "update services set description = internal, category = {hidden} where id = 4001",
        "all services: INSERT s1; UPDATE s1 → s1",
    )
    async with witness(servers, PREPARED, (published, END)) as seen:
        assert {who for who, stream, version in seen.leaks if (stream, version) == ("services", "hidden")} == set(EVERYBODY)


async def test_who_may_open_what(servers: Servers) -> None:
    """Whoever may not open a stream is told 403, alone or among others; what they may is listed; 401 without token, 404 for none."""
    async with gateway(servers) as web:

        async def ask(path: str, headers: dict[str, str]) -> tuple[int, bytes]:
            answer = await web.request(path, headers)
            await answer.close()
            return answer.status, answer.body

        for who, role in ROLES.items():
            bearer = {"Authorization": f"Bearer {token(who, role)}"}
            statuses = {name: (await ask(f"/streams/{name}", bearer))[0] for name in MAY_OPEN}
            assert statuses == {name: 200 if who in may else 403 for name, may in MAY_OPEN.items()}, f"{who}"
            together = {name: (await ask(f"/streams/services,{name}", bearer))[0] for name in MAY_OPEN if name != "services"}
            assert together == {name: 200 if who in may else 403 for name, may in MAY_OPEN.items() if name != "services"}, f"{who}"
            assert (await ask("/streams/nonsense", bearer))[0] == (await ask("/streams/services,nonsense", bearer))[0] == 404
            listed = (await ask("/streams", bearer))[1].decode()
            assert {name for name in MAY_OPEN if f'"{name}"' in listed} == {name for name, may in MAY_OPEN.items() if who in may}, listed
        for name in MAY_OPEN:
            assert (await ask(f"/streams/{name}", {}))[0] == 401
            assert (await ask(f"/streams/{name}", {"Authorization": f"Bearer {token(1, 'admin', ttl=-60)}"}))[0] == 401
        assert (await ask("/streams", {}))[0] == 401
