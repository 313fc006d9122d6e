"""Both ways out of the gateway, for tests that look at how full a connection is: handed over, or sent by sse-starlette."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.fanout.sink import BufferSink
from gateway.http.edge import Edge
from gateway.http.protocol import Protocol
from tests.support import http_server


@pytest.fixture(scope="module", params=["handed over", "sse-starlette", "hypercorn"])
def way_out(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a module's tests over each way; `usefixtures("way_out")`. Hypercorn is another server, which offers no hand-over."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "sse-starlette":
            patch.setattr(Protocol, "on_message_begin", HttpToolsProtocol.on_message_begin)
        if request.param == "hypercorn":
            patch.setattr(http_server, "serve", http_server.by_hypercorn)
        yield request.param


def waiting(sink: Any) -> int:
    """Returns how many bytes wait in this process for the connection to take them."""
    return int(sink._size if isinstance(sink, BufferSink) else sink._transport.get_write_buffer_size())


def never_full(patch: pytest.MonkeyPatch) -> None:
    """Takes the bound away."""
    patch.setattr(BufferSink, "full", False)
    patch.setattr(Edge, "pause_writing", lambda edge: None)


def full_after_each_write(patch: pytest.MonkeyPatch) -> None:
    """Lets a connection be full after whatever is written, until the next turn of the loop."""
    write = Edge.write

    def write_and_fill(self: Edge, data: bytes) -> None:
        write(self, data)
        self.pause_writing()
        asyncio.get_running_loop().call_later(0.001, self.resume_writing)

    patch.setattr(Edge, "write", write_and_fill)
    patch.setattr(BufferSink, "full", property(lambda sink: sink._size > 0))


def replace_drained(patch: pytest.MonkeyPatch, drained: Any) -> None:
    """Puts something else in place of waiting for a connection."""
    for each in (BufferSink, Edge):
        patch.setattr(each, "drained", drained)
