"""Who is still asking Redis or Postgres for a client when the time to drain is over tells it to come back, and not of an error."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from gateway.fanout.admission import Admission
from gateway.http.stream import OpenStream, _open_stream
from tests.gateway.http.raw import get, serving
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.uvicorn]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Nobody is ever let in; set when somebody waits for it."""
    event = asyncio.Event()

    async def enter(self: Admission, *_: str) -> Any:
        event.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Admission, "enter", enter)
    return event


async def test_client_is_told_to_come_back(module_servers: Servers, asked: asyncio.Event) -> None:
    """The answer is a stream that says when to come back, with the id that the client has."""
    async with serving(module_servers, timeout_graceful_shutdown=1) as (_, web):
        client = await web.send(get("Last-Event-ID: abcd1234-7"))
        await asked.wait()
        web.server.should_exit = True
        stream = await client.answer()
        assert stream.status == 200
        assert b"event: reconnect" in stream.body
        assert b'"reason":"shutdown"' in stream.body
        assert b"id: abcd1234-7\n" in stream.body


async def test_control_cancelled_as_it_comes(module_servers: Servers, asked: asyncio.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the cancellation goes through, the client gets an error, after which a browser never comes back."""

    async def call(self: OpenStream, scope: Any, receive: Any, send: Any) -> None:
        await (await _open_stream(Request(scope, receive, send)))(scope, receive, send)

    monkeypatch.setattr(OpenStream, "__call__", call)
    async with serving(module_servers, timeout_graceful_shutdown=1, log_level="critical") as (_, web):
        client = await web.send(get())
        await asked.wait()
        web.server.should_exit = True
        assert (await client.answer()).status == 500
