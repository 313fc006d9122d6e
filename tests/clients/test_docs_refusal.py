"""The examples of docs/clients read what the other end, or whoever stands between, writes in place of a number: they obey none of it."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.clients.example import examples
from tests.clients.house import WITHIN
from tests.support import http_server
from tests.support.gateway import token, until

COMMAND = "a[$(touch touched)]"
"""What bash runs where it reads a number of it."""
REFUSALS = ["Fri, 31 Dec 2038 23:59:59 GMT", COMMAND, "9" * 40, "²"]
BODY = '{"detail": "\x1b[2J \x9b2J"}\n'
READY: dict[str, Any] = {"status": "fresh", "streams": ["bookings"], "connection": "0123456789abcdef", "from": "k3f9-1", "heartbeat": 8}
NOTES = "after all that \x9b2J"


def event(number: int, name: str, more: str = "", **data: Any) -> str:
    return f"id: k3f9-{number}\nevent: {name}\n{more}data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'))}\n\n"


ENDS = event(1, "ready", f"retry: {COMMAND}\n", **READY) + event(2, "reconnect", reason="shutdown", retry=10)
CHANGE: dict[str, Any] = {"type": "UPDATE", "record": {"id": 1, "notes": NOTES}, "old_record": None}
LASTS = event(3, "ready", **READY | {"status": "resumed"}) + event(4, "bookings", **CHANGE)


@dataclass
class Site:
    """Stands in the gateway's place: refuses each example several times, then gives it a stream that ends, then one that lasts."""

    refusals: list[str]
    port: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.asked[name] += 1
        if self.asked[name] <= len(self.refusals):
            return PlainTextResponse(BODY, 503, {"Retry-After": self.refusals[self.asked[name] - 1]})
        return StreamingResponse(self._events(lasts=self.asked[name] > len(self.refusals) + 1), media_type="text/event-stream")

    async def _events(self, lasts: bool) -> AsyncIterator[str]:
        yield LASTS if lasts else ENDS
        if lasts:
            await self.over.wait()


@asynccontextmanager
async def site(*refusals: str) -> AsyncIterator[Site]:
    each = Site(list(refusals))
    async with http_server.by_hypercorn(Starlette(routes=[Route("/{name}/streams/bookings", each.answer)])) as each.port:
        try:
            yield each
        finally:
            each.over.set()


@pytest.mark.timeout(300)
async def test_what_is_no_number(tmp_path: Path) -> None:
    """With a date, a command or nonsense where a pause should be each example comes back, runs nothing, and leaves the terminal alone."""
    (tmp_path / "token").write_text(token())
    every = examples()
    async with site(*REFUSALS) as one:
        with ExitStack() as stack:
            for each in every:
                each.place(tmp_path)
                stack.enter_context(each.stack)
                each.start(f"http://127.0.0.1:{one.port}/{each.name}", tmp_path / "token")
            await until(lambda: all(each.last == NOTES for each in every), 3 * WITHIN)
    for each in every:
        assert one.asked[each.name] == len(REFUSALS) + 2, each.name
        assert not (each.directory / "touched").exists(), each.name
        log = (each.directory / "log").read_text()
        assert not {"\x1b", "\x9b"} & set(log), log
        # Node says so of a time that it cannot wait, and waits none.
        assert "Warning" not in log, log


GUARDS = {
    "Retry-After": ("[[ $after =~ $number ]] && ", [COMMAND]),
    "retry:": ("[[ ${line#retry: } =~ $number ]] && ", []),
}


@pytest.mark.parametrize("name", GUARDS)
async def test_control_of_the_script(tmp_path: Path, name: str) -> None:
    """Without its look at what it was sent, the script runs it."""
    guard, refusals = GUARDS[name]
    (tmp_path / "token").write_text(token())
    (each,) = (each for each in examples() if each.page == "curl.md")
    each.place(tmp_path)
    script = each.directory / each.name
    assert guard in script.read_text()
    script.write_text(script.read_text().replace(guard, ""))
    async with site(*refusals) as one:
        with each.stack:
            each.start(f"http://127.0.0.1:{one.port}/{each.name}", tmp_path / "token")
            await until((each.directory / "touched").exists, WITHIN)
