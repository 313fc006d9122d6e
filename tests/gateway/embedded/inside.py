"""What is written down in a data directory, and about its processes."""

import json
from pathlib import Path


def pids(data_dir: Path) -> dict[str, int]:
    """Reads the process ids of the servers that are written down."""
    return {name: entry["pid"] for name, entry in json.loads((data_dir / "servers.json").read_text()).items()}


def command_line(pid: int) -> str:
    """Reads a process's command line, which is empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def mode(path: Path) -> int:
    """Reads the rights of a path."""
    return path.stat().st_mode & 0o777
