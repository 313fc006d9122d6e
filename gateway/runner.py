"""`rowcast run`: servers, migration, and the processes, supervised by honcho as `Procfile` would be.

- One that ends ends all, with an exit code, and then the servers.
- The line to paste is printed when it works, not before.
"""

import asyncio
import math
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any

import httpx2
import uvloop
from honcho.manager import Manager
from rich.console import Console

from auth.principal import Principal
from auth.token import sign
from gateway import address, datadir, embedded, migrator
from gateway.bridge.listener import connect
from gateway.migrator import MigrateError, Plan
from gateway.settings import EXAMPLES, Settings
from streams.catalog import Catalog, load

_READY_SECONDS = 60.0
_SHOWN = frozenset({"bookings", "services"})
_DRAIN = "2s"
"""honcho kills after five seconds, and on a developer's machine nobody wants to wait."""


class RunError(Exception):
    """Something did not start."""


def loop(work: Coroutine[Any, Any, None]) -> None:
    """Runs a process's work on uvloop."""
    uvloop.run(work)


def run(settings: Settings, out: Console) -> int:
    """Starts everything, waits for Ctrl-C, SIGTERM or the end of one process, and returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with ExitStack() as stack:
        own_postgres = not settings.database_url
        if own_postgres or not settings.redis_url:
            out.print(f"starting embedded servers in {settings.data_dir}/ …")
            servers = stack.enter_context(embedded.start(settings.data_dir, postgres=own_postgres, redis=not settings.redis_url))
            settings = address.complete(settings, servers)
        settings = _with_secret(settings)
        # Who declares streams of their own has tables of their own.
        examples = own_postgres and settings.streams == EXAMPLES
        demo = examples and settings.demo
        for line in _migrated(settings, examples, own_postgres, out):
            out.print(f"changed: {line}")
        return _supervise(settings, demo, out)


def _migrated(settings: Settings, examples: bool, patient: bool, out: Console) -> list[str]:
    """Migrates. Where the server runs only as long as we do, tables that are not there yet are waited for."""
    told = ""
    while True:
        try:
            return asyncio.run(_migrate(settings, examples))
        except MigrateError as error:
            if not patient:
                raise
            if str(error) != told:
                told = str(error)
                out.print(f"[yellow]waiting:[/yellow] {told}")
                out.print('create what is missing from another terminal: eval "$(rowcast env)"; psql "$DATABASE_URL"', markup=False)
        time.sleep(1)


async def _migrate(settings: Settings, examples: bool) -> list[str]:
    connection = await connect(settings.database_url or "", "migrate")
    try:
        return await migrator.migrate(connection, Plan.of(settings, load(settings.streams)), examples=examples)
    finally:
        await connection.close()


def _with_secret(settings: Settings) -> Settings:
    if not (settings.jwt_secret or settings.jwt_public_key or settings.jwks_url or settings.secret_file.exists()):
        datadir.claim(settings.data_dir)
        handle = os.open(settings.secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_urlsafe(48))
    return settings.with_local_secret()


def _supervise(settings: Settings, demo: bool, out: Console) -> int:
    environment = {
        **os.environ,
        "DATABASE_URL": settings.database_url or "",
        "REDIS_URL": settings.redis_url or "",
        "HOST": settings.host,
        "PORT": str(settings.port),
        "ROWCAST_DRAIN": os.environ.get("ROWCAST_DRAIN", _DRAIN),
        "ROWCAST_CONSOLE": str(int(_has_console(settings))),
        "PYTHONUNBUFFERED": "1",
    }
    if settings.jwt_secret:
        environment["ROWCAST_JWT_SECRET"] = settings.jwt_secret
    manager = Manager()
    for name in ("bridge", "web", *(["demo"] if demo else [])):
        manager.add_process(name, f'exec "{sys.executable}" -m gateway {name}', env=environment)
    threading.Thread(target=_announce, args=(settings, out), daemon=True).start()
    manager.loop()
    return int(manager.returncode or 0)


def _has_console(settings: Settings) -> bool:
    """Whether there is a console: here, unless it is switched off."""
    return settings.console is not False


def _announce(settings: Settings, out: Console) -> None:
    base = f"http://{settings.reachable_host}:{settings.port}"
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        try:
            if httpx2.get(f"{base}/readyz", timeout=2).is_success:
                break
        except httpx2.TransportError:
            pass
        time.sleep(0.1)
    else:
        out.print(f"[red]{base}/readyz does not answer: see the lines above[/red]")
        return
    out.print(f"\n[bold]Rowcast is ready[/bold] at {base}")
    fragment = ""
    if settings.jwt_secret:
        now = int(time.time())
        role, names = _shown(load(settings.streams))
        seconds = int(min(86_400, settings.max_token_lifetime.total_seconds()))
        token = sign(settings.key(), {"sub": "1", "role": role, "iat": now, "exp": now + seconds} | settings.own_claims)
        out.print("Paste this into another terminal:\n")
        sys.stdout.write(f"curl -N -H 'Authorization: Bearer {token}' {base}/streams/{','.join(names)}\n\n")
        fragment = f"#token={token}&streams={','.join(names)}"
    if _has_console(settings):
        # Behind the # it is never sent: the page takes it from there.
        sys.stdout.write(f"Console: {base}/console{fragment}\n\n")
    sys.stdout.flush()


def _shown(catalog: Catalog) -> tuple[str, list[str]]:
    """Returns a role, and the streams to show it: bookings and services of the examples, else the first of one's own."""
    if all(name in catalog for name in _SHOWN):
        return "customer", sorted(_SHOWN)
    role = min(next(iter(catalog.values())).roles, default="customer")
    somebody = Principal("1", frozenset({role}), "1", math.inf)
    return role, [stream.name for stream in catalog.values() if stream.open_to(somebody)][:2]
