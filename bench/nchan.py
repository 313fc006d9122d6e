"""Nchan, nginx's module, if it is installed: one worker, one channel, subscribers as EventSource, events published by HTTP."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bench import process
from bench.process import BenchError
from bench.stack import Stack, free_port

_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
_CONFIG = """
load_module {module};
daemon off;
master_process off;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log {directory}/nginx-error.log crit;
events {{ worker_connections 16000; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    nchan_max_reserved_memory 256M;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        keepalive_requests 1000000;
        location = /publish {{ nchan_publisher; nchan_channel_id bench; nchan_message_buffer_length 200; }}
        location = /streams/bench {{ nchan_subscriber eventsource; nchan_channel_id bench; nchan_subscriber_first_message newest; }}
    }}
}}
"""


def installed() -> bool:
    """Says whether there is an nginx with this module."""
    return _MODULE.exists() and shutil.which("nginx") is not None


class Nchan:
    """A running server."""

    READY = ": hi"

    def __init__(self, pid: int, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.pid, self.port = pid, port
        self._reader, self._writer = reader, writer

    async def publish(self, events: list[bytes]) -> None:
        """Publishes events, each by a request, all on one connection without waiting in between."""
        request = b"POST /publish HTTP/1.1\r\nHost: localhost\r\nX-EventSource-Event: bench\r\nContent-Length: %d\r\n\r\n%b"
        self._writer.writelines([request % (len(event), event) for event in events])
        for _ in events:
            head = await self._reader.readuntil(b"\r\n\r\n")
            if not head.startswith((b"HTTP/1.1 201", b"HTTP/1.1 202")):
                raise BenchError(f"nchan answers {head[:40]!r}")
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            await self._reader.readexactly(length)

    @staticmethod
    @asynccontextmanager
    async def running(stack: Stack) -> AsyncIterator["Nchan"]:
        directory = stack.directory / "nchan"
        directory.mkdir(exist_ok=True)
        port = free_port()
        config = directory / "nginx.conf"
        config.write_text(_CONFIG.format(module=_MODULE, directory=directory, port=port), encoding="utf-8")
        command = ["nginx", "-e", str(directory / "start.log"), "-p", str(directory), "-c", str(config)]
        async with process.started(command, stack.environment(), directory, directory / "nginx.log") as child:

            async def listens() -> bool:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    return False
                writer.close()
                return True

            if not await process.until(listens, 10):
                raise BenchError(f"nginx has not started, see {directory}")
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                yield Nchan(child.pid, port, reader, writer)
            finally:
                writer.close()
