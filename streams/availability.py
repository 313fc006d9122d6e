"""When a provider can be booked, for that provider."""

from streams.stream import Stream

availability = Stream(
    name="availability",
    table="public.availability",
    columns=("id", "provider_id", "day", "start_time", "end_time", "available", "created_at", "updated_at"),
    channel="availability-changes-{provider_id}",
    owner="provider_id",
    roles=frozenset({"provider"}),
    filters={"id": "numeric", "day": "date", "available": "bool"},
)
