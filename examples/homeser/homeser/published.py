"""What Rowcast publishes of this site: `ROWCAST_STREAMS=homeser.published`. The site itself never imports it.

The tables are those of Rowcast's own declarations, so they are taken from there. A stream of a table that is only here:

    reviews = Stream(name="reviews", table="public.reviews", columns=("id", "stars"), channel="reviews-changes")
"""

from streams.availability import availability
from streams.bookings import bookings, provider_bookings
from streams.notifications import notifications
from streams.payments import payments
from streams.services import services
from streams.system import changes

__all__ = ["availability", "bookings", "changes", "notifications", "payments", "provider_bookings", "services"]
