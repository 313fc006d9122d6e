"""Shared questions: few are asked, and none is answered with what was known before it was asked."""

import asyncio

import pytest

from gateway.fanout.together import Together


class Log:
    """What is asked about: it grows, and says how often it was read."""

    def __init__(self) -> None:
        self.head = 0
        self.reads = 0
        self.held = asyncio.Event()

    async def read(self) -> int:
        self.reads += 1
        found = self.head
        await self.held.wait()
        return found


async def test_an_answer_is_never_older_than_its_question() -> None:
    """Whoever asks while an answer is on its way gets the next one: what was written in between is in it."""
    log, together, answers = Log(), Together(), []
    for written in range(20):
        log.head = written
        answers.append(asyncio.create_task(together.ask("head", log.read)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    log.held.set()
    assert all(answer >= asked for asked, answer in enumerate(await asyncio.gather(*answers)))


async def test_a_storm_is_two_questions() -> None:
    """However many ask while one is being answered, one more is asked for all of them; another key is another question."""
    log, together = Log(), Together()
    first = asyncio.create_task(together.ask("head", log.read))
    await asyncio.sleep(0.001)
    storm = [asyncio.create_task(together.ask("head", log.read)) for _ in range(1000)]
    other = asyncio.create_task(together.ask("floor", log.read))
    await asyncio.sleep(0.001)
    assert log.reads == 2
    log.held.set()
    await asyncio.gather(first, other, *storm)
    assert log.reads == 3


async def test_a_question_that_hangs_holds_nobody_up() -> None:
    """Who waits behind one that is not answered asks for itself after a while."""
    log, together = Log(), Together()
    hangs = asyncio.create_task(together.ask("head", log.read))
    await asyncio.sleep(0.001)

    async def read() -> str:
        return "answered"

    assert await together.ask("head", read) == "answered"
    assert not hangs.done()
    hangs.cancel()


async def test_a_failure_is_told_to_those_who_asked_and_to_nobody_else() -> None:
    """All who share a question get its failure, and the next question is asked anew."""
    together = Together()

    async def fail() -> None:
        raise ConnectionError

    both = [asyncio.create_task(together.ask("head", fail)) for _ in range(2)]
    for each in both:
        with pytest.raises(ConnectionError):
            await each

    async def read() -> str:
        return "answered"

    assert await together.ask("head", read) == "answered"
