"""⑧ Those who ask the same in one turn of the loop ask once: a storm of readers that come back is a few reads, not thousands."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any


class Together:
    """Shares answers. What is asked begins only after the turn in which it was asked for, so no answer is older than a question."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, asyncio.Task[Any]] = {}

    async def ask(self, key: Hashable, question: Callable[[], Awaitable[Any]]) -> Any:
        """Returns what the question's first asker of this turn is answered, or raises what that raises."""
        task = self._asked.get(key)
        if task is None:
            task = self._asked[key] = asyncio.create_task(self._after_this_turn(key, question))
            # Whoever asked may have left.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    async def _after_this_turn(self, key: Hashable, question: Callable[[], Awaitable[Any]]) -> Any:
        del self._asked[key]
        return await question()
