"""A bridge that dies at a given point: `python -m tests.support.crash POINT FUSE`.

It works like any other until the file FUSE exists, and ends with `os._exit` at the third passage of POINT after that: no
`finally`, no goodbye to Postgres or Redis. What it runs is the bridge as it is; only methods are wrapped, in this process.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import sql
from gateway import wire
from gateway.bridge.bridge import Bridge
from gateway.bridge.publisher import Place, Publisher
from gateway.bridge.sequencer import Sequencer

EXIT_CODE = 42
PASSAGES = 3
POINTS = (
    "before-look",
    "after-look",
    "before-commit",
    "after-commit",
    "before-append",
    "after-append",
    "after-reply",
    "after-beat",
)
"""Looking is the sequencer's select, the commit that of its step; an append has run in Redis before its reply is read."""
FORGETFUL = "forgetful-begin"
"""No point but a bridge that must not be: it goes on from the head of the log, whatever Redis has. It never dies."""


class Fuse:
    """Counts passages, once it is lit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._passages = 0

    def burn(self) -> None:
        if self._path.exists():
            self._passages += 1
            if self._passages == PASSAGES:
                os._exit(EXIT_CODE)


def arm(point: str, fuse: Fuse) -> None:
    """Wraps what leads through the point."""
    step, row = Sequencer.step, Sequencer._row
    init, begin, send, beat = Publisher.__init__, Publisher.begin, Publisher.send, Publisher.beat

    async def look(self: Sequencer, name: str, *args: object) -> Any:
        if name == "waiting" and point == "before-look":
            fuse.burn()
        answer = await row(self, name, *args)
        if name == "waiting" and point == "after-look" and answer["waiting"]:
            fuse.burn()
        return answer

    async def committed(self: Sequencer) -> int:
        transaction = self._connection.transaction()
        await transaction.start()
        moved = await step(self)
        if moved and point == "before-commit":
            fuse.burn()
        await transaction.commit()
        if moved and point == "after-commit":
            fuse.burn()
        return moved

    def opened(self: Publisher, *args: Any) -> None:
        init(self, *args)
        script = self._append

        async def run(**options: Any) -> Any:
            if point == "before-append":
                fuse.burn()
            answer = await script(**options)
            if point == "after-append":
                fuse.burn()
            return answer

        self._append = run

    async def replied(self: Publisher, *args: Any) -> None:
        await send(self, *args)
        fuse.burn()

    async def begun(self: Publisher) -> Place:
        place = await begin(self)
        head = await self._connection.fetchrow(sql.statement("head"))
        assert head is not None
        place.position = head["position"]
        await self._redis.hset(wire.META, "position", place.position)
        return place

    async def beaten(self: Publisher) -> None:
        await beat(self)
        fuse.burn()

    wrappers: dict[str, tuple[type, str, Callable[..., Any]]] = {
        "look": (Sequencer, "_row", look),
        "commit": (Sequencer, "step", committed),
        "append": (Publisher, "__init__", opened),
        "reply": (Publisher, "send", replied),
        "beat": (Publisher, "beat", beaten),
        "begin": (Publisher, "begin", begun),
    }
    owner, name, wrapper = wrappers[point.partition("-")[2]]
    setattr(owner, name, wrapper)


def command(point: str, fuse: Path) -> list[str]:
    """Returns what starts such a bridge."""
    return [sys.executable, "-m", "tests.support.crash", point, str(fuse)]


def main(point: str, fuse: str) -> None:
    arm(point, Fuse(Path(fuse)))
    urls = os.environ["DATABASE_URL"], os.environ["REDIS_URL"]
    asyncio.run(Bridge(*urls, notify="armed", keep=timedelta(hours=24), log_entries=1000).run())


if __name__ == "__main__":
    main(*sys.argv[1:])
