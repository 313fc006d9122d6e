"""The examples' streams as a module of declarations, of which `provider-bookings` asks row-level security besides."""

from dataclasses import replace

from streams import bookings as _of_bookings
from streams.availability import availability
from streams.notifications import notifications
from streams.payments import payments
from streams.properties import properties, property_alerts
from streams.services import services
from streams.system import changes, system

bookings = _of_bookings.bookings
provider_bookings = replace(_of_bookings.provider_bookings, rls=True)

__all__ = [
    "availability",
    "bookings",
    "changes",
    "notifications",
    "payments",
    "properties",
    "property_alerts",
    "provider_bookings",
    "services",
    "system",
]
