"""As whom the embedded Postgres runs: it refuses root.

- Whoever is not root runs it as himself.
- Root becomes nobody in a user namespace of its own, where root's files are nobody's.
- Where that is forbidden, as in most containers, a new directory is given to the real nobody; an existing one keeps its owner.
- The way to a database is opened to nobody only through a data directory that was ours from the beginning.
"""

import os
import pwd
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway import datadir
from gateway.datadir import EmbeddedError
from gateway.embedded.server import Command


def choose(directory: Path, program: Path, new: bool = False) -> tuple[Command, dict[str, Any]]:
    """Returns a command prefix and Popen options under which Postgres may use the directory, which may be given away if `new`."""
    if os.geteuid() != 0:
        return [], {}
    nobody = pwd.getpwnam("nobody")  # initdb wants a uid that has a name
    prefix: Command = ["unshare", "-U", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}", "--"]
    options: dict[str, Any] = {}
    owner = directory.stat()
    if owner.st_uid != 0:
        prefix, options = [], {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    probe: Command = [*prefix, "/bin/sh", "-c", 'test -x "$0" && test -w "$1"', program, directory]
    with suppress(OSError):
        if subprocess.run(probe, stderr=subprocess.DEVNULL, check=False, **options).returncode == 0:
            return prefix, options
    if new and owner.st_uid == 0:
        with suppress(PermissionError):
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
            if datadir.claimed(directory.parent):
                directory.parent.chmod(0o711)
        return choose(directory, program)
    raise EmbeddedError(f"Postgres refuses root, and nobody else can use {directory} here: set DATABASE_URL")
