"""One Python client: `python -m tests.clients.adapters.host httpx_sse`. The lines are those of host.mjs.

An adapter's `listen` is what its package's own page shows: a loop, and nothing around it. That it ends is said by how.
"""

import importlib
import sys
import threading
from collections.abc import Callable

from tests.clients.adapters.job import Job


def main(name: str) -> None:
    listen = importlib.import_module(f"tests.clients.adapters.{name}").listen
    for line in sys.stdin:
        # They die with the process.
        threading.Thread(target=_run, args=(listen, Job.read(line)), daemon=True).start()


def _run(listen: Callable[[Job], None], job: Job) -> None:
    try:
        listen(job)
    except Exception as error:
        job.say(end="raises", error=f"{type(error).__name__}: {error}")
    else:
        job.say(end="returns")


if __name__ == "__main__":
    main(sys.argv[1])
