"""⑧ Sends a subscriber the rows of its streams, page by page at its pace."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gateway.fanout import frame
from gateway.fanout.snapshot import Snapshots
from gateway.fanout.subscriber import State, Subscriber

_SECONDS = 120.0
"""How long a reader may take for its rows: others wait for its place, and Postgres keeps a transaction open."""


async def send_rows(subscriber: Subscriber, snapshots: Snapshots, heard: Callable[[], Awaitable[None]]) -> None:
    """Sends the rows of each stream; the last page has the id from which the log goes on, and then no snapshot is due any more.

    `heard` returns when it is heard who is revoked. Raises what it raises, SnapshotUnavailable, and TimeoutError for a reader that is
    too slow.
    """
    async with snapshots.open(subscriber.looks, subscriber.principal) as reading, asyncio.timeout(_SECONDS):
        last = len(subscriber.looks) - 1
        for number, look in enumerate(subscriber.looks):
            rows: Sequence[str] = ()
            async for page in reading.pages(look, subscriber.principal):
                if rows:
                    subscriber.write(frame.snapshot(frame.NOWHERE, look.stream.name, rows, False))
                    await subscriber.sink.drained()
                    await heard()
                    # Whoever takes one page after the other is not slow, however full the next one makes their connection.
                    subscriber.full_since = 0.0
                    if subscriber.state is State.ENDED:
                        return
                rows = page
            if number == last:
                await reading.end()
                if subscriber.state is State.ENDED:
                    return
                subscriber.snapshot_due = False
                subscriber.start(reading.cursor)
                subscriber.seen = reading.seen
            subscriber.write(frame.snapshot(subscriber.cursor, look.stream.name, rows, True))
