"""Loops that run side by side, and how they are ended: whoever is told to end does end.

- A TaskGroup of Python 3.11 forgets a cancellation that comes while it ends for an error, and cancels its tasks only once.
- redis-py and `asyncio.wait_for` may swallow a cancellation that comes as something arrives, so it is said until it is heard.
"""

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

_AGAIN_SECONDS = 1.0


async def side_by_side(*work: Coroutine[Any, Any, None]) -> None:
    """Runs loops until one of them ends, then ends the others. Raises what it has raised; a group, if others fail as they end."""
    tasks = [asyncio.create_task(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await ended(tasks)
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    if len(errors) > 1:
        raise BaseExceptionGroup("several loops have failed", errors)
    for error in errors:
        raise error


async def ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels tasks until all have ended, also if this is cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=_AGAIN_SECONDS)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            # Looked at, whoever waits for it.
            task.exception()
    if cancelled is not None:
        raise cancelled
