"""What following does with what a gateway, or what stands before it, can answer; the gateway is played, the network is real."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from gateway.follow import Event, FollowError, Gap, Malformed, Refused, Unreachable, Wanted, follow

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n"
READY = 'retry: 20\nid: abcd-1\nevent: ready\ndata: {"status":"fresh","connection":"c0ffee","heartbeat":8}\n\n'
GOODBYE = 'id: abcd-9\nevent: closed\ndata: {"reason":"revoked"}\n\n'


def problem(status: int, detail: str = "because", headers: str = "") -> str:
    body = f'{{"detail":"{detail}"}}'
    return f"HTTP/1.1 {status} X\r\nContent-Type: application/problem+json\r\n{headers}Content-Length: {len(body)}\r\n\r\n{body}"


def change(number: int, notes: str = "") -> str:
    return f'id: abcd-{number}\nevent: bookings\ndata: {{"type":"UPDATE","record":{{"id":1,"notes":"{notes}"}}}}\n\n'


@dataclass
class Played:
    """A gateway that gives each request the next of its answers, in the pieces that they have; `...` holds the connection open."""

    answers: list[tuple[object, ...]]
    port: int = 0
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        for piece in self.answers.pop(0) if self.answers else ():
            if piece is ...:
                await reader.read()
            else:
                writer.write(piece if isinstance(piece, bytes) else str(piece).encode())
                await writer.drain()
                # A piece is a packet of its own.
                await asyncio.sleep(0)
        writer.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def sent(self, header: str) -> list[str | None]:
        """Returns what each request said in a header."""
        found = [[line.split(": ", 1)[1] for line in head.split("\r\n") if line.lower().startswith(f"{header}: ")] for head in self.heads]
        return [values[0] if values else None for values in found]


Play = Callable[..., Awaitable[Played]]


@pytest.fixture
async def play() -> AsyncIterator[Play]:
    """Starts a played gateway with its answers."""
    servers: list[asyncio.Server] = []

    async def start(*answers: tuple[object, ...]) -> Played:
        played = Played(list(answers))
        server = await asyncio.start_server(played.serve, "127.0.0.1", 0)
        servers.append(server)
        played.port = server.sockets[0].getsockname()[1]
        return played

    yield start
    for server in servers:
        server.close()


async def collect(played: Played, since: str | None = None, tokens: str = "t", count: int = 100, **more: object) -> list[Event | Gap]:
    """Follows until the end, or so many events and gaps; `tokens` are the letters of successive tokens."""
    given = iter(tokens)
    last = ""

    def token() -> str:
        nonlocal last
        last = next(given, last)
        return last

    found: list[Event | Gap] = []
    async with asyncio.timeout(20), aclosing(follow(Wanted(played.url, "bookings", token, since=since, **more))) as events:  # type: ignore[arg-type]
        async for each in events:
            found.append(each)
            if len(found) == count:
                break
    return found


def names(found: list[Event | Gap]) -> list[str]:
    return [each.name if isinstance(each, Event) else "-" for each in found]


async def test_events_are_read_whatever_the_pieces(play: Play) -> None:
    """Events come out whole however their bytes are cut, with letters that others take for line ends; comments leave no trace."""
    notes = "Zoë 🛠 \u2028\u0085"
    text = READY + ":\n" + change(2, notes) + ":\n:\n" + change(3) + GOODBYE
    played = await play((HEAD, *(bytes([byte]) for byte in text.encode())))
    found = await collect(played)
    assert names(found) == ["ready", "bookings", "bookings", "closed"]
    assert [each.id for each in found if isinstance(each, Event)] == ["abcd-1", "abcd-2", "abcd-3", "abcd-9"]
    assert isinstance(found[1], Event)
    assert found[1].content["record"]["notes"] == notes


async def test_resumes_with_the_last_id(play: Play) -> None:
    """After a cut, in the middle of an event, it comes back with the id of the last whole one, and pauses as `retry:` said."""
    patient = READY.replace("retry: 20", "retry: 150")
    played = await play((HEAD, patient, change(2), "id: abcd-3\nevent: bookings\nda"), (HEAD, READY, GOODBYE))
    found = await collect(played, since="abcd-0")
    assert names(found) == ["ready", "bookings", "-", "ready", "closed"]
    assert played.sent("last-event-id") == ["abcd-0", "abcd-2"]
    assert isinstance(found[2], Gap)
    assert found[2].pause_seconds == 0.15


async def test_keeps_its_place_where_nothing_began(play: Play) -> None:
    """An ending before any `ready` takes away neither where to begin nor the id of before; what a snapshot has begun does."""
    refused = 'id: none-0\nevent: reconnect\ndata: {"reason":"unavailable","retry":10}\n\n'
    page = 'id: none-0\nevent: snapshot\ndata: {"stream":"bookings","rows":[],"done":false}\n\n'
    played = await play((HEAD, refused), (HEAD, READY, change(2)), (HEAD, refused), (HEAD, READY, page), (HEAD, READY, GOODBYE))
    await collect(played, since="earliest")
    assert played.sent("last-event-id") == ["earliest", "earliest", "abcd-2", "abcd-2", "none-0"]


async def test_waits_as_it_is_told(play: Play) -> None:
    """`reconnect` says how long to wait, and so does `Retry-After`; a busy gateway is asked again for as long as it takes."""
    reconnect = 'id: abcd-2\nevent: reconnect\ndata: {"reason":"shutdown","retry":10}\n\n'
    busy = [(problem(status, headers="Retry-After: 0.01\r\n"),) for status in (503, 429, 502, 503, 500)]
    played = await play((HEAD, READY, reconnect), *busy, (HEAD, READY, GOODBYE))
    found = await collect(played)
    assert names(found) == ["ready", "reconnect", *"------", "ready", "closed"]
    gaps = [each for each in found if isinstance(each, Gap)]
    # No shorter than the least, and longer where what was told has not helped.
    assert gaps[0].pause_seconds == 0.1
    assert all(0.1 <= gap.pause_seconds <= 2 for gap in gaps[1:])
    assert "shutdown" in gaps[0].why
    assert "503: because" in gaps[1].why


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Malformed), (414, Malformed), (401, Refused), (403, Refused), (404, Refused), (410, Refused)]
)
async def test_gives_up_where_the_answer_will_be_the_same(play: Play, status: int, kind: type[FollowError]) -> None:
    """An answer that says no for good ends it, with what the gateway says of it; it is not asked again."""
    played = await play((problem(status, "for a reason"),))
    with pytest.raises(kind, match=f"{status}: for a reason"):
        await collect(played)
    assert len(played.heads) == 1


async def test_gives_up_where_there_is_no_gateway(play: Play) -> None:
    """Where nothing that is a stream was ever answered, three attempts are enough: a page, a redirect, a connection that is closed."""
    page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"
    moved = "HTTP/1.1 308 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"
    played = await play((page,), (moved,), ())
    with pytest.raises(Unreachable, match="no gateway"):
        await collect(played)
    assert len(played.heads) == 3


async def test_does_not_give_up_once_it_was_there(play: Play) -> None:
    """After a stream it goes on asking however often nothing answers: the counterpart of giving up at the start."""
    page = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi"
    played = await play((HEAD, READY), *([(page,), ()] * 3), (HEAD, READY, GOODBYE))
    found = await collect(played)
    assert names(found) == ["ready", *"-------", "ready", "closed"]


async def test_silence_is_a_lost_connection(play: Play) -> None:
    """Where the heartbeats that `ready` speaks of do not come, it comes back."""
    quick = READY.replace('"heartbeat":8', '"heartbeat":0.05')
    played = await play((HEAD, quick, ...), (HEAD, READY, GOODBYE))
    found = await collect(played)
    assert names(found) == ["ready", "-", "ready", "closed"]
    assert isinstance(found[1], Gap)
    assert "nothing was heard" in found[1].why


async def test_renews_the_token(play: Play) -> None:
    """At `auth-expiring` a newer token is handed to the open stream, and to no other address than its own."""
    expiring = 'id: abcd-2\nevent: auth-expiring\ndata: {"expires_at":"2026-05-04T13:31:37Z"}\n\n'
    done = "HTTP/1.1 204 No Content\r\n\r\n"
    played = await play((HEAD, READY, expiring, GOODBYE, ...), (done,))
    found = await collect(played, tokens="ab")
    assert names(found) == ["ready", "auth-expiring", "closed"]
    assert played.sent("authorization") == ["Bearer a", "Bearer b"]
    assert played.heads[1].startswith("POST /streams/connections/c0ffee/token ")


async def test_comes_back_with_a_newer_token(play: Play) -> None:
    """`closed` ends it only where there is no other token than the one that was closed."""
    closed = GOODBYE.replace("revoked", "expired")
    played = await play((HEAD, READY, closed), (HEAD, READY, closed))
    found = await collect(played, tokens="abb")
    assert names(found) == ["ready", "closed", "-", "ready", "closed"]
    assert played.sent("authorization") == ["Bearer a", "Bearer b"]


async def test_what_is_asked_for(play: Play) -> None:
    """Streams and filters arrive as they were given, whatever characters they have."""
    played = await play((HEAD, READY, GOODBYE))
    await collect(played, query=(("status", "in.(pending,a b)"), ("start_time", "gte.2026-05-04T10:00:00+02:00"), ("snapshot", "1")))
    line = played.heads[0].split("\r\n")[0]
    assert line.startswith("GET /streams/bookings?status=in.")
    assert "%2B02" in line
    assert line.endswith("&snapshot=1 HTTP/1.1")


def test_data_that_is_no_object() -> None:
    """Data of another shape than an object has no members, and numbers keep their digits."""
    assert Event("", "", "[1]").content == {}
    assert Event("", "", "{").content == {}
    assert Event("", "", '{"a":' * 100_000).content == {}
    assert str(Event("", "", '{"price":79.00}').content["price"]) == "79.00"


async def test_a_gateway_that_says_at_once_is_not_hammered(play: Play) -> None:
    """Told to come back at once, again and again, it waits longer each time it is of no use, and a moment at least."""
    reconnect = 'id: abcd-2\nevent: reconnect\ndata: {"reason":"shutdown","retry":0}\n\n'
    busy = [(problem(503, headers="Retry-After: 0\r\n"),)] * 4
    found = await collect(await play((HEAD, READY, reconnect), *busy, (HEAD, READY, GOODBYE)))
    assert all(each.pause_seconds >= 0.1 for each in found if isinstance(each, Gap))


async def test_bytes_that_are_no_text(play: Play) -> None:
    """What is no UTF-8 is read as a browser reads it, and ends nothing."""
    damaged = change(2, "abc").encode().replace(b"abc", b"a\xff\xfeb")
    found = await collect(await play((HEAD, READY, damaged, GOODBYE)))
    assert names(found) == ["ready", "bookings", "closed"]
    assert isinstance(found[1], Event)
    assert found[1].content["record"]["notes"] == "a\ufffd\ufffdb"
