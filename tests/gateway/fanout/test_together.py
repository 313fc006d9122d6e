"""Shared questions: few are asked, and none is answered with what was known before it was asked."""

import asyncio
from collections.abc import Sequence

import pytest

from gateway.fanout.together import Together


class Log:
    """What is asked about: it grows, and keeps what was asked at a time."""

    def __init__(self) -> None:
        self.head = 0
        self.asked: list[list[str]] = []
        self.held = asyncio.Event()

    async def read(self, names: Sequence[str]) -> Sequence[tuple[str, int]]:
        self.asked.append(list(names))
        found = self.head
        await self.held.wait()
        return [(name, found) for name in names]


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_an_answer_is_never_older_than_its_question() -> None:
    """Whoever asks while an answer is on its way gets a later one: what was written in between is in it."""
    log = Log()
    together = Together(log.read, 100)
    answers = []
    for written in range(20):
        log.head = written
        answers.append(asyncio.create_task(together.ask("head")))
        await _turns(3)
    log.held.set()
    assert all(answer >= asked for asked, (_, answer) in enumerate(await asyncio.gather(*answers)))


async def test_a_storm_is_a_few_questions() -> None:
    """However many ask while something is being answered, they are asked together, the same once, so many at a time; each is answered."""
    log = Log()
    together = Together(log.read, 4)
    first = asyncio.create_task(together.ask("0"))
    await _turns(3)
    storm = [asyncio.create_task(together.ask(str(number % 6))) for number in range(1000)]
    await _turns(3)
    log.held.set()
    await first
    assert [name for name, _ in await asyncio.gather(*storm)] == [str(number % 6) for number in range(1000)]
    assert log.asked == [["0"], ["0", "1", "2", "3"], ["4", "5"]]


async def test_a_question_that_hangs_holds_nobody_up() -> None:
    """Who waits behind one that is not answered is asked for after a while."""
    log = Log()

    async def read(names: Sequence[str]) -> Sequence[object]:
        return await log.read(names) if "hangs" in names else list(names)

    together = Together(read, 100)
    hangs = asyncio.create_task(together.ask("hangs"))
    await _turns(3)
    assert await together.ask("head") == "head"
    assert not hangs.done()
    hangs.cancel()


async def test_a_failure_is_told_to_those_who_asked_and_to_nobody_else() -> None:
    """All who share a question get its failure, and the next one is asked anew."""
    failures = [ConnectionError(), None]

    async def read(names: Sequence[str]) -> Sequence[str]:
        if error := failures.pop(0):
            raise error
        return names

    together = Together(read, 100)
    both = [asyncio.create_task(together.ask(name)) for name in "ab"]
    for each in both:
        with pytest.raises(ConnectionError):
            await each
    assert await together.ask("a") == "a"


async def test_who_leaves_takes_nothing_away() -> None:
    """One of two who share a question may leave: the other is answered."""
    log = Log()
    together = Together(log.read, 100)
    leaves, stays = (asyncio.create_task(together.ask("head")) for _ in range(2))
    await _turns(3)
    leaves.cancel()
    log.held.set()
    assert await stays == ("head", 0)
    assert leaves.cancelled()


async def test_a_question_in_the_turn_in_which_the_last_one_was_answered() -> None:
    """Whoever asks right behind an answer is answered: there is no moment in which nobody asks for it."""

    async def read(names: Sequence[int]) -> Sequence[int]:
        return names

    together = Together(read, 1)
    for turns in range(8):
        first = asyncio.create_task(together.ask(-1))
        await _turns(turns)
        async with asyncio.timeout(20):
            assert await together.ask(turns) == turns
        await first
