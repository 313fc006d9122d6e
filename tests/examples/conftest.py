"""Fixtures: each example's database, prepared as its README does, and its commands as processes."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support.blocking import query
from tests.support.gateway import Web
from tests.support.node import needed
from tests.support.process import ROOT, environment, free_port, started, wait_ready
from tests.support.servers import Servers, fresh, with_database
from tests.support.sse import Stream

EXAMPLES = ROOT / "examples"
COMMANDS = {
    "homeser": ("manage.py", "runserver", "--noreload", "{port}"),
    "acquire": ("-m", "uvicorn", "acquire.app:app", "--port", "{port}"),
}
_ANSWERS = {"homeser": "/accounts/login/", "acquire": "/api/visitor"}
"""What each site answers also where its page is not built."""


def environment_of(name: str, servers: Servers) -> dict[str, str]:
    """Returns what an example's site is given: the database, and no Redis."""
    given = environment(servers, PYTHONPATH=f"{EXAMPLES / name}:{ROOT}")
    del given["REDIS_URL"]
    return given


def python(name: str, servers: Servers, *args: str, **more: str) -> str:
    """Runs Python in an example's directory to its end, and returns its output."""
    done = subprocess.run(
        [sys.executable, *args],
        cwd=EXAMPLES / name,
        env=environment_of(name, servers) | more,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def manage(servers: Servers, code: str) -> str:
    """Runs code in Django, as `manage.py shell` does, while the gateway goes on."""
    return await asyncio.to_thread(python, "homeser", servers, "manage.py", "shell", "-v", "0", "-c", code)


@asynccontextmanager
async def site(name: str, servers: Servers, log: Path, port: int = 0, **more: str) -> AsyncIterator[str]:
    """Runs an example's site, and yields its address."""
    port = port or free_port()
    line = [sys.executable, *(word.format(port=port) for word in COMMANDS[name])]
    with started(line, environment_of(name, servers) | more, log, cwd=EXAMPLES / name):
        base = f"http://127.0.0.1:{port}"
        await asyncio.to_thread(wait_ready, base, path=_ANSWERS[name])
        yield base


@asynccontextmanager
async def listening(web: Web, path: str, token: str) -> AsyncIterator[Stream]:
    """Opens streams as a page does, with the token of its site; `ready` has been read."""
    stream = await web.request(f"/streams/{path}", {"Authorization": f"Bearer {token}"})
    try:
        assert (await stream.next()).name == "ready"
        yield stream
    finally:
        await stream.close()


@pytest.fixture(scope="session")
def pages() -> None:
    """The examples' pages, built as `run.py` does it; without Node the test is skipped, or fails where nothing may be missing."""
    needed(EXAMPLES)
    done = subprocess.run([sys.executable, str(EXAMPLES / "build.py")], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def homeser_template(run_servers: Servers) -> Iterator[str]:
    """A database that was empty, and that Django has migrated, published and filled."""
    yield from _template(run_servers, "homeser", ["manage.py migrate -v 0", "manage.py sample", "manage.py publish"])


@pytest.fixture
def homeser(run_servers: Servers, homeser_template: str) -> Iterator[Servers]:
    """The marketplace's database, and an empty Redis."""
    with fresh(run_servers, homeser_template) as each:
        yield each


@pytest.fixture(scope="module")
def acquire_template(run_servers: Servers) -> Iterator[str]:
    """A database that was empty, with the listings' tables."""
    yield from _template(run_servers, "acquire", ["-m gateway migrate --examples"])


@pytest.fixture
def acquire(run_servers: Servers, acquire_template: str) -> Iterator[Servers]:
    """The listings' database, and an empty Redis."""
    with fresh(run_servers, acquire_template) as each:
        yield each


def _template(run: Servers, name: str, commands: list[str]) -> Iterator[str]:
    template = f"template_{name}"
    query(run.database_url, f"create database {template} template template0")
    servers = Servers(with_database(run.database_url, template), run.redis_url)
    for command in commands:
        python(name, servers, *command.split(), ROWCAST_STREAMS=f"{name}.published")
    yield template
    query(run.database_url, f"drop database {template} with (force)")
