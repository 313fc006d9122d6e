"""What a process keeps of revocations is as small as they are."""

import subprocess
import sys

import pytest

_LEARN = """
import os, sys
import orjson
from auth.revocation import Revocation, Revocations

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

if sys.argv[1] == "as it comes":
    Revocation.encode = lambda self: orjson.dumps((self.subject, self.token_id, self.before, self.until))
known, before = Revocations(None, ""), resident()
for number in range(20_000):
    known.learn(Revocation(token_id=f"token {number}", until=2e9))
print((resident() - before) // 20_000)
"""
_BOUND_BYTES = 1500


@pytest.mark.skipif(sys.platform != "linux", reason="tells resident memory as Linux does")
@pytest.mark.parametrize("how", ["copied", "as it comes"])
def test_small(how: str) -> None:
    """Of each, some hundred bytes; what orjson returns would be some thousand (control)."""
    told = subprocess.run([sys.executable, "-c", _LEARN, how], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert (int(told) < _BOUND_BYTES) == (how == "copied"), told
