"""A web process that lacks one protection: `python -m tests.support.broken FAULT web`.

What it runs is the web process as it is; only a method is replaced, in this process. Controls start it.
"""

import sys
from typing import Any

from gateway import cli
from gateway.fanout.catchup import CatchUp
from gateway.fanout.frame import Cursor
from gateway.fanout.hub import Hub
from gateway.fanout.page import Head, Page
from gateway.fanout.repair import Repair
from gateway.fanout.subscriber import Subscriber

RESUME = "resume"
"""Whoever comes with an id is told that it is resumed, and goes on from now."""
REPAIR = "repair"
"""What the tail has missed is taken for heard."""
SPREAD = "spread"
"""A drain ends all at once, and tells all to come back at the same time."""
MODULE = "tests.support.broken"


def _resume() -> None:
    first_page = CatchUp._first_page

    async def page(self: CatchUp, subscriber: Subscriber, wanted: Cursor | None, fault: str) -> tuple[Page, bytes]:
        if wanted is None:
            return await first_page(self, subscriber, wanted, fault)
        subscriber.begin_page()
        start = await self._now(subscriber.channels)
        subscriber.start(start)
        return Page(start.epoch, (), start.position, False, "redis"), self._ready(subscriber, "resumed", start)

    CatchUp._first_page = page  # type: ignore[method-assign]


def _repair() -> None:
    async def read(self: Repair, channels: dict[str, Any], head: Head) -> None:
        self._roster.arrive(channels.values(), head.position)
        self._roster.life = head.life

    Repair._read = read  # type: ignore[method-assign]


def _spread() -> None:
    drain, end = Hub.drain, Hub.end

    async def at_once(self: Hub, window_seconds: float) -> None:
        await drain(self, 0)

    def together(self: Hub, subscriber: Subscriber, reason: str, retry_ms: int | None = None) -> None:
        end(self, subscriber, reason, 1000)

    Hub.drain = at_once  # type: ignore[method-assign]
    Hub.end = together  # type: ignore[method-assign]


def main(fault: str, *args: str) -> None:
    {RESUME: _resume, REPAIR: _repair, SPREAD: _spread}[fault]()
    sys.argv = ["rowcast", *args]
    cli.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
