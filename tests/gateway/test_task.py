"""Loops side by side: a cancellation always goes through, and so does an error."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from gateway.task import ended, side_by_side

Work = Coroutine[Any, Any, None]


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def _fails() -> None:
    raise ConnectionError


async def _takes_its_time() -> None:
    """Ends a few turns of the loop after it was cancelled."""
    try:
        await _for_ever()
    finally:
        for _ in range(5):
            await asyncio.sleep(0)


async def _deaf() -> None:
    """Hears only the second cancellation, as a call that swallows one."""
    try:
        await _for_ever()
    except asyncio.CancelledError:
        await _for_ever()


async def _in_a_group(*work: Work) -> None:
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)


async def _again(run: Callable[..., Awaitable[None]]) -> None:
    """A loop that begins again when anything of it breaks."""
    while True:
        try:
            await run(_fails(), _takes_its_time())
        except* ConnectionError:
            pass
        await asyncio.sleep(0.01)


async def _cancelled_at(run: Callable[..., Awaitable[None]], turns: int) -> bool:
    """Whether such a loop ends when it is cancelled after so many turns of the event loop."""
    task = asyncio.create_task(_again(run))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=0.3)
    heard = task.cancelled()
    await ended([task])
    return heard


async def test_cancellation_while_it_ends_for_an_error() -> None:
    """Whatever moment a cancellation comes at, it is heard."""
    assert all([await _cancelled_at(side_by_side, turns) for turns in range(12)])


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="Python has mended it")
async def test_control_a_task_group_forgets_it() -> None:
    """A TaskGroup that is ending for an error forgets that it was cancelled, and the loop goes on."""
    assert not all([await _cancelled_at(_in_a_group, turns) for turns in range(12)])


async def test_loop_that_swallows_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that does not hear the first cancellation is told again."""
    monkeypatch.setattr("gateway.task._AGAIN_SECONDS", 0.01)
    task = asyncio.create_task(side_by_side(_deaf(), _for_ever()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_ended_goes_on_where_it_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever ends others and is cancelled ends them all the same, and is cancelled then."""
    monkeypatch.setattr("gateway.task._AGAIN_SECONDS", 0.01)
    others = [asyncio.create_task(_deaf()) for _ in range(3)]
    await asyncio.sleep(0)
    ending = asyncio.create_task(ended(others))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert all(task.cancelled() for task in others)


async def test_errors() -> None:
    """One that fails ends the others and is raised as it is; several are a group."""
    with pytest.raises(ConnectionError):
        await side_by_side(_fails(), _for_ever())

    async def fails_as_it_ends() -> None:
        try:
            await _for_ever()
        except asyncio.CancelledError:
            raise ValueError from None

    with pytest.raises(BaseExceptionGroup) as found:
        await side_by_side(fails_as_it_ends(), _fails())
    assert {type(error) for error in found.value.exceptions} == {ConnectionError, ValueError}


async def test_one_that_returns_ends_the_others() -> None:
    """A loop that comes to its end is the end of all."""

    async def returns() -> None:
        return None

    await side_by_side(returns(), _for_ever())
