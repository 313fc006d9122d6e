"""Runs an example: its page built, Postgres and Valkey, the tables, Rowcast, and the site, until Ctrl-C.

    python examples/run.py homeser

- Where DATABASE_URL and REDIS_URL are set, those are used; otherwise embedded servers, in the example's own `.rowcast`.
- The site is given no Redis, and of Rowcast only what its pages need: the address, and the secret that signs a token.
"""

import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
from honcho.manager import Manager

from gateway import embedded

_READY_SECONDS = 60.0


@dataclass(frozen=True)
class Example:
    """What Python runs for it: the declarations of `streams`, the commands that `prepare` the database, and the `site`."""

    streams: str
    prepare: tuple[str, ...]
    site: str


EXAMPLES = {
    "homeser": Example(
        "homeser.published", ("manage.py migrate -v 0", "manage.py sample", "manage.py publish"), "manage.py runserver --noreload {port}"
    ),
    "acquire": Example(
        "acquire.published", ("-m gateway migrate --examples",), "-m uvicorn acquire.app:app --port {port} --log-level warning"
    ),
}


def main(name: str) -> int:
    """Runs one until a signal, or until a part of it ends, and returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    example, directory = EXAMPLES[name], Path(__file__).parent / name
    port, site_port = os.environ.get("PORT", "8000"), os.environ.get("SITE_PORT", "8080")
    rowcast_url, site_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{site_port}"
    data_dir = Path(os.environ.get("ROWCAST_DATA_DIR", directory / ".rowcast"))
    if code := subprocess.run([sys.executable, str(Path(__file__).with_name("build.py"))], check=False).returncode:
        return code
    with ExitStack() as stack:
        database_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
        if not database_url or not redis_url:
            _say(f"starting embedded servers in {os.path.relpath(data_dir)}/ …")
            servers = stack.enter_context(embedded.start(data_dir, postgres=not database_url, redis=not redis_url))
            database_url, redis_url = database_url or servers.database_url or "", redis_url or servers.redis_url or ""
        path = os.pathsep.join(filter(None, [str(directory), os.environ.get("PYTHONPATH")]))
        secret = os.environ.get("ROWCAST_JWT_SECRET") or secrets.token_urlsafe(48)
        clean = {key: value for key, value in os.environ.items() if key != "REDIS_URL"}
        site = clean | {"DATABASE_URL": database_url, "ROWCAST_URL": rowcast_url, "ROWCAST_JWT_SECRET": secret, "PYTHONPATH": path}
        site |= {"PYTHONUNBUFFERED": "1"}
        rowcast = site | {"REDIS_URL": redis_url, "PORT": port, "ROWCAST_STREAMS": example.streams}
        rowcast |= {"ROWCAST_CORS_ORIGINS": site_url, "ROWCAST_DRAIN": os.environ.get("ROWCAST_DRAIN", "2s")}
        for command in example.prepare:
            environment = rowcast if command.startswith("-m gateway") else site
            if code := subprocess.run([sys.executable, *command.split()], cwd=directory, env=environment, check=False).returncode:
                return code
        manager = Manager()
        for what, command, environment in (
            ("bridge", "-m gateway bridge", rowcast),
            ("web", "-m gateway web", rowcast),
            ("site", example.site.format(port=site_port), site),
        ):
            manager.add_process(what, f'exec "{sys.executable}" {command}', env=environment, cwd=str(directory))
        threading.Thread(target=_announce, args=(f"{rowcast_url}/readyz", f"{site_url}/"), daemon=True).start()
        manager.loop()
        return int(manager.returncode or 0)


def _announce(*urls: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    for url in urls:
        while not _answers(url):
            if time.monotonic() > deadline:
                _say(f"{url} does not answer: see the lines above")
                return
            time.sleep(0.1)
    _say(f"\nready: {urls[-1]}\n")


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url, timeout=2).status_code < 400
    except httpx2.TransportError:
        return False


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in EXAMPLES:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(EXAMPLES)}")
    try:
        sys.exit(main(sys.argv[1]))
    except embedded.EmbeddedError as error:
        sys.exit(str(error))
