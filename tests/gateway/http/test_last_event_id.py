"""Since when: an id of ours resumes, anything else is a `reset`, never an error and never silence."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest

from tests.support import sse
from tests.support.gateway import Web, token, until
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOBODYS = {
    "garbage": "garbage",
    "unicode digits": "{epoch}-٣",
    "fullwidth digits": "{epoch}-３",
    "10 kB": "x" * 10_000,
    "10 kB of digits": "{epoch}-" + "1" * 10_000,
    "negative": "{epoch}--5",
    "underscore": "{epoch}-1_000",
    "plus": "{epoch}-+7",
    "inner blank": "{epoch}- 7",
    "no position": "{epoch}",
    "dash": "{epoch}-",
    "fraction": "{epoch}-1.5",
    "bare number": "7",
    "upper case": "ABCD-7",
    "another's id": "17334300000001234-0",
    "JSON": '[{"offset":7}]',
    "SQL": "' or 1=1 --",
    "null": "null",
    "undefined": "undefined",
}
QUERY_ONLY = {"NUL": "{epoch}-7\x00", "leading blank": " {epoch}-7", "line break": "{epoch}-7\r\nX-Injected: 1", "not UTF-8": "\udcff"}


@asynccontextmanager
async def opened(web: Web, header: str | None = None, query: str = "") -> AsyncIterator[sse.Stream]:
    """Opens the bookings of customer 1 with an id, and closes them."""
    headers = {"Authorization": f"Bearer {token()}"} | ({} if header is None else {"Last-Event-ID": header})
    stream = await web.request(f"/streams/bookings{query}", headers)
    try:
        assert stream.status == 200, stream.body
        yield stream
    finally:
        await stream.close()
        await until(lambda: not web.hub.roster.subscribers)


async def since(web: Web, header: str | None = None, query: str = "") -> tuple[str, str | None]:
    """Returns the status of `ready`, and for a reset the reason that follows it at once."""
    async with opened(web, header, query) as stream:
        ready = await stream.next()
        assert ready.name == "ready"
        if ready.data["status"] != "reset":
            return ready.data["status"], None
        reset = await stream.next()
        # Who is cut in between has to be told again.
        assert (reset.name, reset.data["streams"], reset.id, ready.id) == ("reset", ["bookings"], ready.data["from"], "none-0")
        return "reset", reset.data["reason"]


async def head(web: Web) -> sse.Event:
    """Returns the present `ready`, whose id is the head of the log."""
    async with opened(web) as stream:
        return await stream.next()


async def change(servers: Servers, notes: str) -> None:
    """Changes a booking of customer 1."""
    connection = await servers.connect()
    await connection.execute("update bookings set notes = $1 where id = 1", notes)
    await connection.close()


def escaped(text: str) -> str:
    return quote(text, safe="", errors="surrogateescape")


@pytest.mark.parametrize("case", NOBODYS)
async def test_id_that_is_not_ours(web: Web, case: str) -> None:
    """An id that is none of ours is a reset with that reason, in the header as in either parameter."""
    text = NOBODYS[case].format(epoch=(await head(web)).epoch) if "{epoch}" in NOBODYS[case] else NOBODYS[case]
    assert await since(web, header=text) == ("reset", "unknown-id")
    for name in ("lastEventId", "last_event_id"):
        assert await since(web, query=f"?{name}={escaped(text)}") == ("reset", "unknown-id")


@pytest.mark.parametrize("case", QUERY_ONLY)
async def test_id_that_only_a_query_can_carry(web: Web, case: str) -> None:
    """What no header can carry is a reset when a parameter does."""
    text = QUERY_ONLY[case].format(epoch=(await head(web)).epoch)
    assert await since(web, query=f"?lastEventId={escaped(text)}") == ("reset", "unknown-id")


async def test_future(web: Web) -> None:
    """An id of this epoch that the log has not reached is a reset that says so."""
    ready = await head(web)
    for position in (ready.position + 1, 10**15, 10**18 - 1):
        assert await since(web, header=f"{ready.epoch}-{position}") == ("reset", "future")


async def test_other_epoch(web: Web) -> None:
    """An id of another life of the log is a reset that says so, also at a position that this one has."""
    for text in ("zzzz-0", "zzzz-1", "none-0", "0000000000000000-7"):
        assert await since(web, header=text) == ("reset", "epoch")


async def test_id_of_another_stream(web: Web, module_servers: Servers) -> None:
    """An id that was cut behind one of a position's events resumes behind that event, also on a connection without its stream."""
    async with opened(web) as stream:
        await stream.next()
        await change(module_servers, "the cut")
        (event,) = await stream.events(1)
    for name, repeated in (("aaa", True), ("bookings", False), ("services", False)):
        async with opened(web, f"{event.id}-{name}") as stream:
            assert (await stream.next()).data["status"] == "resumed"
            await change(module_servers, "behind the cut")
            (following,) = await stream.events(1)
            assert (following.data["record"]["notes"] == "the cut") is repeated


