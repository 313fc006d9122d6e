"""A web process with a leak: `python -m tests.endurance.leak KIND`, configured as `rowcast web` is.

What it runs is the web process as it is; only methods of the hub are wrapped, in this process.
"""

import asyncio
import os
import sys
from typing import Any

from gateway import cli
from gateway.fanout.hub import Hub
from gateway.fanout.subscriber import Subscriber
from tests.support.cluster import Program

STREAMS = "streams"
"""A subscriber whose connection has ended is not forgotten."""
REMAINS = "remains"
"""Each stream leaves a task that waits for ever, and a file open."""

_kept: set["asyncio.Task[Any]"] = set()


def arm(kind: str) -> None:
    """Wraps what is to leak."""
    enter = Hub.enter

    def stay(self: Hub, subscriber: Subscriber) -> None:
        pass

    def entered(self: Hub, subscriber: Subscriber, *args: Any, **options: Any) -> None:
        _kept.add(asyncio.ensure_future(asyncio.Event().wait()))
        os.open(os.devnull, os.O_RDONLY)
        enter(self, subscriber, *args, **options)

    if kind == STREAMS:
        Hub.leave = stay  # type: ignore[method-assign]
    elif kind == REMAINS:
        Hub.enter = entered  # type: ignore[method-assign]
    else:
        raise SystemExit(f"there is no leak {kind!r}")


async def put_in_place(web: Program, kind: str) -> None:
    """Lets a web process run with a leak from now on."""
    await web.stop()
    web.module, web.args = __name__, [kind]
    await web.start()


if __name__ == "__main__":
    arm(sys.argv[1])
    sys.argv[1:] = ["web"]
    cli.main()
