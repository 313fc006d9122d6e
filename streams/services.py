"""What the marketplace offers: the same for everybody."""

from streams.stream import Stream

services = Stream(
    name="services",
    table="public.services",
    columns=("id", "name", "description", "category", "price", "duration_minutes", "active", "created_at", "updated_at"),
    channel="services-changes",
    filters={"id": "numeric", "name": "text", "category": "text", "price": "numeric", "duration_minutes": "numeric", "active": "bool"},
)
