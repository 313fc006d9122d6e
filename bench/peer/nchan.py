"""Nchan, nginx's module, where it is installed: one worker, subscribers as EventSource, events published by HTTP."""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench import process
from bench.peer import ALL, Peer, Server, event, get
from bench.peer.publisher import Publisher, until_open
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
        location ~ ^/publish/(.+)$ {{ nchan_publisher; nchan_channel_id $1; nchan_message_buffer_length 200; }}
        location ~ ^/streams/(.+)$ {{ nchan_subscriber eventsource; nchan_channel_id $1; nchan_subscriber_first_message newest; }}
    }}
}}
"""


def _missing() -> str | None:
    return None if _MODULE.exists() and shutil.which("nginx") else "nginx-light and libnginx-mod-nchan"


@asynccontextmanager
async def _start(stack: Stack) -> AsyncIterator[Server]:
    directory = stack.directory / "nchan"
    directory.mkdir(exist_ok=True)
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(_CONFIG.format(module=_MODULE, directory=directory, port=port), encoding="utf-8")
    command = ["nginx", "-e", str(directory / "start.log"), "-p", str(directory), "-c", str(config)]
    async with process.started(command, stack.environment(), directory, directory / "nginx.log") as child:
        process.pin(child.pid, 0)
        await until_open(port, child, directory / "nginx.log")
        async with Publisher.open(port) as publisher:

            def request(client: int, owns: bool) -> str:
                return get(f"/streams/{client if owns else 'all'}")

            async def publish(channels: Sequence[int]) -> None:
                each = [(f"/publish/{'all' if channel == ALL else channel}", event()) for channel in channels]
                await publisher.post(each, {"X-EventSource-Event": "bench"})

            yield Server("Nchan", [child.pid], port, request, ": hi", publish)


NCHAN = Peer("Nchan", _start, _missing, "no tokens, no Redis, no order across channels")
