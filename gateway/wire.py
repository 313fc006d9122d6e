"""What bridge and web say to each other in Redis: the names of keys and channels, and the bytes of an entry.

- `{0}` is a hash tag: all keys of one shard live on one node, and a script touches one shard.
- A log's key carries epoch and life: after a reseed nobody can mistake an older log for the present one.
- `previous` closes the chain of a channel: nothing of it lies between `previous` and `position`. Whoever holds all up to
  `previous` has missed nothing; whoever does not, has.
"""

from dataclasses import dataclass, field

import orjson

from streams.format import Members
from streams.payload import Change, Delivery

SHARD = "{0}"
META = f"rowcast:{SHARD}:meta"
HEAD = f"rowcast:{SHARD}:head"
"""The pub/sub channel of the bridge's beat."""

LOG_TTL_SECONDS = 1200
"""A channel's log lives this long after its last entry; the floor follows at most two marks later, and `meta` dies at half of
it, so that a log that has expired always lies below the floor, also when the bridge was away."""
MARK_SECONDS = LOG_TTL_SECONDS // 8
META_TTL_SECONDS = LOG_TTL_SECONDS // 2


def log_prefix(epoch: str, life: str) -> str:
    """Returns what the keys of all logs of one life begin with; the channel's name follows."""
    return f"rowcast:{SHARD}:log:{epoch}:{life}:"


@dataclass(slots=True)
class Entry:
    """One event of one channel; `kind` and `later` are a delivery's."""

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
    seen: "dict[object, Entry | None] | None" = None
    """What it is through the filters that have judged it."""
    apart: "tuple[Members, Members, Members] | None" = None
    """Its data, and the row after and before, taken apart for them."""


def encode(epoch: str, change: Change, delivery: Delivery) -> bytes:
    """Returns the bytes of one delivery: a line of JSON about it, then its data."""
    head = orjson.dumps((epoch, change.position, delivery.stream, delivery.kind, change.txid, delivery.later))
    return head + b"\n" + delivery.data


def decode(channel: str, previous: int, payload: bytes) -> Entry:
    """Reads what `encode` wrote. Raises ValueError for anything else."""
    head, _, data = payload.partition(b"\n")
    fields = orjson.loads(head)
    if not isinstance(fields, list) or len(fields) != 6:
        raise ValueError("not an entry")
    epoch, position, stream, kind, txid, later = fields
    words = isinstance(epoch, str) and isinstance(stream, str) and isinstance(kind, str)
    if not (words and isinstance(position, int) and isinstance(later, list)):
        raise ValueError("not an entry")
    return Entry(channel, position, previous, epoch, stream, kind, txid, tuple(later), data)


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
        return Beat(*orjson.loads(message))
