"""Builds the peers that are written in Go, each a short program of ours around a library, once, outside of the repository."""

import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_SOURCE = Path(__file__).with_name("go")
_BUILD_SECONDS = 300.0


@functools.cache
def missing(name: str) -> str | None:
    """Builds a program if it has not been built from this source, which may take a minute; says what is missing, or None."""
    go = shutil.which("go")
    if program(name).exists():
        return None
    if go is None:
        return "Go"
    print(f"building {name}", file=sys.stderr, flush=True)
    environment = os.environ | {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local"}
    command = [go, "build", "-trimpath", "-o", str(program(name)), f"./{name}"]
    try:
        built = subprocess.run(command, cwd=_SOURCE, env=environment, capture_output=True, text=True, timeout=_BUILD_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return "Go, and its modules within five minutes"
    if built.returncode:
        print(built.stderr[-1000:], file=sys.stderr, flush=True)
        return "Go ≥ 1.25, and the modules that bench/peer/go/go.mod names"
    return None


def program(name: str) -> Path:
    """Returns where a program is, once it has been built: its name changes with its source."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    sources = [_SOURCE / "go.mod", _SOURCE / "go.sum", _SOURCE / name / "main.go"]
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return cache / "rowcast-bench" / f"{name}-{digest[:12]}"
