"""A declared stream: a table, whose row it is, who may listen, and which columns they see.

- Valid by construction, no I/O: a `Stream` that exists can be rendered and served.
- Columns are an allow-list: one that is added to the table later is not published by accident.
- A channel belongs to one stream, so a position reaches a channel at most once.
"""

import re
from dataclasses import dataclass, field
from typing import Protocol


class DeclarationError(Exception):
    """A stream is declared in a way that cannot work."""


class Owner(Protocol):
    """Who a channel belongs to: what `auth.principal.Principal` offers."""

    @property
    def user_id(self) -> str: ...
    @property
    def provider_id(self) -> str: ...
    @property
    def roles(self) -> frozenset[str]: ...


_NAME = re.compile(r"[a-z][a-z-]{0,30}")
_CHANNEL = re.compile(r"([a-z][a-z-]*[a-z])(?:-\{(user_id|provider_id)\})?")
_CONTROL = frozenset({"ready", "reset", "snapshot", "checkpoint", "auth-expiring", "reconnect", "closed"})
_FORBIDDEN = frozenset({"error", "open", "close", "end", "message"}) | _CONTROL


@dataclass(frozen=True)
class Stream:
    """One feed of one table.

    `table` is `schema.table`; `channel` a template such as `bookings-changes-{user_id}`, with `owner` the column whose
    value fills it, or a plain name for a stream that is the same for all. `roles` are those who may open it, empty for
    any user. Raises DeclarationError, naming the field.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    channel: str
    owner: str | None = None
    roles: frozenset[str] = frozenset()
    key: tuple[str, ...] = ("id",)
    broadcast: str = field(init=False)
    claim: str | None = field(init=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in _FORBIDDEN:
            raise DeclarationError(f"stream {self.name!r}: name must be lower-case letters and dashes, and not a control event's")
        schema, dot, table = self.table.partition(".")
        if not (schema and dot and table):
            raise DeclarationError(f"stream {self.name}: table must be schema.table, not {self.table!r}")
        channel = _CHANNEL.fullmatch(self.channel)
        if channel is None:
            raise DeclarationError(
                f"stream {self.name}: channel {self.channel!r} is neither a name nor name-{{user_id}} nor name-{{provider_id}}"
            )
        if (channel[2] is None) != (self.owner is None):
            raise DeclarationError(f"stream {self.name}: a channel with a placeholder needs an owner column, and the other way round")
        for what, names in (("columns", self.columns), ("key", self.key)):
            if not names or len(set(names)) != len(names):
                raise DeclarationError(f"stream {self.name}: {what} must be named, each once")
        if not set(self.key) <= set(self.columns):
            raise DeclarationError(f"stream {self.name}: the key {', '.join(self.key)} must be among the columns")
        object.__setattr__(self, "broadcast", channel[1])
        object.__setattr__(self, "claim", channel[2])

    @property
    def schema(self) -> str:
        return self.table.partition(".")[0]

    @property
    def table_name(self) -> str:
        return self.table.partition(".")[2]

    def open_to(self, owner: Owner) -> bool:
        """Says whether somebody with these roles may listen."""
        return not self.roles or bool(self.roles & owner.roles)

    def channels(self, owner: Owner) -> tuple[str, ...]:
        """Returns the channels that carry this stream to this owner: their own, and the one for what concerns all."""
        if self.claim is None:
            return (self.broadcast,)
        return (f"{self.broadcast}-{getattr(owner, self.claim)}", self.broadcast)
