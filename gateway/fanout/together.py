"""⑧ Those who ask at the same time are answered together: a storm of readers that come back is a few reads, not thousands."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Generic, TypeVar, cast

_PATIENCE_SECONDS = 0.1
"""How long questions wait for those before them: a connection that hangs must not hold up those who come later."""

Question = TypeVar("Question", bound=Hashable)
Answer = TypeVar("Answer")


@dataclass(slots=True)
class _Asked(Generic[Answer]):
    """A question's answer to be, and how many wait for it."""

    answer: asyncio.Future[Answer]
    askers: int = 0


class Together(Generic[Question, Answer]):
    """Collects questions while others are being answered, and asks them all at once; the same question is asked once.

    `answer` takes `at_most` so many questions and returns their answers in order; so many `lanes` do that at a time. It begins
    after each of them was asked, so none is older than its question. What it raises is raised to all who asked. A question that
    nobody waits for any more is not asked.
    """

    def __init__(self, answer: Callable[[Sequence[Question]], Awaitable[Sequence[Answer]]], at_most: int = 1, lanes: int = 1) -> None:
        self._answer = answer
        self._at_most = at_most
        self._lanes = lanes
        self._waiting: dict[Question, _Asked[Answer]] = {}
        self._asking: set[asyncio.Task[None]] = set()
        self._under_way: set[asyncio.Future[Sequence[Answer]]] = set()

    async def ask(self, question: Question) -> Answer:
        """Returns the answer to a question, or raises what answering raises."""
        asked = self._waiting.get(question)
        if asked is None:
            asked = self._waiting[question] = _Asked(asyncio.get_running_loop().create_future())
            # Whoever asked may have left.
            asked.answer.add_done_callback(lambda done: done.cancelled() or done.exception())
            if len(self._asking) < self._lanes:
                self._asking.add(asyncio.create_task(self._ask()))
        asked.askers += 1
        try:
            return await asyncio.shield(asked.answer)
        finally:
            asked.askers -= 1
            if not asked.askers and self._waiting.get(question) is asked:
                del self._waiting[question]

    async def _ask(self) -> None:
        # After the turn in which the first question was asked.
        try:
            while self._waiting:
                some = {question: self._waiting.pop(question).answer for question in list(islice(self._waiting, self._at_most))}
                answering = asyncio.ensure_future(self._answer(list(some)))
                self._under_way.add(answering)
                answering.add_done_callback(partial(self._settle, list(some.values())))
                await asyncio.wait({answering}, timeout=_PATIENCE_SECONDS)
        finally:
            # Here, and not in a callback: who asks between the two would wait for a lane that has ended.
            self._asking.discard(cast("asyncio.Task[None]", asyncio.current_task()))

    def _settle(self, futures: Sequence[asyncio.Future[Answer]], answering: asyncio.Future[Sequence[Answer]]) -> None:
        self._under_way.discard(answering)
        for number, future in enumerate(futures):
            if answering.cancelled():
                future.cancel()
            elif (error := answering.exception()) is not None:
                future.set_exception(error)
            else:
                future.set_result(answering.result()[number])
