"""What a test run started does not outlive it, however it ends: a worker of pytest-xdist is killed where it does not end by itself.

`python -m tests.support.guard MARK` waits until its standard input ends, as it does with the process that holds the other end, and
then ends whatever has MARK in its environment. Where there is no /proc it ends nothing.
"""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

NAME = "TEST_RUN_MARK"
_PATIENCE_SECONDS = 5.0


def stand() -> "subprocess.Popen[bytes]":
    """Marks what this process will start, and starts its guard."""
    os.environ[NAME] = secrets.token_hex(8)
    # Neither Ctrl-C nor the end of a group of processes reaches it.
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.guard", os.environ[NAME]], stdin=subprocess.PIPE, start_new_session=True, env=_plain()
    )


def leave(guard: "subprocess.Popen[bytes]") -> None:
    """Lets the guard end what is left, and waits until it has."""
    assert guard.stdin is not None
    guard.stdin.close()
    guard.wait()


def marked(mark: str) -> list[int]:
    """Returns the processes with a mark in their environment, as far as they can be looked at."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            marks = f"{NAME}={mark}".encode() in path.read_bytes().split(b"\0")
        except OSError:
            # Gone, or somebody else's.
            continue
        if marks:
            found.append(int(path.parent.name))
    return found


def _plain() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != NAME}


def _end(mark: str) -> None:
    """Asks all to end, and ends those that do not."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    sign = signal.SIGTERM
    while processes := marked(mark):
        for process in processes:
            try:
                os.kill(process, sign)
            except ProcessLookupError:
                continue
        time.sleep(0.2)
        if time.monotonic() > deadline:
            sign = signal.SIGKILL


if __name__ == "__main__":
    sys.stdin.read()
    _end(sys.argv[1])
