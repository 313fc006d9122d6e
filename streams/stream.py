"""A declared stream: a table, whose row it is, who may listen, and which columns they see.

- Valid by construction, no I/O: a `Stream` that exists can be rendered and served.
- Columns are an allow-list: one that is added to the table later is not published by accident.
- A channel belongs to one stream, so a position reaches a channel at most once.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from streams.filter import KINDS, Filter, FilterError, parse


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


EVERY_TABLE = "*"
COMPONENTS = ("bridge", "redis", "postgres")
FORMATS = frozenset({"raw", "diff", "supabase", "cloudevents"})
_OPERATIONS = frozenset({"INSERT", "UPDATE", "DELETE"})


@dataclass(frozen=True)
class Via:
    """An owner that another table names: `column` holds the `key` of a row of `table`, and that row's `owner` column says whose it is.

    The row must exist before those that refer to it, as a foreign key sees to.
    """

    column: str
    table: str
    owner: str
    key: str = "id"


@dataclass(frozen=True, eq=False)
class Stream:
    """One feed of one table.

    `table` is `schema.table`, or `*` for whatever any other stream publishes, which is then for `roles` only.
    `channel` is a template such as `bookings-changes-{user_id}`, with `owner` the column whose value fills it (an array has
    several owners), or a `Via`; or a plain name for a stream that is the same for all.
    `roles` are those who may open it, empty for any user. With `others`, a filter such as `public=is.true`, anybody may, and
    who has none of the roles sees only what passes it.
    `filters` are the columns that clients may filter by, each with the kind as what it is compared (`streams.filter.KINDS`).
    `events` names the events of INSERT, UPDATE and DELETE where that is not the stream's name.
    `format` is what clients get who ask for none. In `diff` a row is a `noun`, if it has one (`property`: `property_id`), and
    `announced` are the columns that are told of a new one, all if none are named.
    `latest_only` allows that several changes of one row, where they leave together, leave as one.
    `rls` lets Postgres' row-level security judge each delivery besides.
    `components` are those of `bridge`, `redis` and `postgres` whose going down and coming up it tells, each with whether to anybody
    or only to those with one of the roles.
    `keys` is the catalog's to fill in: of a stream of every table the key of each.
    Raises DeclarationError, naming the field.
    """

    name: str
    table: str
    columns: tuple[str, ...]
    channel: str
    owner: str | Via | None = None
    roles: frozenset[str] = frozenset()
    key: tuple[str, ...] = ("id",)
    others: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    events: Mapping[str, str] = field(default_factory=dict)
    format: str = "raw"
    noun: str = ""
    announced: tuple[str, ...] = ()
    latest_only: bool = False
    rls: bool = False
    components: Mapping[str, bool] = field(default_factory=dict)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    broadcast: str = field(init=False)
    claim: str | None = field(init=False)
    limit: Filter | None = field(init=False)

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in _FORBIDDEN:
            raise DeclarationError(f"stream {self.name!r}: name must be lower-case letters and dashes, and not a control event's")
        channel = _CHANNEL.fullmatch(self.channel)
        if channel is None:
            raise DeclarationError(
                f"stream {self.name}: channel {self.channel!r} is neither a name nor name-{{user_id}} nor name-{{provider_id}}"
            )
        if (channel[2] is None) != (self.owner is None):
            raise DeclarationError(f"stream {self.name}: a channel with a placeholder needs an owner column, and the other way round")
        if self.table == EVERY_TABLE:
            self._check_every_table()
        else:
            self._check_table()
        self._check_clients()
        object.__setattr__(self, "broadcast", channel[1])
        object.__setattr__(self, "claim", channel[2])
        object.__setattr__(self, "limit", self._limit())

    def _check_every_table(self) -> None:
        if self.columns or self.owner or not self.roles or self.others or self.filters:
            raise DeclarationError(f"stream {self.name}: with table * it has roles, and no columns, owner, others or filters of its own")

    def _check_table(self) -> None:
        for table in (self.table, *([self.owner.table] if isinstance(self.owner, Via) else [])):
            schema, dot, name = table.partition(".")
            if not (schema and dot and name):
                raise DeclarationError(f"stream {self.name}: table must be schema.table, not {table!r}")
        for what, names in (("columns", self.columns), ("key", self.key)):
            if not names or len(set(names)) != len(names):
                raise DeclarationError(f"stream {self.name}: {what} must be named, each once")
        if not set(self.key) <= set(self.columns):
            raise DeclarationError(f"stream {self.name}: the key {', '.join(self.key)} must be among the columns")

    def _check_clients(self) -> None:
        for what, names in (("filters", set(self.filters)), ("announced", set(self.announced))):
            if unlisted := sorted(names - set(self.columns)):
                raise DeclarationError(f"stream {self.name}: {what} names {', '.join(unlisted)}, which is not among the columns")
        if unknown := sorted(set(self.filters.values()) - set(KINDS)):
            raise DeclarationError(
                f"stream {self.name}: filters cannot compare as {', '.join(unknown)}, only as {', '.join(sorted(KINDS))}"
            )
        if unknown := sorted(set(self.events) - _OPERATIONS):
            raise DeclarationError(f"stream {self.name}: events names {', '.join(unknown)}, and not INSERT, UPDATE or DELETE")
        if wrong := sorted(name for name in self.events.values() if not _NAME.fullmatch(name) or name in _FORBIDDEN):
            raise DeclarationError(
                f"stream {self.name}: events: {', '.join(wrong)} must be lower-case letters and dashes, no control event's"
            )
        if self.format not in FORMATS:
            raise DeclarationError(f"stream {self.name}: format {self.format!r} is none of {', '.join(sorted(FORMATS))}")
        if unknown := sorted(set(self.components) - set(COMPONENTS)):
            raise DeclarationError(f"stream {self.name}: components names {', '.join(unknown)}, and not {', '.join(COMPONENTS)}")

    def _limit(self) -> Filter | None:
        if not self.others:
            return None
        if self.owner is not None:
            raise DeclarationError(f"stream {self.name}: others limits a stream that is the same for all, and this one has an owner")
        if not self.roles:
            raise DeclarationError(f"stream {self.name}: others limits those without one of the roles, and there are no roles")
        try:
            return parse([condition.partition("=")[::2] for condition in self.others.split("&")], self.filters)
        except FilterError as error:
            raise DeclarationError(f"stream {self.name}: others: {error}") from error

    @property
    def schema(self) -> str:
        return self.table.partition(".")[0]

    @property
    def table_name(self) -> str:
        return self.table.partition(".")[2]

    def of_table(self, table: str, columns: tuple[str, ...], key: tuple[str, ...]) -> "Stream":
        """Returns what a stream of every table is for one of them."""
        return replace(self, table=table, columns=columns, key=key)

    @property
    def exact(self) -> tuple[str, ...]:
        """The filterable columns whose `eq` means the same in SQL, whatever a client's text is."""
        return tuple(sorted(column for column, kind in self.filters.items() if kind in ("text", "uuid", "bool")))

    def event(self, operation: str) -> str:
        """Returns the name of the event that tells of an INSERT, UPDATE or DELETE."""
        return self.events.get(operation, self.name)

    def open_to(self, owner: Owner) -> bool:
        """Says whether somebody with these roles may listen."""
        return not self.roles or self.limit is not None or bool(self.roles & owner.roles)

    def limit_of(self, owner: Owner) -> Filter | None:
        """Returns what somebody may see no more than, whatever they ask for; None for all of it."""
        return None if self.roles & owner.roles else self.limit

    def components_for(self, owner: Owner) -> frozenset[str]:
        """Returns the components of whose state somebody is told."""
        knows_all = not self.roles or bool(self.roles & owner.roles)
        return frozenset(component for component, public in self.components.items() if knows_all or public)

    def channels(self, owner: Owner) -> tuple[str, ...]:
        """Returns the channels that carry this stream to this owner: their own, and the one for what concerns all."""
        if self.claim is None:
            return (self.broadcast,)
        return (f"{self.broadcast}-{getattr(owner, self.claim)}", self.broadcast)
