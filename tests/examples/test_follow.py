"""`static/stream.js`, which the pages follow with, under Node: its `fetch` is the browsers'."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.examples.conftest import EXAMPLES
from tests.support.gateway import gateway, token
from tests.support.servers import Servers

NODE = shutil.which("node")
FOLLOW = """
const { follow, Refused } = await import(process.argv[1]);
const [url, token, last] = process.argv.slice(2);
const leaving = new AbortController();
try {
  for await (const event of follow(url, async () => token, leaving.signal)) {
    console.log(JSON.stringify(event));
    if (event.data.record?.notes === last) leaving.abort();
  }
} catch (error) {
  console.log(JSON.stringify({ event: error instanceof Refused ? "refused" : "broken", data: error.message }));
}
"""

pytestmark = pytest.mark.skipif(NODE is None, reason="there is no Node here")


@asynccontextmanager
async def following(url: str, last: str = "") -> AsyncIterator[asyncio.subprocess.Process]:
    """Runs a client that leaves at a booking whose notes are `last`."""
    assert NODE is not None
    command = (NODE, "--input-type=module", "--eval", FOLLOW, str(EXAMPLES / "static/stream.js"), url, token(1), last)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_comes_back(servers: Servers) -> None:
    """Whenever the server ends the stream, the next goes on after the last id: each change once, in order; then it leaves."""
    async with (
        gateway(servers, max_age="500ms") as web,
        following(f"http://{web.host}:{web.port}/streams/bookings?snapshot=1", "end") as client,
    ):
        assert client.stdout is not None
        connection = await servers.connect()
        seen: list[tuple[str, str | None]] = []
        notes: list[str] = []
        async for line in client.stdout:
            event = json.loads(line)
            seen.append((event["event"], event["data"].get("status")))
            if event["event"] == "bookings":
                notes.append(event["data"]["record"]["notes"])
            if event["event"] in ("snapshot", "reconnecting"):
                # While it is away, but for the first.
                for note in ("end",) if len(notes) > 3 else (f"{len(seen)}a", f"{len(seen)}b"):
                    await connection.execute("update bookings set notes = $1 where id = 1", note)
        await connection.close()
        assert await client.wait() == 0
    assert seen[:2] == [("ready", "fresh"), ("snapshot", None)]
    assert seen.count(("ready", "fresh")) == 1
    assert seen.count(("ready", "resumed")) == seen.count(("reconnecting", None)) >= 2
    assert len(set(notes)) == len(notes) >= 5
    assert notes == sorted(notes, key=lambda note: (note == "end", int(note[:-1]) if note != "end" else 0, note))


async def test_refused(servers: Servers) -> None:
    """What will be refused again is thrown, with the gateway's own words."""
    async with gateway(servers) as web, following(f"http://{web.host}:{web.port}/streams/bookings?color=eq.red") as client:
        output, _ = await asyncio.wait_for(client.communicate(), 20)
    refused = json.loads(output)
    assert refused["event"] == "refused"
    assert "color" in refused["data"]
