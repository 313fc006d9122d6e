"""Somebody else who owns a data directory."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from gateway.embedded import Servers
from tests.support.process import ROOT

OWNER = """
import signal, sys
from pathlib import Path
from gateway.embedded import start
with start(Path(sys.argv[1])) as servers:
    print(servers.database_url, servers.redis_url, flush=True)
    signal.pause()
"""


class Owner:
    """Another process that has started the servers."""

    def __init__(self, data_dir: Path, python: str = sys.executable, path: str = "", **options: Any) -> None:
        self.process = subprocess.Popen(
            [python, "-c", OWNER, data_dir],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": path or f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "PYTHONDONTWRITEBYTECODE": "1"},
            **options,
        )
        assert self.process.stdout is not None
        database_url, redis_url = self.process.stdout.readline().split()
        self.servers = Servers(database_url, redis_url)

    def end(self, number: signal.Signals) -> int:
        """Signals the whole process group, as a terminal does, and returns how the process ended."""
        os.killpg(self.process.pid, number)
        status = self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status
