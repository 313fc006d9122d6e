"""Many clients, a process of its own: opens streams, reads them with epoll, and counts events without parsing them.

Reads one line of JSON from stdin: port, path, token, clients, ready (what a stream says first). Says `{"ready": n, "seconds": s}`, then
for each further line on stdin what arrived since the last: `{"events", "delays", "busy"}`. Delays are those of a few clients, in
seconds since the time that stands in the event; busy is its own CPU time. Times are of the monotonic clock, which processes share.
"""

import os
import select
import socket
import sys
import time
from typing import Any

import orjson

_SAMPLED = 50
_AT_ONCE = 200
_EVENT = b"event: bench\n"
_TIME = b'"at":'


class Crowd:
    """The clients' sockets."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._epoll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._sampled: set[int] = set()
        self._first = str(config["ready"]).encode()
        self._ready: set[int] = set()
        self.events = 0
        self.ended = 0
        self.delays: list[float] = []

    def open(self) -> None:
        """Opens all, a bounded number at once, and returns when each is ready."""
        count = self._config["clients"]
        head = (
            f"GET {self._config['path']} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
            f"Authorization: Bearer {self._config['token']}\r\n\r\n"
        ).encode()
        for number in range(count):
            each = socket.create_connection(("127.0.0.1", self._config["port"]))
            each.sendall(head)
            each.setblocking(False)
            self._sockets[each.fileno()] = each
            if number % max(1, count // _SAMPLED) == 0:
                self._sampled.add(each.fileno())
            self._epoll.register(each.fileno(), select.EPOLLIN)
            while len(self._sockets) - len(self._ready) >= _AT_ONCE:
                self.read(1.0)
        while len(self._ready) < count:
            self.read(1.0)

    def watch(self, descriptor: int) -> None:
        self._epoll.register(descriptor, select.EPOLLIN)

    def read(self, timeout: float) -> bool:
        """Reads what is there; True if something else that is watched has something to say."""
        other = False
        for descriptor, _ in self._epoll.poll(timeout):
            each = self._sockets.get(descriptor)
            if each is None:
                other = True
                continue
            data = each.recv(262_144)
            if not data:
                self.ended += 1
                self._epoll.unregister(descriptor)
                continue
            if descriptor not in self._ready and self._first in data:
                self._ready.add(descriptor)
            found = data.count(_EVENT)
            self.events += found
            if found and descriptor in self._sampled:
                now = time.monotonic()
                self.delays += [now - float(part[: part.index(b",")]) for part in data.split(_TIME)[1:] if b"," in part[:32]]
        return other


def _say(what: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(what) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    crowd = Crowd(orjson.loads(sys.stdin.buffer.readline()))
    started = time.monotonic()
    crowd.open()
    _say({"ready": len(crowd._ready), "seconds": time.monotonic() - started})
    crowd.watch(sys.stdin.fileno())
    while True:
        if crowd.read(1.0):
            if not os.read(sys.stdin.fileno(), 4096):
                return
            times = os.times()
            _say({"events": crowd.events, "ended": crowd.ended, "delays": crowd.delays, "busy": times.user + times.system})
            crowd.events, crowd.delays = 0, []


if __name__ == "__main__":
    main()
