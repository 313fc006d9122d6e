"""⑧ Those who ask at the same time are answered together: a storm of readers that come back is a few reads, not thousands."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Generic, TypeVar

_PATIENCE_SECONDS = 0.1
"""How long questions wait for those before them: a connection that hangs must not hold up those who come later."""


Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


class Together(Generic[Question, Answer]):
    """Collects questions while others are being answered, and asks them all at once; the same question is asked once.

    `answer` takes `at_most` so many questions and returns their answers in order. It begins after each of them was asked, so none
    is older than its question. What it raises is raised to all who asked.
    """

    def __init__(self, answer: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]], at_most: int) -> None:
        self._answer = answer
        self._at_most = at_most
        self._waiting: dict[Question, asyncio.Future[Answer]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._under_way: set[asyncio.Future[Sequence[Answer]]] = set()

    async def ask(self, question: Question) -> Answer:
        """Returns the answer to a question, or raises what answering raises."""
        future = self._waiting.get(question)
        if future is None:
            future = self._waiting[question] = asyncio.get_running_loop().create_future()
            # Whoever asked may have left.
            future.add_done_callback(lambda done: done.cancelled() or done.exception())
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask())
        return await asyncio.shield(future)

    async def _ask(self) -> None:
        try:
            while self._waiting:
                some = {question: self._waiting.pop(question) for question in list(self._waiting)[: self._at_most]}
                answering = asyncio.ensure_future(self._answer(list(some)))
                self._under_way.add(answering)
                answering.add_done_callback(partial(self._settle, list(some.values())))
                await asyncio.wait({answering}, timeout=_PATIENCE_SECONDS)
        finally:
            self._asking = None

    def _settle(self, futures: Sequence[asyncio.Future[Answer]], answering: asyncio.Future[Sequence[Answer]]) -> None:
        self._under_way.discard(answering)
        for number, future in enumerate(futures):
            if answering.cancelled():
                future.cancel()
            elif (error := answering.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(answering.result()[number])
