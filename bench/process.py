"""Processes of the bench's own: started in sessions of their own, ended whatever happens, measured from /proc."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 10.0
_POLL_SECONDS = 0.02


class BenchError(Exception):
    """The bench cannot go on."""


@asynccontextmanager
async def started(
    command: Iterable[str | bytes], env: Mapping[str, str], cwd: Path, log: Path, talks: bool = False
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Starts a process, its output in a file, or, if it talks, on pipes; ends it, if it has not ended."""
    with log.open("ab") as file:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(env),
            cwd=cwd,
            stdin=asyncio.subprocess.PIPE if talks else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if talks else file,
            stderr=file,
            # A Ctrl-C is ours to pass on, in the right order.
            start_new_session=True,
            limit=2**26,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                # Not `terminate`: that would wait for a child that has just ended, and asyncio does.
                os.kill(process.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(_STOP_SECONDS):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()


async def until(condition: Callable[[], Awaitable[bool]], within: float) -> bool:
    """Waits for a condition for some seconds at most, and says whether it came."""
    deadline = time.monotonic() + within
    while not await condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return True


def _stat(entry: Path) -> tuple[int, int, float, float] | None:
    """Returns pid, parent, own CPU seconds, and those of children that have ended and were waited for."""
    try:
        fields = (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    own, reaped = (sum(int(fields[at]) for at in places) / _TICKS for places in ((11, 12), (13, 14)))
    return int(entry.name), int(fields[1]), own, reaped


def cpu_seconds(pid: int, tree: bool = True) -> float:
    """Returns user and system time of a process, with `tree` of all that it has started too; 0 where there is no /proc."""
    if not tree:
        found = _stat(_PROC / str(pid))
        return found[2] if found else 0.0
    found_all = [each for entry in _PROC.glob("[0-9]*") if (each := _stat(entry))]
    children: dict[int, list[int]] = {}
    for child, parent, _, _ in found_all:
        children.setdefault(parent, []).append(child)
    times = {each[0]: each[2] + each[3] for each in found_all}
    total, waiting = 0.0, [pid]
    while waiting:
        each_pid = waiting.pop()
        total += times.get(each_pid, 0.0)
        waiting += children.get(each_pid, [])
    return total


def busy_seconds() -> float:
    """Returns the time that all cores have been busy, with whatever; 0 where there is no /proc."""
    try:
        fields = (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]
    except OSError:
        return 0.0
    user, nice, system, _idle, _wait, irq, softirq, steal = map(int, fields)
    return (user + nice + system + irq + softirq + steal) / _TICKS


def others_seconds() -> float:
    """Returns the CPU time of everything that this process has not started."""
    return busy_seconds() - cpu_seconds(os.getpid())


def memory_mb(pid: int, peak: bool = False) -> float:
    """Returns the resident memory of a process, or its peak."""
    name = "VmHWM:" if peak else "VmRSS:"
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return 0.0


def pin(pid: int, core: int) -> None:
    """Keeps a process, and what it starts from now on, on one core, where there is more than one."""
    if len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(pid, {sorted(os.sched_getaffinity(0))[core]})


def last_lines(log: Path) -> str:
    """Returns what a process said last, for an error."""
    return f"{log.name} ends with: {' | '.join(log.read_text(errors='replace').splitlines()[-3:])}"


def parent(pid: int) -> int:
    """Returns the parent of a process."""
    found = _stat(_PROC / str(pid))
    return found[1] if found else 0
