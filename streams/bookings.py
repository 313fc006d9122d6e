"""Bookings, once for the customer who made them and once for the provider who serves them."""

from streams.stream import Stream

_COLUMNS = (
    "id",
    "customer_id",
    "provider_id",
    "service_id",
    "booking_date",
    "start_time",
    "end_time",
    "status",
    "notes",
    "created_at",
    "updated_at",
)
_FILTERS = {
    "id": "numeric",
    "customer_id": "numeric",
    "provider_id": "numeric",
    "service_id": "numeric",
    "booking_date": "timestamptz",
    "start_time": "timestamptz",
    "end_time": "timestamptz",
    "status": "text",
}

bookings = Stream(
    name="bookings",
    table="public.bookings",
    columns=_COLUMNS,
    channel="bookings-changes-{user_id}",
    owner="customer_id",
    roles=frozenset({"customer"}),
    filters=_FILTERS,
)

provider_bookings = Stream(
    name="provider-bookings",
    table="public.bookings",
    columns=_COLUMNS,
    channel="provider-bookings-changes-{provider_id}",
    owner="provider_id",
    roles=frozenset({"provider"}),
    filters=_FILTERS,
)
