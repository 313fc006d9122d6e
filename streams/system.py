"""What concerns the whole system: notices, the components' state, and every change there is, for admins; for all what is public."""

from streams.stream import EVERY_TABLE, Stream

system = Stream(
    name="system",
    table="public.system_notices",
    columns=("id", "title", "body", "severity", "public", "created_at", "updated_at"),
    channel="system",
    roles=frozenset({"admin"}),
    others="public=is.true",
    filters={"id": "numeric", "severity": "text", "public": "bool"},
    components={"bridge": False, "redis": False, "postgres": False},
)

changes = Stream(
    name="changes",
    table=EVERY_TABLE,
    columns=(),
    channel="changes",
    roles=frozenset({"admin"}),
)
