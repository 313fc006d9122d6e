"""Lets something happen in a moment that a test holds open."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

Meanwhile = Callable[[Any], Coroutine[Any, Any, None]]


def meanwhile(patch: pytest.MonkeyPatch, owner: type, name: str, happens: Meanwhile, **only: Any) -> None:
    """Lets something happen once, between the end of a method and what its caller makes of the answer."""
    original = getattr(owner, name)

    async def method(self: Any, *args: Any, **options: Any) -> Any:
        answer = await original(self, *args, **options)
        if not only or args[: len(only)] == tuple(only.values()):
            patch.setattr(owner, name, original)
            await happens(answer)
        return answer

    patch.setattr(owner, name, method)
