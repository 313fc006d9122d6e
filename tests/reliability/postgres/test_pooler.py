"""PgBouncer in the way of Postgres: the doctor names it where it breaks what Rowcast needs, and only there."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import asyncpg
import pytest

from gateway.bridge.listener import connect
from gateway.doctor import Finding, examine
from tests.support.gateway import settings
from tests.support.process import free_port
from tests.support.servers import Servers

PROGRAM = shutil.which("pgbouncer") or ("/usr/sbin/pgbouncer" if Path("/usr/sbin/pgbouncer").exists() else None)
NEEDED = "there is no PgBouncer here: apt-get install --no-install-recommends pgbouncer"
CONFIGURATION = """\
[databases]
* = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = plain
auth_file = {directory}/users
pool_mode = {mode}
default_pool_size = 10
ignore_startup_parameters = extra_float_digits
logfile = {directory}/log
pidfile = {directory}/pid
"""


@contextmanager
def pooled(servers: Servers, mode: str) -> Iterator[str]:
    """Runs a PgBouncer in front of Postgres, and yields its address."""
    if PROGRAM is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(NEEDED)
    parts, port = urlsplit(servers.database_url), free_port()
    with TemporaryDirectory(prefix="pgbouncer-") as name:
        directory = Path(name)
        (directory / "users").write_text(f'"{parts.username}" "{parts.password}"\n')
        given = {"host": parts.hostname, "port": parts.port, "own_port": port, "directory": directory, "mode": mode}
        (directory / "ini").write_text(CONFIGURATION.format(**given))
        user = []
        if os.geteuid() == 0:
            # It refuses to run as root.
            subprocess.run(["chown", "-R", "nobody", directory], check=True)
            user = ["-u", "nobody"]
        with (directory / "out").open("wb") as out:
            process = subprocess.Popen([PROGRAM, *user, directory / "ini"], stdout=out, stderr=out)
        try:
            _wait(process, port, directory / "out")
            yield parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
        finally:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", port: int, out: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, out.read_text()
        assert time.monotonic() < deadline, out.read_text()
        time.sleep(0.02)


async def _pooler(servers: Servers, url: str) -> Finding:
    (finding,) = [each async for each in examine(settings(servers, database_url=url)) if each.what == "pooler"]
    return finding


async def test_transaction_pooler_is_named(servers: Servers) -> None:
    """The doctor finds a PgBouncer that gives a session's transactions to any backend, and says what to do."""
    with pooled(servers, "transaction") as url:
        finding = await _pooler(servers, url)
    assert not finding.well
    assert "direct connection" in finding.mend


async def test_control_session_pooler_is_let_be(servers: Servers) -> None:
    """One that keeps sessions is not complained of, so the check is of what matters."""
    with pooled(servers, "session") as url:
        assert (await _pooler(servers, url)).well


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_bridge_does_not_begin(servers: Servers, mode: str) -> None:
    """A PgBouncer as it comes lets no bridge in: it knows nothing of what a bridge's session must have, and says so."""
    with pooled(servers, mode) as url, pytest.raises(asyncpg.ProtocolViolationError, match="unsupported startup parameter"):
        await connect(url, "listener")