async def test_no_id(web: Web) -> None:
    """No id, or an empty one, is a fresh start."""
    assert await since(web) == ("fresh", None)
    assert await since(web, header="") == ("fresh", None)
    assert await since(web, query="?lastEventId=") == ("fresh", None)
    assert await since(web, query="?lastEventId=&last_event_id=") == ("fresh", None)


async def test_earliest(web: Web, module_servers: Servers) -> None:
    """`earliest` starts at the oldest event that is kept, by header or parameter."""
    await change(module_servers, "kept")
    for header, query in (("earliest", ""), (None, "?lastEventId=earliest"), (None, "?last_event_id=earliest")):
        async with opened(web, header, query) as stream:
            assert (await stream.next()).data["status"] == "resumed"
            (event,) = await stream.events(1)
            assert event.position == 1


async def test_header_wins(web: Web) -> None:
    """The header wins over `lastEventId`, and that over `last_event_id`, whichever of them is a good id."""
    good = (await head(web)).id
    assert await since(web, good, "?lastEventId=garbage&last_event_id=garbage") == ("resumed", None)
    assert await since(web, "garbage", f"?lastEventId={good}&last_event_id={good}") == ("reset", "unknown-id")
    assert await since(web, query=f"?lastEventId={good}&last_event_id=garbage") == ("resumed", None)
    assert await since(web, query=f"?last_event_id={good}&lastEventId=garbage") == ("reset", "unknown-id")
    assert await since(web, query=f"?last_event_id={good}") == ("resumed", None)


async def test_empty_id_hides_none(web: Web) -> None:
    """An empty header is no id, so the parameter behind it counts: never silence."""
    good = (await head(web)).id
    assert await since(web, "", f"?lastEventId={good}") == ("resumed", None)
    assert await since(web, "", "?lastEventId=garbage") == ("reset", "unknown-id")
    assert await since(web, query=f"?lastEventId=&last_event_id={good}") == ("resumed", None)


async def test_several_headers(web: Web) -> None:
    """Two ids in two headers resume from one of them or reset; the request is not an error."""
    good = (await head(web)).id
    headers = {"Authorization": f"Bearer {token()}", "Last-Event-ID": good, "last-event-id": "garbage"}
    stream = await web.request("/streams/bookings", headers)
    assert (await stream.next()).data["status"] in ("resumed", "reset")
    await stream.close()


async def test_after_a_reset_the_stream_is_live(web: Web, module_servers: Servers) -> None:
    """After a reset the stream goes on: what is committed then arrives, and its id resumes."""
    async with opened(web, "garbage") as stream:
        await stream.until("reset")
        await change(module_servers, "after the reset")
        (event,) = await stream.events(1)
        assert event.data["record"]["notes"] == "after the reset"
    assert await since(web, event.id) == ("resumed", None)
