"""Real processes, started as a user starts them."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from socket import socket

from tests.support.gateway import SECRET
from tests.support.servers import Servers

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket() as each:
        each.bind(("127.0.0.1", 0))
        port: int = each.getsockname()[1]
        return port


def environment(servers: Servers | None = None, **more: str) -> dict[str, str]:
    """Returns an environment in which nothing of ours is set but what is asked for."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ROWCAST_") and k not in {"DATABASE_URL", "REDIS_URL", "HOST", "PORT"}}
    urls = {"DATABASE_URL": servers.database_url, "REDIS_URL": servers.redis_url} if servers else {}
    return clean | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "ROWCAST_JWT_SECRET": SECRET} | urls | more


def rowcast(*args: str, env: Mapping[str, str], cwd: Path | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", *args], env=dict(env), cwd=cwd, timeout=timeout, capture_output=True, text=True, check=False
    )


@contextmanager
def started(command: list[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Starts a process in a session of its own, its output in a file; ends it, if it has not ended."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, env=dict(env), cwd=cwd, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "gateway", *args]


def wait_ready(base: str, within: float = 30, path: str = "/readyz") -> None:
    """Waits until a web process is ready."""
    deadline = time.monotonic() + within
    while True:
        try:
            with urllib.request.urlopen(base + path, timeout=2) as response:
                if response.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"{base}{path} is not ready")
        time.sleep(0.05)
