"""Requests of bytes: such as clients send, such as attackers send, and such as a broken line makes of either."""

import re
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.ground import SENDER
from tests.support.gateway import token

_GOOD = f"Bearer {token(SENDER, ttl=86_400)}".encode()
_METHODS = [
    b"GET",
    b"HEAD",
    b"POST",
    b"DELETE",
    b"OPTIONS",
    b"PUT",
    b"PATCH",
    b"TRACE",
    b"CONNECT",
    b"PRI",
    b"M-SEARCH",
    b"get",
    b"G T",
    b"",
]
_TARGETS = [
    b"/streams/bookings",
    b"/streams/bookings,services",
    b"/streams",
    b"/livez",
    b"/readyz",
    b"/openapi.json",
    b"/console",
    b"/auth/ticket",
    b"/auth/session",
    b"/admin/revocations",
    b"/admin/connections/0123456789abcdef",
    b"/streams/connections/0123456789abcdef/token",
    b"*",
    b"http://rowcast/streams/bookings",
    b"http://other:99999/livez",
    b"//other/livez",
    b"/livez?%00=%ff&a",
    b"/livez?\xc3\xa9=\xff",
    b"/l\xc3\xadvez",
    b"/livez#x?y",
    b"/streams/..%2f..%2fadmin",
    b"/%",
    b"/" + b"a" * 17_000,
    b"",
]
_VERSIONS = [b"HTTP/1.1"] * 12 + [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/3", b"http/1.1", b"HTTP/1.1 ", b"", b"SIP/2.0"]
_VALUES: dict[bytes, list[bytes]] = {
    b"Host": [b"rowcast", b"", b"a, b", b"[::1", b"\xff", b"evil.example:0"],
    b"Authorization": [_GOOD, _GOOD, _GOOD, b"Bearer", b"Bearer  ", b"Basic YTpi", b"bearer x.y.z", b"Bearer \xff\xfe"],
    b"Cookie": [b"__Secure-rowcast=x", b"=", b";;;", b"a=b; __Secure-rowcast=", b"\xff=\xff", b"a=" + b"b" * 5000],
    b"Content-Length": [b"0", b"5", b"-1", b"+5", b"0x5", b"5, 5", b"99999999999999999999", b" 5", b"5 ", b""],
    b"Transfer-Encoding": [
        b"chunked",
        b"Chunked",
        b"identity",
        b"gzip, chunked",
        b"chunked, identity",
        b"xchunked",
        b"chunked;q=1",
        b"\x0bchunked",
    ],
    b"Connection": [b"close", b"keep-alive", b"upgrade", b"Upgrade, HTTP2-Settings", b"te", b"close, keep-alive", b""],
    b"Upgrade": [b"websocket", b"h2c", b"", b"TLS/1.0"],
    b"Expect": [b"100-continue", b"100-Continue", b"200-ok"],
    b"Last-Event-ID": [b"earliest", b"abcd-1", b"none-0", b"\xff\xfe", b"a\tb", b"", b"x" * 9000],
    b"Accept": [b"text/event-stream", b"*/*", b"\xff"],
    b"Origin": [b"null", b"http://rowcast", b"https://evil.example", b"\xff", b""],
    b"Referer": [b"http://rowcast/x", b"://", b"x"],
    b"Sec-Fetch-Mode": [b"cors", b"navigate"],
    b"Sec-Fetch-Site": [b"same-origin", b"cross-site"],
    b"X-Forwarded-For": [b"1.2.3.4", b"x", b"\xff"],
    b"X-Forwarded-Proto": [b"https", b"gopher"],
    b"Range": [b"bytes=0-1", b"bytes=0-,0-"],
    b"If-None-Match": [b"*"],
    b"TE": [b"trailers"],
    b"Trailer": [b"Authorization"],
    b"HTTP2-Settings": [b"AAMAAABkAAQAAP__"],
}
_ENDS = [b"\r\n"] * 16 + [b"\n", b"\r", b"\r\n ", b"\r\n\t", b"\n\n"]
_COLONS = [b": "] * 10 + [b":", b" : ", b":\t", b" ", b"::"]
_BODIES = [
    b"",
    b"",
    b"",
    b"hello",
    b'{"sub": "nobody-at-all"}',
    b"0\r\n\r\n",
    b"5\r\nhello\r\n0\r\n\r\n",
    b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"fffffffff\r\nx",
    b"-1\r\n\r\n",
    b"5\r\nhelloXX0\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n\r\n",
    b"\x00" * 20,
]
_ANY_HEADER = st.tuples(st.binary(min_size=1, max_size=12), st.sampled_from(_COLONS), st.binary(max_size=40))
_KNOWN_HEADER = st.sampled_from(sorted(_VALUES)).flatmap(
    lambda name: st.tuples(
        st.sampled_from([name, name, name, name.upper(), name.lower()]), st.sampled_from(_COLONS), st.sampled_from(_VALUES[name])
    )
)


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """A request, and perhaps what follows it, with a little damage."""
    method, target, version = draw(st.sampled_from(_METHODS)), draw(st.sampled_from(_TARGETS)), draw(st.sampled_from(_VERSIONS))
    if draw(st.integers(0, 5)) == 0:
        target = b"/" + draw(st.binary(max_size=30))
    data = b" ".join((method, target, version)) + draw(st.sampled_from(_ENDS))
    headers = draw(st.lists(_KNOWN_HEADER | _KNOWN_HEADER | _KNOWN_HEADER | _ANY_HEADER, max_size=7))
    for name, colon, value in [(b"Host", b": ", b"rowcast"), *headers]:
        data += name + colon + value + draw(st.sampled_from(_ENDS))
    if headers and draw(st.integers(0, 15)) == 0:
        data += b"".join(b"%b: %b\r\n" % (name, value) for name, _, value in headers) * draw(st.integers(1, 700))
    data += b"\r\n" + draw(st.sampled_from(_BODIES))
    return draw(damaged(data)) if draw(st.integers(0, 3)) == 0 else data


@st.composite
def damaged(draw: st.DrawFn, data: bytes, most: int = 3) -> bytes:
    """Bytes of which some were lost, doubled, or became others."""
    for _ in range(draw(st.integers(1, most))):
        at, length = draw(st.integers(0, len(data))), draw(st.integers(0, 8))
        there = data[at : at + length]
        kind = draw(st.sampled_from(["lose", "double", "put", "replace", "end"]))
        if kind == "end":
            data = data[:at]
        else:
            instead = {"lose": b"", "double": there * 2}.get(kind)
            if instead is None:
                instead = draw(st.binary(max_size=8))
            data = data[:at] + instead + data[at + (0 if kind == "put" else length) :]
    return data


_BEGUN = re.compile(rb"([A-Z-]+) [^\r\n]*HTTP/")


def methods(data: bytes) -> tuple[str, ...]:
    """Returns the methods of all that may be a request in some bytes."""
    return tuple(each.decode() for each in _BEGUN.findall(data)) or ("?",)


QUIET: list[tuple[bytes, tuple[str, int]]] = [
    (b"GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", 200)),
    (b"HEAD /livez HTTP/1.1\r\nHost: a\r\n\r\n", ("HEAD", 200)),
    (b"GET /nonsense HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", 404)),
    (b"HEAD /nonsense HTTP/1.1\r\nHost: a\r\n\r\n", ("HEAD", 404)),
    (b"GET /streams HTTP/1.1\r\nHost: a\r\nAuthorization: " + _GOOD + b"\r\n\r\n", ("GET", 200)),
    (b"HEAD /streams/bookings HTTP/1.1\r\nHost: a\r\nAuthorization: " + _GOOD + b"\r\n\r\n", ("HEAD", 200)),
    (b"GET /streams/bookings HTTP/1.1\r\nHost: a\r\n\r\n", ("GET", 401)),
    (b"GET /streams/bookings?a=b HTTP/1.1\r\nHost: a\r\nAuthorization: " + _GOOD + b"\r\n\r\n", ("GET", 400)),
    (b"POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", ("POST", 405)),
    (b"POST /auth/ticket HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", ("POST", 401)),
    (b"GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nGET", ("GET", 200)),
    (b"DELETE /auth/session HTTP/1.1\r\nHost: a\r\n\r\n", ("DELETE", 204)),
    (
        b"POST /admin/revocations HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\nAuthorization: "
        + _GOOD
        + b"\r\n\r\n{}",
        ("POST", 403),
    ),
]
"""Requests that are whole, and what their answer is: whatever came before on the same connection."""


def rows() -> st.SearchStrategy[list[Any]]:
    """Several such requests in a row."""
    return st.lists(st.sampled_from(QUIET), min_size=2, max_size=8)
