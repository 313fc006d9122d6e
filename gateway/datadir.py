"""A data directory of Rowcast's own: whose it is, what runs in it, what was left over there.

- One process at a time owns it. It holds a lock that dies with it, so whatever still runs while the lock is free was left
  over by a killed owner, and the next owner stops it.
- A process is signalled only if its command line names the directory: pids are recycled.
"""

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

POLL_SECONDS = 0.01
STOP_SECONDS = 30.0
_IGNORE_ALL = "*\n"


class EmbeddedError(Exception):
    """A server of Rowcast's own cannot run here; the message says what to do."""


def claim(data_dir: Path) -> None:
    """Makes the data directory, or sees that it is ours."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise EmbeddedError(f"{data_dir} cannot be made ({error.strerror}): choose another data directory") from error
    if (owner := data_dir.stat().st_uid) != os.geteuid():
        raise EmbeddedError(f"{data_dir} belongs to the user {owner}: run as that user, or choose another directory")
    if not any(data_dir.iterdir()):
        (data_dir / ".gitignore").write_text(_IGNORE_ALL)


def claimed(data_dir: Path) -> bool:
    """Whether the directory was ours from the beginning, so that its rights are ours to change."""
    mark = data_dir / ".gitignore"
    return mark.exists() and mark.read_text() == _IGNORE_ALL


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Holds the lock of the data directory; the kernel lets go of it when this process ends, however it ends."""
    with open(data_dir / "lock", "a+", opener=private) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise EmbeddedError(f"{data_dir} is in use by process {file.read()}: stop it first") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)  # closing alone would leave it to forked children


def stop_left_over(data_dir: Path, signals: Mapping[str, signal.Signals]) -> None:
    """Stops what a killed owner left running, and clears what it left half done; call it with the lock held.

    `signals` are those that stop each server.
    """
    for name, entry in recorded(data_dir).items():
        for number in (signals[name], signal.SIGKILL):
            deadline = time.monotonic() + STOP_SECONDS
            if serves(entry["pid"], data_dir / name):
                with suppress(ProcessLookupError):
                    os.kill(entry["pid"], number)
            while serves(entry["pid"], data_dir / name) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
        if serves(entry["pid"], data_dir / name):
            raise EmbeddedError(f"{name} of {data_dir} was left over and does not end: kill process {entry['pid']}")
        record(data_dir, name, None)
    for scratch in data_dir.glob("scratch-*"):
        shutil.rmtree(scratch, ignore_errors=True)


def recorded(data_dir: Path) -> dict[str, Any]:
    """Reads who was started in the data directory: name → pid, url."""
    with suppress(OSError, ValueError):
        return dict(json.loads((data_dir / "servers.json").read_text()))
    return {}


def record(data_dir: Path, name: str, entry: dict[str, Any] | None) -> None:
    """Writes down that a server was started, or with None that it ended."""
    entries = recorded(data_dir) | {name: entry}
    with suppress(FileNotFoundError):  # the directory was deleted under its servers
        write(data_dir / "servers.json", json.dumps({name: entry for name, entry in entries.items() if entry}))


def serves(pid: int, directory: Path) -> bool:
    """Whether the process is a server of the directory; one that has ended, or is somebody else's by now, is not."""
    if Path("/proc/self/cmdline").exists():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
        except (FileNotFoundError, ProcessLookupError):
            return False
    else:
        command = subprocess.run(["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False).stdout
    return re.search(b" " + re.escape(os.fsencode(directory)) + b"[ /]", command) is not None


def private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def write(path: Path, text: str) -> None:
    """Replaces a file by one that only its owner can read, at once and durably."""
    scratch = path.with_name(f"{path.name}.new")
    with open(scratch, "w", opener=private) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)
