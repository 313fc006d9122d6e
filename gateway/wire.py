"""What bridge and web say to each other in Redis: the names of keys and channels, and the bytes of an entry.

- `{0}` is a hash tag: all keys of one shard live on one node, and a script touches one shard.
- A log's key carries epoch and life: after a reseed nobody can mistake an older log for the present one.
- A row with several owners is one entry on the channel that all of its stream's listeners have, with what it is to whom: once in
  Redis instead of once for each owner, which took Redis 35 µs each.
- Whatever one life of the logs has is of one version, which its name tells: bridge and web may be of two releases while one follows
  the other. In every version the names below are these, `meta` has epoch, life and position, and a beat begins with epoch and life.
- `previous` closes the chain of a channel: nothing of it lies between `previous` and `position`. Whoever holds all up to
  `previous` has missed nothing; whoever does not, has.
"""

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import orjson

from streams.format import Members
from streams.payload import Change, Delivery, Joint

VERSION = 1
"""In which this program writes: raised whenever what is written could not be read as before."""
READ = frozenset({VERSION})
"""Those that it reads: its own, and the one before it, so that web processes can be ahead of the bridges."""
SHARD = "{0}"
META = f"rowcast:{SHARD}:meta"
HEAD = f"rowcast:{SHARD}:head"
"""The pub/sub channel of the bridge's beat."""

SEVERAL = "several"
"""The kind of an entry with lots."""
CONTROL = f"rowcast:{SHARD}:control"
"""The pub/sub channel of what web processes tell each other beside events."""
LOG_TTL_SECONDS = 1200
"""A channel's log lives this long after its last entry; the floor follows at most two marks later, and `meta` dies at half of
it, so that a log that has expired always lies below the floor, also when the bridge was away."""
MARK_SECONDS = LOG_TTL_SECONDS // 8
META_TTL_SECONDS = LOG_TTL_SECONDS // 2


def log_prefix(epoch: str, life: str) -> str:
    """Returns what the keys of all logs of one life begin with; the channel's name follows."""
    return f"rowcast:{SHARD}:log:{epoch}:{life}:"


def new_life() -> str:
    """Returns a name for a life of the logs."""
    return f"{VERSION}-{secrets.token_hex(4)}"


def version_of(life: str) -> int:
    """Returns the version that a life of the logs is written in."""
    number, dash, _ = life.partition("-")
    return int(number) if dash and number.isdecimal() else 1


class OtherVersion(Exception):
    """What a bridge says is of a version that this process does not read."""

    def __init__(self, version: int) -> None:
        super().__init__(f"the bridge writes version {version}, and this process reads {', '.join(map(str, sorted(READ)))}")


@dataclass(slots=True)
class Entry:
    """One event of one channel; `kind` and `later` are a delivery's. With `lots` it is one for each of a row's owners, in these."""

    channel: str
    position: int
    previous: int
    epoch: str
    stream: str
    kind: str
    txid: int
    later: tuple[str, ...]
    data: bytes
    frames: dict[object, bytes] = field(default_factory=dict)
    """Its encoded frames by form: made once, whatever the number of subscribers."""
    seen: "dict[object, Entry | Literal[True] | None] | None" = None
    """What it is through the filters that have judged it; True is as it is."""
    apart: "tuple[Members, Members, Members] | None" = None
    """Its data, and the row after and before, taken apart for them."""
    lots: "tuple[tuple[frozenset[str], Entry], ...]" = ()
    """Owners, without what their channels have in common with this one, and what these get."""

    def for_channels(self, channels: Iterable[str]) -> "Iterator[Entry]":
        """Yields what somebody gets of it who listens to these channels."""
        if not self.lots:
            yield self
            return
        prefix = f"{self.channel}-"
        own = [channel[len(prefix) :] for channel in channels if channel.startswith(prefix)]
        for owners, part in self.lots:
            if not owners.isdisjoint(own):
                yield part


def encode(epoch: str, change: Change, delivery: Delivery | Joint) -> bytes:
    """Returns the bytes of one delivery: a line of JSON about it, then its data, or that of its lots, one behind the other."""
    if isinstance(delivery, Delivery):
        head = orjson.dumps((epoch, change.position, delivery.stream, delivery.kind, change.txid, delivery.later))
        return head + b"\n" + delivery.data
    start = len(delivery.channel) + 1
    lots = [(lot.kind, len(lot.data), [channel[start:] for channel in lot.channels]) for lot in delivery.lots]
    head = orjson.dumps((epoch, change.position, delivery.stream, SEVERAL, change.txid, delivery.later, lots))
    return b"\n".join((head, b"".join(lot.data for lot in delivery.lots)))


def decode(channel: str, previous: int, payload: bytes) -> Entry:
    """Reads what `encode` wrote. Raises ValueError for anything else."""
    head, _, data = payload.partition(b"\n")
    fields = orjson.loads(head)
    if not isinstance(fields, list) or len(fields) not in (6, 7):
        raise ValueError("not an entry")
    epoch, position, stream, kind, txid, later = fields[:6]
    words = isinstance(epoch, str) and isinstance(stream, str) and isinstance(kind, str)
    if not (words and isinstance(position, int) and isinstance(txid, int) and isinstance(later, list)):
        raise ValueError("not an entry")
    entry = Entry(channel, position, previous, epoch, stream, kind, txid, tuple(later), data)
    if (kind == SEVERAL) != (len(fields) == 7):
        raise ValueError("not an entry")
    if kind == SEVERAL:
        try:
            entry.lots = tuple(_lots(entry, fields[6]))
        except TypeError as error:
            raise ValueError("not an entry") from error
        entry.data = b""
    return entry


def _lots(entry: Entry, lots: Sequence[tuple[str, int, Sequence[str]]]) -> "Iterator[tuple[frozenset[str], Entry]]":
    start = 0
    for kind, size, owners in lots:
        if not isinstance(kind, str) or not isinstance(size, int) or size < 0 or not all(isinstance(owner, str) for owner in owners):
            raise ValueError("not an entry")
        yield frozenset(owners), replace(entry, kind=kind, data=entry.data[start : start + size], frames={})
        start += size
    if start != len(entry.data):
        raise ValueError("not an entry")


def decode_published(channel: str, message: bytes) -> Entry:
    """Reads a pub/sub message: the previous position, then the entry."""
    previous, _, payload = message.partition(b" ")
    return decode(channel, int(previous), payload)


@dataclass(frozen=True)
class Beat:
    """What the bridge says every second: how far Redis is, and how far behind Postgres."""

    epoch: str
    life: str
    position: int
    head: int
    lag_seconds: float

    def encode(self) -> bytes:
        return orjson.dumps((self.epoch, self.life, self.position, self.head, self.lag_seconds))

    @staticmethod
    def decode(message: bytes) -> "Beat":
        """Reads what `encode` wrote. Raises OtherVersion for a life that is not of ours, and ValueError for anything else.

        Past here it is compared with numbers, and nothing is caught there: a text among them would end the process.
        """
        match orjson.loads(message):
            case [str(), str(life), *_] if version_of(life) not in READ:
                raise OtherVersion(version_of(life))
            case [str(epoch), str(life), int(position), int(head), (int() | float()) as lag]:
                return Beat(epoch, life, position, head, lag)
        raise ValueError("not a beat")
