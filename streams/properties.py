"""Property listings, the same for everybody, and alerts for those whose saved searches an important change matches."""

from streams.stream import Stream

properties = Stream(
    name="properties",
    table="public.properties",
    columns=("id", "name", "city", "state", "price", "units", "latitude", "longitude", "status", "created_at", "updated_at"),
    channel="properties-changes",
    filters={
        "id": "uuid",
        "name": "text",
        "city": "text",
        "state": "text",
        "price": "numeric",
        "units": "numeric",
        "latitude": "numeric",
        "longitude": "numeric",
        "status": "text",
    },
    events={"INSERT": "property-created", "UPDATE": "property-updated", "DELETE": "property-deleted"},
    format="diff",
    noun="property",
    announced=("name", "city", "state", "price", "units", "latitude", "longitude"),
)

property_alerts = Stream(
    name="property-alerts",
    table="public.property_alerts",
    columns=("id", "property_id", "kind", "name", "city", "state", "price", "old_price", "status", "old_status", "created_at"),
    channel="property-alerts-{user_id}",
    owner="user_ids",
    filters={"property_id": "uuid", "kind": "text", "city": "text", "state": "text", "price": "numeric", "status": "text"},
    events={"INSERT": "property-alert", "UPDATE": "property-alert", "DELETE": "property-alert"},
)
