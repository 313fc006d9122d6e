"""What a user is told: written by triggers of the bookings, in the transaction that there is something to tell of."""

from streams.stream import Stream

notifications = Stream(
    name="notifications",
    table="public.notifications",
    columns=("id", "user_id", "kind", "title", "body", "booking_id", "read", "created_at"),
    channel="notifications-changes-{user_id}",
    owner="user_id",
    filters={"id": "numeric", "kind": "text", "booking_id": "numeric", "read": "bool"},
)
