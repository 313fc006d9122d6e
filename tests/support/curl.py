"""curl as a client of a proxy: TLS, HTTP/2 or HTTP/1.1, and a strict reading of what comes."""

import asyncio
import contextlib
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support import sse
from tests.support.front import NAME, Front
from tests.support.gateway import token

VERSIONS = {"--http2": "HTTP/2", "--http1.1": "HTTP/1.1"}


@dataclass
class Answer:
    """A response whose head has come: `version` is that of HTTP, and `body` is read already unless it is a stream."""

    version: str
    stream: sse.Stream
    process: Process = field(repr=False)

    @property
    def status(self) -> int:
        return self.stream.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.stream.headers

    @property
    def body(self) -> bytes:
        return self.stream.body

    async def close(self) -> None:
        """Ends the client, as a client that walks away does."""
        await self.stream.close()


class _Client:
    """Stands for the writer of a connection: closing it ends curl."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    async def wait_closed(self) -> None:
        await self._process.wait()


async def ask(
    front: Front,
    path: str,
    headers: Mapping[str, str] | None = None,
    version: str = "--http2",
    method: str = "GET",
    source: str = "127.0.0.1",
) -> Answer:
    """Sends a request through a proxy, from an address of this machine, and returns as soon as the response's head is there."""
    command = ["curl", "-q", "-sS", "-N", "-D", "-", version, "-X", method, "--noproxy", "*", "--interface", source]
    command += ["--cacert", str(front.certificate.chain), "--resolve", f"{NAME}:{front.port}:127.0.0.1", front.origin + path]
    for name, value in (headers or {}).items():
        command += ["-H", f"{name}: {value}"]
    process = await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, limit=2**24)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(30):
            head = (await process.stdout.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    used, status = head[0].split(" ")[:2]
    # curl has undone the chunks.
    found = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    found.pop("transfer-encoding", None)
    stream = sse.Stream(int(status), found, _reader=process.stdout, _writer=_Client(process))
    if not found.get("content-type", "").startswith("text/event-stream"):
        stream.body = await process.stdout.read()
        await process.wait()
    return Answer(used, stream, process)


@asynccontextmanager
async def listening(
    front: Front, since: str = "", streams: str = "bookings", version: str = "--http2", **headers: str
) -> AsyncIterator[Answer]:
    """Opens streams as customer 1 through a proxy, and leaves afterwards."""
    given = {"Authorization": f"Bearer {token()}"} | ({"Last-Event-ID": since} if since else {}) | headers
    answer = await ask(front, f"/streams/{streams}", given, version)
    try:
        assert answer.status == 200, answer.body
        yield answer
    finally:
        await answer.close()
