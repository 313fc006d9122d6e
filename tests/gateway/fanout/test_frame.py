"""The bytes of one event, held against the strict reader, and ids that are read as they were written."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.fanout import frame
from gateway.fanout.frame import Cursor
from gateway.fanout.look import Form
from gateway.wire import Entry
from streams.stream import Stream
from tests.support.sse import CONTROL, parse

EPOCHS = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=4, max_size=16)
NAMES = st.from_regex(r"[a-z][a-z-]{0,30}", fullmatch=True)
NOBODYS = [
    "",
    " ",
    "-",
    "k3f9",
    "k3f9-",
    "-7",
    "k3f9--7",
    "k3f9-+7",
    "k3f9-7_0",
    "k3f9- 7",
    " k3f9-7",
    "k3f9-7 ",
    "k3f9-7\n",
    "k3f9-7\x00",
    "k3f9-٧",
    "k3f9-７",
    "k3f9-7.0",
    "k3f9-0x7",
    "k3f9-7-",
    "k3f9-7-Orders",
    "k3f9-7-orders-7",
    "K3F9-7",
    "abc-7",
    "a" * 17 + "-7",
    "k3f9-" + "9" * 19,
    "k3f9-7-" + "a" * 32,
    "earliest",
    "x" * 10_000,
]


def entry(data: bytes = b'{"a":1}', kind: str = "UPDATE", position: int = 7) -> Entry:
    return Entry("orders-1", position, 0, "k3f9", "orders", kind, 1, (), data)


@given(EPOCHS, st.integers(0, 10**18 - 1), st.one_of(st.none(), NAMES))
def test_cursor_round_trip(epoch: str, position: int, stream: str | None) -> None:
    """An id of ours is read as it was written, and is short and safe for a CORS request."""
    cursor = Cursor(epoch, position or int(stream is not None), stream)
    assert Cursor.parse(str(cursor)) == cursor
    assert len(str(cursor)) <= 64 + 4
    assert set(str(cursor)) <= set("0123456789abcdefghijklmnopqrstuvwxyz-")


@given(EPOCHS, st.integers(0, 10**18 - 1), st.one_of(st.none(), NAMES))
def test_ids_keep_to_64_characters(epoch: str, position: int, stream: str | None) -> None:
    """No id is longer than the 64 characters that the contract allows."""
    assert len(str(Cursor(epoch, position, stream))) <= 64


@pytest.mark.parametrize("text", NOBODYS, ids=lambda text: repr(text[:16]))
def test_what_is_no_id_of_ours(text: str) -> None:
    """Whatever is not written exactly as we write it is no id."""
    assert Cursor.parse(text) is None


@given(st.text(max_size=80))
def test_any_text_is_an_id_or_none(text: str) -> None:
    """Text is an id only if writing it again gives the same text, leading zeros apart."""
    cursor = Cursor.parse(text)
    assert cursor is None or [part.lstrip("0") for part in str(cursor).split("-")] == [part.lstrip("0") for part in text.split("-")]


ORDERS = Stream(name="orders", table="shop.orders", columns=("id",), channel="orders", events={"DELETE": "order-gone"})
RAW = Form(ORDERS, "raw", chunked=False)


def test_frame_of_a_change() -> None:
    """A change is an event of its stream: id, event, data, each on one line, LF only, ended by a blank line."""
    assert frame.encode(entry(), RAW) == b'id: k3f9-7\nevent: orders\ndata: {"a":1}\n\n'


def test_frame_has_the_name_that_is_declared() -> None:
    """A stream may name its events by what has happened."""
    assert frame.encode(entry(kind="DELETE"), RAW) == b'id: k3f9-7\nevent: order-gone\ndata: {"a":1}\n\n'


def test_frame_is_a_chunk() -> None:
    """On a connection that was handed over a frame is a chunk of HTTP/1.1: its length in hexadecimal, and it."""
    plain = frame.encode(entry(), RAW)
    assert frame.encode(entry(), Form(ORDERS, "raw", chunked=True)) == f"{len(plain):x}\r\n".encode() + plain + b"\r\n"


def test_frame_of_a_reset() -> None:
    """A reset from the log is the event `reset`, not one of the stream."""
    assert parse(frame.encode(entry(b"{}", kind="reset"), RAW)[:-2], first=False).name == "reset"


def test_frame_is_encoded_once() -> None:
    """A frame is made once for all who get it, except for the one whose position goes on."""
    one = entry()
    assert frame.encode(one, RAW) is frame.encode(one, RAW)
    assert frame.encode(one, RAW, more=True) == b'id: k3f9-7-orders\nevent: orders\ndata: {"a":1}\n\n'
    assert frame.encode(one, RAW).startswith(b"id: k3f9-7\n")


@given(
    st.sampled_from(sorted(CONTROL)),
    st.dictionaries(st.text(max_size=8), st.text(max_size=20)),
    st.one_of(st.none(), st.integers(0, 60000)),
)
def test_control_frames_keep_the_rules(name: str, data: dict[str, str], retry_ms: int | None) -> None:
    """A control event keeps the rules of the wire whatever its data, with `retry` only where it is asked for."""
    frame_bytes = frame.control(name, Cursor("k3f9", 7), data, retry_ms)
    event = parse(frame_bytes.removesuffix(b"\n\n"), first=retry_ms is not None)
    assert (event.id, event.name, event.data) == ("k3f9-7", name, data)
    assert (b"retry: " in frame_bytes) == (retry_ms is not None)


def test_heartbeat_is_a_bare_line() -> None:
    """The heartbeat is a colon and a line feed: a blank line after it would be an empty event for some clients."""
    assert frame.HEARTBEAT == b":\n"


def test_strict_reader_negative_control() -> None:
    """The reader that the frames are held against refuses each thing that a client stumbles over."""
    good = b"id: k3f9-7\nevent: orders\ndata: {}"
    assert parse(good, first=False).data == orjson.loads(b"{}")
    for bad in (
        good.replace(b"\n", b"\r\n"),
        good.removeprefix(b"id: k3f9-7\n"),
        good + b"\ndata: {}",
        b"retry: 5\n" + good,
        good.replace(b"orders", b"error"),
        good.replace(b"id: k3f9-7", b"id: 7"),
        good + b"\nidx: 3",
        good.replace(b"data: ", b"data:"),
    ):
        with pytest.raises(AssertionError):
            parse(bad, first=False)
