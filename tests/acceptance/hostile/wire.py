"""The table of bytes that no browser sends."""

from collections.abc import Callable, Mapping

from tests.acceptance.hostile.client import bearer, request
from tests.acceptance.hostile.maker import hs

Bytes = Callable[[int], bytes]


def head(*lines: str, path: str = "/streams", method: str = "GET", tail: bytes = b"") -> Bytes:
    """Writes a request's head with a good token, and what comes behind it."""
    return lambda port: request(port, path, bearer(hs()), *lines, method=method).replace(b"Content-Length: 0\r\n", b"") + tail


SMUGGLED = b"GET /streams HTTP/1.1\r\nHost: x\r\nX: "

WIRE: Mapping[str, tuple[Bytes, tuple[int, ...]]] = {
    "5,000 headers": (head(*(f"X-{n}: canary" for n in range(5000))), (431,)),
    "5,000 short headers": (head(*("a:b" for _ in range(9000))), (431,)),
    "400 kB header": (head("X: " + "canary" * 70_000), (431,)),
    "1 MB header": (head("X: " + "x" * 2**20), (431,)),
    "1 MB token": (lambda port: request(port, "/streams", bearer("A" * 2**20)), (431,)),
    "40 kB cookie": (head("Cookie: " + "a=canary; " * 4000), (431,)),
    "1 MB header's name": (head("X" * 2**20 + ": 1"), (431,)),
    "17 kB address": (head(path="/streams?x=" + "y" * 17_000), (414,)),
    "100 kB address": (head(path="/streams/" + "y" * 100_000), (414, 431)),
    "1 MB address": (head(path="/streams/" + "y" * 2**20), (414, 431)),
    "100 kB query": (head(path="/streams?" + "a=b&" * 25_000), (414, 431)),
    "two Content-Length": (head("Content-Length: 5", "Content-Length: 6", method="POST", tail=b"hello!"), (400,)),
    "two equal Content-Length": (head("Content-Length: 5", "Content-Length: 5", method="POST", tail=b"hello"), (400,)),
    "Content-Length of a list": (head("Content-Length: 5, 6", method="POST", tail=b"hello!"), (400,)),
    "Content-Length negative": (head("Content-Length: -1", method="POST"), (400,)),
    "Content-Length with a plus": (head("Content-Length: +5", method="POST", tail=b"hello"), (400,)),
    "Content-Length in hex": (head("Content-Length: 0x5", method="POST", tail=b"hello"), (400,)),
    "Content-Length huge": (head("Content-Length: " + "9" * 30, method="POST"), (400, 413)),
    "Content-Length and chunked": (
        head("Content-Length: 6", "Transfer-Encoding: chunked", method="POST", tail=b"0\r\n\r\n" + SMUGGLED),
        (400,),
    ),
    "chunked and Content-Length": (
        head("Transfer-Encoding: chunked", "Content-Length: 60", method="POST", tail=b"0\r\n\r\n" + SMUGGLED),
        (400,),
    ),
    "chunked, another spelling": (head("Transfer-Encoding: xchunked", method="POST", tail=b"0\r\n\r\n" + SMUGGLED), (400, 501)),
    "chunked before identity": (head("Transfer-Encoding: chunked, identity", method="POST", tail=b"0\r\n\r\n"), (400, 501)),
    "chunked with a blank before the colon": (head("Transfer-Encoding : chunked", method="POST", tail=b"0\r\n\r\n"), (400,)),
    "chunk of no size": (head("Transfer-Encoding: chunked", method="POST", tail=b"canary\r\n\r\n"), (400, 405)),
    "blank before the colon": (head("X-Canary : 1"), (400,)),
    "header without a colon": (head("canary"), (400,)),
    "header without a name": (head(": canary"), (400,)),
    "folded header": (head("X: 1\r\n canary: 2"), (400,)),
    "CR in a header": (head("X: 1\rX-Canary: 2"), (400,)),
    "LF in a header's name": (head("X\nCanary: 2"), (400,)),
    "NUL in a header": (head("X: 1\0canary"), (400,)),
    "NUL in a header's name": (head("X\0canary: 1"), (400,)),
    "NUL in the token": (lambda port: request(port, "/streams", bearer(hs() + "\0")), (400,)),
    "CR in the token": (lambda port: request(port, "/streams", bearer(hs() + "\rX: canary")), (400,)),
    "NUL in Last-Event-ID": (head("Last-Event-ID: abcd-\x007", path="/streams/bookings"), (400,)),
    "CR in Last-Event-ID": (head("Last-Event-ID: abcd-\r7", path="/streams/bookings"), (400,)),
    "NUL in the path": (head(path="/streams\0canary"), (400,)),
    "CR in the path": (head(path="/streams\rX-Canary:1"), (400,)),
    "blank in the path": (head(path="/streams canary"), (400,)),
    "NUL in the query": (head(path="/streams?a=\0canary"), (400,)),
    "an unknown version": (lambda port: b"GET /streams HTTP/9.9\r\nHost: x\r\n\r\n", (400, 505)),
    "no version": (lambda port: b"GET /streams\r\n\r\n", (400, 401, 505)),
    "an unknown method": (lambda port: b"CANARY /streams HTTP/1.1\r\nHost: x\r\n\r\n", (400, 401, 405, 501)),
    "CONNECT": (lambda port: b"CONNECT canary.example:443 HTTP/1.1\r\nHost: canary.example\r\n\r\n", (400, 401, 404, 405)),
    "TRACE": (head(method="TRACE"), (400, 405)),
    "a TLS greeting": (lambda port: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 300, (400,)),
    "HTTP/2's greeting": (lambda port: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    "only line ends": (lambda port: b"\r\n" * 100 + b"canary\r\n\r\n", (400,)),
    "noise": (lambda port: bytes(range(256)) * 20 + b"\r\n\r\n", (400,)),
    "absolute form": (head(path="http://canary.example/admin/revocations"), (400, 404, 405, 421)),
    "absolute form of another scheme": (head(path="file:///etc/passwd"), (400, 404, 421)),
    "asterisk": (head(path="*"), (400, 404)),
    "up to admin": (head(path="/streams/../admin/revocations"), (400, 404, 405)),
    "up to admin, escaped": (head(path="/streams/..%2fadmin"), (404,)),
    "up to admin, escaped, deeper": (head(path="/streams/..%2fadmin%2frevocations"), (404,)),
    "up to admin, twice escaped": (head(path="/streams/%252e%252e%252fadmin"), (404,)),
    "up to a file": (head(path="/streams/..%2f..%2f..%2fetc%2fpasswd"), (404,)),
    "backslashes": (head(path="/streams/..%5cadmin"), (404,)),
    "%00": (head(path="/streams/%00"), (404,)),
    "%00 behind a stream": (head(path="/streams/bookings%00"), (404,)),
    "line break behind a stream": (head(path="/streams/bookings%0d%0aX-Canary:1"), (404,)),
    "not UTF-8": (head(path="/streams/%ff%fe"), (404,)),
    "slash behind a stream": (head(path="/streams/bookings/"), (307, 404)),
    "two slashes": (head(path="//canary.example/streams"), (404,)),
    "comma bomb": (head(path="/streams/" + "," * 8000), (400, 404)),
    "many streams": (head(path="/streams/" + ",".join(f"s-{n}" for n in range(1000))), (400,)),
    "many parameters": (head(path="/streams/bookings?" + "&".join(f"a{n}=b" for n in range(2000))), (400,)),
    "parameter of NUL": (head(path="/streams/bookings?status=eq.%00"), (400,)),
    "parameter of SQL": (head(path="/streams/bookings?id=eq.1;drop%20table%20bookings"), (400,)),
    "range of everything": (head("Range: bytes=0-,0-,0-", path="/streams/canary-none"), (404,)),
    "upgrade": (head("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x", path="/streams/none"), (400, 404, 426)),
    "method override": (head("X-HTTP-Method-Override: POST", path="/admin/revocations"), (404, 405)),
    "rewritten path": (head("X-Original-URL: /admin", "X-Rewrite-URL: /admin", path="/streams/none"), (404,)),
}
"""What no browser sends, and what the one answer to it may be. Of an unparsable request only the status counts."""
