"""A process of another release, as far as Redis is concerned: `python -m tests.reliability.migrations.versioned WRITES READS COMMAND…`.

It is the program as it is, with other numbers in `gateway.wire`; with WRITES other than 1 its entries begin as no entry of version 1
does. There is no other release yet, so that this is a simulation.
"""

import sys
from typing import Any

from gateway import cli, wire


def arm(writes: int, reads: frozenset[int]) -> None:
    """Makes this process one of a release that writes one version and reads some."""
    encode, decode = wire.encode, wire.decode

    def encoded(*args: Any) -> bytes:
        return b"" if writes == 1 else b"%d\n" % writes + encode(*args)

    def decoded(channel: str, previous: int, payload: bytes) -> wire.Entry:
        number, _, rest = payload.partition(b"\n")
        return decode(channel, previous, rest if number.isdigit() and int(number) in reads else payload)

    wire.VERSION = writes
    wire.READ = reads
    if writes != 1:
        wire.encode = encoded  # type: ignore[assignment]
    wire.decode = decoded


def command(writes: int, reads: str, *args: str) -> list[str]:
    """Returns what starts such a process."""
    return [sys.executable, "-m", "tests.reliability.migrations.versioned", str(writes), reads, *args]


if __name__ == "__main__":
    arm(int(sys.argv[1]), frozenset(int(each) for each in sys.argv[2].split(",")))
    sys.argv[1:] = sys.argv[3:]
    cli.main()
