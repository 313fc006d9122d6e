"""A `rowcast` whose patience is short, for tests that wait for its end: `python -m tests.fuzz.hasty ARGUMENTS`, or `… broken ARGUMENTS`.

What runs is the gateway as it is: only how long it waits is another. `broken` is one that breaks each law of `law.py`, for controls.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from gateway import cli, wire
from gateway.fanout import components, control, ticker
from gateway.http import admin, error, health, protocol, query
from streams.filter import parse

SECONDS = 1.0
"""How long a head and a body may take here, and when a checkpoint comes."""


def hurry() -> None:
    """Shortens what a test would wait for."""
    protocol.HEAD_SECONDS = SECONDS
    admin._BODY_SECONDS = SECONDS
    control._REPLY_SECONDS = 0.1  # type: ignore[assignment]
    ticker.CHECKPOINT_SECONDS = SECONDS
    components._PATIENCE_SECONDS["bridge"] = 2.5


def damage() -> None:
    """Breaks one law for each of some requests."""
    response, note = error.response, error.note

    def parse_and_crash(given: Sequence[tuple[str, str]], columns: Any) -> Any:
        if any("ilike" in text for _, text in given):
            raise KeyError("a crash")
        return parse(given, columns)

    def respond(problem: error.Problem) -> Response:
        if problem.status == 405:
            return PlainTextResponse("no", 405)
        if problem.status == 404:
            problem.detail = "there is only canary-of-another"
        return response(problem)

    def note_and_end(request: Request, problem: error.Problem) -> None:
        note(request, problem)
        if problem.status == 403:
            hub = request.app.state.hub
            for subscriber in list(hub.roster.subscribers):
                hub.end(subscriber, "slow")

    async def wait(request: Request) -> Response:
        await asyncio.Event().wait()
        raise AssertionError

    vars(query)["parse"] = parse_and_crash
    error.response, error.note = respond, note_and_end
    health.metrics = wait
    wire.Beat.decode = staticmethod(lambda message: wire.Beat(*orjson.loads(message)))  # type: ignore[method-assign]


if __name__ == "__main__":
    hurry()
    if sys.argv[1] == "broken":
        damage()
        del sys.argv[1]
    cli.main()
