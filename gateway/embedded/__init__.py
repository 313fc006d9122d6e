"""Where no DATABASE_URL or REDIS_URL is set: a Postgres and a Valkey of Rowcast's own, in a data directory.

- One process at a time owns a data directory; others may use what runs there. The owner holds a lock that dies with it,
  so whatever still runs while the lock is free was left over by a killed owner, and the next owner stops it.
- However the owner's work ends, the servers are stopped, the last started first. SIGTERM alone ends Python without
  unwinding: the caller turns it into an exception, as uvicorn and the CLI do.
- No system user is created, and no rights are changed outside the data directory.
"""

import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway import datadir
from gateway.datadir import EmbeddedError
from gateway.embedded.postgres import PostgresServer
from gateway.embedded.server import HOST, Server
from gateway.embedded.valkey import ValkeyServer

__all__ = ["EmbeddedError", "PostgresServer", "Servers", "ValkeyServer", "running", "start", "stop_left_over"]


@dataclass(frozen=True)
class Servers:
    """The addresses of what runs in a data directory."""

    database_url: str | None
    redis_url: str | None


def running(data_dir: Path) -> Servers | None:
    """Returns what runs in the data directory and accepts connections, or None if nothing does."""
    data_dir = data_dir.resolve()
    urls = {
        name: entry["url"]
        for name, entry in datadir.recorded(data_dir).items()
        if datadir.serves(entry["pid"], data_dir / name) and _accepts(urlsplit(entry["url"]).port or 0)
    }
    return Servers(urls.get(PostgresServer.name), urls.get(ValkeyServer.name)) if urls else None


@contextmanager
def start(
    data_dir: Path, *, postgres: bool = True, redis: bool = True, fresh: bool = False, settings: Mapping[str, str] = {}
) -> Iterator[Servers]:
    """Starts the servers, yields their addresses, and stops them; `fresh` begins with empty ones."""
    data_dir = data_dir.resolve()
    datadir.claim(data_dir)
    with datadir.locked(data_dir), ExitStack() as stack:
        stop_left_over(data_dir)
        servers: list[Server] = []
        servers += [PostgresServer(data_dir, settings)] if postgres else []
        servers += [ValkeyServer(data_dir)] if redis else []
        for server in servers:
            if fresh and server.directory.exists():
                # Renamed first: a deletion cut short must not leave half a database under the real name.
                scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=data_dir))
                server.directory.rename(scratch / "data")
                shutil.rmtree(scratch)
            stack.callback(server.stop)
            server.start()
        urls = {server.name: server.url for server in servers}
        yield Servers(urls.get(PostgresServer.name), urls.get(ValkeyServer.name))


def stop_left_over(data_dir: Path) -> None:
    """Stops what a killed owner left running, and clears what it left half done; call it with the lock held."""
    datadir.stop_left_over(data_dir, {server.name: server.stop_signal for server in (PostgresServer, ValkeyServer)})


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False
