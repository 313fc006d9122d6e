"""A test run that is killed leaves no process behind."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys

import pytest

from tests.support import guard
from tests.support.gateway import until

_RUN = """
import os, subprocess, sys
from tests.support import guard
if sys.argv[1] == "guarded":
    guard.stand()
else:
    os.environ[guard.NAME] = sys.argv[1]
ends = "import time; time.sleep(600)"
deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + ends
for program in (ends, deaf):
    subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
print(os.environ[guard.NAME], flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("guarded", [True, False])
def test_run_is_killed(guarded: bool) -> None:
    """What it has started ends, also what does not listen; without the guard (control) it goes on."""
    how = "guarded" if guarded else secrets.token_hex(8)
    with subprocess.Popen([sys.executable, "-c", _RUN, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        mark = run.stdout.readline().strip()
        assert len(guard.marked(mark)) == 2
        run.kill()
    if guarded:
        asyncio.run(until(lambda: not guard.marked(mark), 60))
        return
    left = guard.marked(mark)
    assert len(left) == 2
    for process in left:
        os.kill(process, signal.SIGKILL)
