"""Pushpin, where it is installed (seen: 1.36, with Condure 1.9 and Zurl 1.11): streams held for an application, events published by HTTP.

- Its own processes are started one by one, with one thread of Condure, as they have one core. All are counted, Zurl included.
- There are four of Zurl, as the proxy answers 502 where more than a hundred requests at once wait for one; idle, they cost nothing.
- The application that it asks about each client is not counted, nor is it on that core: it is idle while events are delivered. It paces
  how many connect in a second (backend.py).
- No limit of rate; several events are published by one request, each on a connection of its own: it closes them.
"""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import orjson

from bench import process
from bench.peer import ALL, Peer, Server, event, get
from bench.peer.publisher import Publisher, until_open
from bench.process import BenchError
from bench.stack import Stack, free_port

_PROGRAMS = ("condure", "zurl", "pushpin-proxy", "pushpin-handler")
_CLIENTS = 20_000
_SLOTS = 100_000
"""Condure sends word of each connection every 45 seconds, slot after slot, and with that breaks one that is just handed from the proxy to
the handler. With so many slots it goes through them faster than clients connect, and is back when they have. Many more slow it down."""
_ZURLS = 4
_READY_SECONDS = 10.0
_PAST_SECONDS = 1.0
_CONFIG = """
[global]
include={{libdir}}/internal.conf
rundir={directory}
ipc_prefix=
[runner]
client_maxconn={clients}
[proxy]
routesfile={directory}/routes
zurl_out_specs={zurl_in}
zurl_out_stream_specs={zurl_in_stream}
zurl_in_specs={zurl_out}
[handler]
push_in_spec=ipc://{directory}/push
push_in_sub_specs=ipc://{directory}/push-sub
command_spec=ipc://{directory}/command
push_in_http_addr=127.0.0.1
push_in_http_port={control}
push_in_http_max_body_size=16000000
message_rate=0
message_hwm=0
"""
_ZURL = """
[General]
in_spec=ipc://{directory}/zurl{number}-in
in_stream_spec=ipc://{directory}/zurl{number}-in-stream
out_spec=ipc://{directory}/zurl{number}-out
defpolicy=allow
max_open_requests=2000
buffer_size=200000
timeout=600
in_hwm=1000
out_hwm=1000
"""


def _missing() -> str | None:
    return None if all(shutil.which(program) for program in _PROGRAMS) else "pushpin"


def _commands(directory: Path, port: int, control: int, backend: int) -> dict[str, list[str]]:
    """Writes the settings, and returns the command of each process."""
    settings = directory / "pushpin.conf"
    sockets = {end: ",".join(f"ipc://{directory}/zurl{number}-{end}" for number in range(_ZURLS)) for end in ("in", "in-stream", "out")}
    zurls = {f"zurl_{end.replace('-', '_')}": sockets[end] for end in sockets}
    settings.write_text(_CONFIG.format(directory=directory, control=control, clients=_CLIENTS, **zurls), encoding="utf-8")
    (directory / "routes").write_text(f"* 127.0.0.1:{backend}\n", encoding="utf-8")
    commands = {
        "condure": [
            *("condure", f"--listen=127.0.0.1:{port},stream", f"--zclient-stream=ipc://{directory}/condure"),
            *(f"--stream-maxconn={_SLOTS}", "--workers=1", "--log-level=0"),
        ]
    }
    for number in range(_ZURLS):
        config = directory / f"zurl{number}.conf"
        config.write_text(_ZURL.format(directory=directory, number=number), encoding="utf-8")
        commands[f"zurl{number}"] = ["zurl", f"--config={config}", "--loglevel=0"]
    for name in ("pushpin-proxy", "pushpin-handler"):
        commands[name] = [name, f"--config={settings}", "--loglevel=0"]
    return commands


async def _holds(port: int) -> bool:
    """Says whether a stream is held open: its processes listen before they have all found each other."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(get("/streams/probe").encode())
        return b" 200 " in await reader.readline()
    finally:
        writer.close()


@asynccontextmanager
async def _start(stack: Stack) -> AsyncIterator[Server]:
    directory = stack.directory / "pushpin"
    directory.mkdir(exist_ok=True)
    port, control, backend = free_port(), free_port(), free_port()
    async with AsyncExitStack() as running:

        async def start(name: str, command: list[str], core: int, port: int | None = None) -> int:
            log = directory / f"{name}.log"
            child = await running.enter_async_context(process.started(command, stack.environment(), directory, log))
            process.pin(child.pid, core)
            if port:
                await until_open(port, child, log)
            return child.pid

        await start("backend", [sys.executable, "-m", "bench.peer.backend", str(backend)], 1, backend)
        listens = {"condure": port, "pushpin-handler": control}
        commands = _commands(directory, port, control, backend)
        pids = [await start(name, command, 0, listens.get(name)) for name, command in commands.items()]
        if not await process.until(partial(_holds, port), _READY_SECONDS):
            raise BenchError("Pushpin's processes have not found each other")
        await asyncio.sleep(_PAST_SECONDS)

        def request(client: int, owns: bool) -> str:
            return get(f"/streams/{client if owns else 'all'}")

        async def publish(channels: Sequence[int]) -> None:
            items = [
                {
                    "channel": "all" if channel == ALL else str(channel),
                    "formats": {"http-stream": {"content": f"event: bench\ndata: {event().decode()}\n\n"}},
                }
                for channel in channels
            ]
            async with Publisher.open(control) as publisher:
                await publisher.post([("/publish/", orjson.dumps({"items": items}))])

        yield Server("Pushpin", pids, port, request, ": hi", publish)


PUSHPIN = Peer("Pushpin", _start, _missing, "no order across events, nothing kept for who comes back")
