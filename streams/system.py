"""What concerns the whole system: notices for admins, and where they are public for all; and for admins every change there is."""

from streams.stream import EVERY_TABLE, Stream

system = Stream(
    name="system",
    table="public.system_notices",
    columns=("id", "title", "body", "severity", "public", "created_at", "updated_at"),
    channel="system",
    roles=frozenset({"admin"}),
    others="public=is.true",
    filters={"id": "numeric", "severity": "text", "public": "bool"},
)

changes = Stream(
    name="changes",
    table=EVERY_TABLE,
    columns=(),
    channel="changes",
    roles=frozenset({"admin"}),
)
