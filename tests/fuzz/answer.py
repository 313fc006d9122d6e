"""A client of plain sockets: sends bytes, and reads what comes as answers, strictly: one byte that is none of one is told."""

import contextlib
import re
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3}) [ -~]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9a-zA-Z-]+): ([\t -~\x80-\xff]*)")
_CHUNK = re.compile(rb"([0-9a-f]{1,8})\r\n")
_PATIENCE_SECONDS = 0.25
"""How long a silent server is listened to before it is left waiting; what it owes it is asked for later."""


@dataclass(frozen=True)
class Answer:
    """One answer; `whole` if its body has come to its end, which a stream's never does."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def stream(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


class Garbled(Exception):
    """What has come is no answer of HTTP/1.1."""


def read(data: bytes, methods: Sequence[str], closed: bool) -> list[Answer]:
    """Reads answers to requests of these methods. Raises Garbled for what is none, or more than there may be."""
    found: list[Answer] = []
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            break
        first, *lines = head.split(b"\r\n")
        status = _STATUS.fullmatch(first)
        if status is None:
            raise Garbled(f"no status line: {first[:80]!r}")
        headers: dict[str, str] = {}
        for line in lines:
            match = _FIELD.fullmatch(line)
            if match is None:
                raise Garbled(f"no header: {line[:80]!r}")
            name = match[1].decode().lower()
            if name in headers and name in ("content-length", "transfer-encoding", "content-type", "location"):
                raise Garbled(f"{name} twice")
            headers[name] = match[2].decode("latin-1")
        if status[1] == b"100":
            data = rest
            continue
        if len(found) == len(methods):
            raise Garbled(f"more answers than requests: {data[:80]!r}")
        answer, data = _one(int(status[1]), headers, rest, methods[len(found)], closed)
        found.append(answer)
        if not answer.whole:
            break
    return found


def _one(status: int, headers: Mapping[str, str], rest: bytes, method: str, closed: bool) -> tuple[Answer, bytes]:
    if method == "HEAD" and status in (400, 414, 431) and headers.get("connection") == "close":
        # Refused by the parser, which knows no method yet.
        method = ""
    if method == "HEAD" or status in (204, 304):
        return Answer(status, headers, b"", True), rest
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while (chunk := _CHUNK.match(rest)) is not None:
            size, start = int(chunk[1], 16), chunk.end()
            if len(rest) < start + size + 2:
                break
            if rest[start + size : start + size + 2] != b"\r\n":
                raise Garbled("a chunk has no end")
            body += rest[start : start + size]
            rest = rest[start + size + 2 :]
            if not size:
                return Answer(status, headers, body, True), rest
        return Answer(status, headers, body, False), rest
    if "content-length" in headers:
        size = int(headers["content-length"])
        return Answer(status, headers, rest[:size], len(rest) >= size), rest[size:]
    return Answer(status, headers, rest, closed), b""


@dataclass
class Exchange:
    """What was sent on one connection, and what has come. `settled` if nothing more is owed: it was answered, or closed."""

    sent: bytes
    methods: Sequence[str]
    connection: socket.socket = field(repr=False)
    received: bytes = b""
    closed: bool = False
    settled: bool = False

    @property
    def answers(self) -> list[Answer]:
        return read(self.received, self.methods, self.closed)

    def listen(self, within: float) -> None:
        """Reads until nothing more is owed, for so many seconds at most."""
        deadline = time.monotonic() + within
        while not self.settled:
            self.connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self.connection.recv(65536)
            except TimeoutError:
                return
            except OSError:
                data = b""
            self.received += data
            self.closed = self.closed or not data
            self.settled = self.closed or self._answered()
        self.connection.close()

    def _answered(self) -> bool:
        try:
            answers = self.answers
        except Garbled:
            return True
        if not answers:
            return False
        last = answers[-1]
        if last.stream and not last.whole:
            return _begun(last.body)
        return last.whole and (len(answers) == len(self.methods) and last.headers.get("connection") != "close")


def _begun(body: bytes) -> bool:
    """Whether a stream has said where it begins, and, where that is said, why."""
    events = body.count(b"\n\n")
    return events >= (2 if b'"status":"reset"' in body else 1)


def exchange(port: int, data: bytes, *methods: str, patience: float = _PATIENCE_SECONDS) -> Exchange:
    """Sends bytes that are requests of these methods, or something else, and returns what has come of it so far."""
    connection = socket.create_connection(("127.0.0.1", port), 20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made = Exchange(data, methods or (data.split(b" ", 1)[0].decode("latin-1"),), connection)
    # It may be refused while it is still being sent.
    with contextlib.suppress(OSError):
        connection.sendall(data)
    made.listen(patience)
    return made
