"""One embedded server: its port, its password, its log, its beginning and its end.

- It listens on 127.0.0.1 only and asks for a password, which lies in a file of mode 0600.
- Its process is written down in the data directory from its beginning to its end, so that a next owner can find it.
- It has a session of its own: a Ctrl-C must not reach it before its clients have left.
- Once it has served a port it comes back on that port.
"""

import importlib.util
import os
import secrets
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from gateway import datadir
from gateway.datadir import POLL_SECONDS, STOP_SECONDS, EmbeddedError

HOST = "127.0.0.1"
_RETRY_SECONDS = 0.1
_START_SECONDS = 30.0
_LOG_BYTES = 10_000_000

Command: TypeAlias = list[str | Path]


class Server(ABC):
    """A server process and what it needs in the data directory."""

    name: ClassVar[str]
    scheme: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    immediate_signal: ClassVar[signal.Signals]
    program: Path

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.directory = self.data_dir / self.name
        self.log = self.data_dir / f"{self.name}.log"
        self.port = free_port()
        self._port_served = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address, with the password."""
        return self.scheme.format(password=self.password, address=f"{HOST}:{self.port}")

    @property
    def password(self) -> str:
        """The password, made at the first use and kept beside the data."""
        path = self.data_dir / f"{self.name}.password"
        if not path.exists():
            datadir.write(path, secrets.token_urlsafe(24))
        return path.read_text()

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._process is None or self._process.poll() is not None:
            raise EmbeddedError(f"{self.name} of {self.data_dir} is not running: start it")
        return self._process.pid

    @abstractmethod
    def _prepare(self) -> None:
        """Makes what the server needs to start at all."""

    @abstractmethod
    def _command(self) -> tuple[Command, dict[str, Any]]:
        """Returns the command of the server and its Popen options."""

    @abstractmethod
    def _ready(self, pid: int) -> bool:
        """Whether the server, which runs as this process, answers."""

    def start(self) -> None:
        """Starts the server and returns when it answers; every later start is on the port of the first."""
        if self._process is not None and self._process.poll() is None:
            raise EmbeddedError(f"{self.name} of {self.data_dir} runs already, as process {self.pid}: stop it first")
        datadir.claim(self.data_dir)
        self._prepare()
        deadline = time.monotonic() + _START_SECONDS
        try:
            while not self._answers(deadline):
                # Somebody took the port between our look and the bind. One that was served is waited for.
                self.port = self.port if self._port_served else free_port()
                time.sleep(_RETRY_SECONDS)
        except BaseException:
            self.stop(immediate=True)
            raise
        self._port_served = True

    def stop(self, immediate: bool = False) -> None:
        """Stops the server if it runs; `immediate` is a crash: nothing is finished, and the next start recovers."""
        if self._process is None:
            return
        self._process.send_signal(self.immediate_signal if immediate else self.stop_signal)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None
        datadir.record(self.data_dir, self.name, None)

    def _answers(self, deadline: float) -> bool:
        """Spawns the server and returns True when it answers, False if it ended because something was in use."""
        command, options = self._command()
        with open(self.log, "ab", opener=datadir.private) as log:
            if log.tell() > _LOG_BYTES:
                log.truncate(0)
            begin = os.fstat(log.fileno()).st_size
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **options)
        datadir.record(self.data_dir, self.name, {"pid": self._process.pid, "url": self.url})
        while not self._ready(self._process.pid):
            ended, late = self._process.poll() is not None, time.monotonic() > deadline
            if ended or late:
                lines = self.log.read_bytes()[begin:].decode(errors="replace").splitlines()
                # The port, or after a crash of Postgres the shared memory of backends that have not left yet.
                if not late and any(line.endswith(" in use") for line in lines):
                    return False
                what = "ended at its start" if ended else f"did not answer within {_START_SECONDS:.0f} s"
                raise EmbeddedError(f"{self.name} {what}; {self.log} ends with: {' | '.join(lines[-4:])}")
            time.sleep(POLL_SECONDS)
        return True


def find_program(package: str, pattern: str, variable: str) -> Path:
    """Finds a server in its wheel without importing the package, which has side effects."""
    spec = importlib.util.find_spec(package)
    for directory in (spec and spec.submodule_search_locations) or ():
        for path in Path(directory).glob(pattern):
            return path
    raise EmbeddedError(f"no server in {package} here: pip install {package.replace('_', '-')}, or set {variable}")


def free_port() -> int:
    """Returns a port of HOST that nobody has just now."""
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
