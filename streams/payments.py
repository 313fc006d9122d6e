"""Payments, for the customer whose booking they are for."""

from streams.stream import Stream, Via

payments = Stream(
    name="payments",
    table="public.payments",
    columns=("id", "booking_id", "amount", "currency", "status", "method", "created_at", "updated_at"),
    channel="payments-changes-{user_id}",
    owner=Via("booking_id", table="public.bookings", owner="customer_id"),
    roles=frozenset({"customer"}),
    filters={"id": "numeric", "booking_id": "numeric", "amount": "numeric", "currency": "text", "status": "text", "method": "text"},
)
