"""The bench's two streams: one for everybody, and each customer's own bookings."""

from dataclasses import replace

from bench.declaration import booking

__all__ = ["booking", "own"]

own = replace(booking, name="own", channel="own-changes-{user_id}", owner="customer_id")
