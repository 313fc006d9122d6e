"""The table, by chapters; what is there before each, and what comes after all of them."""

from tests.acceptance.chapter.booking import BOOKING_FIRST, BOOKINGS, PAYMENT_FIRST, PAYMENTS
from tests.acceptance.chapter.everything import STATEMENTS, SYSTEM, TRANSACTIONS, TRUNCATES
from tests.acceptance.chapter.listing import ALERTS, PROPERTIES
from tests.acceptance.chapter.marketplace import AVAILABILITY, NOTIFICATIONS, SERVICES
from tests.support.witness import Step

PREPARED = """
    alter table users add column internal text default {hidden};
    alter table bookings add column internal text default {hidden};
    alter table payments add column internal text default {hidden};
    alter table availability add column internal text default {hidden};
    alter table notifications add column internal text default {hidden};
    alter table services add column internal text default {hidden};
    alter table properties add column internal text default {hidden};
    alter table property_alerts add column internal text default {hidden};
    alter table system_notices add column internal text default {hidden};
    truncate saved_searches;
    insert into saved_searches (user_id, max_price, min_price, city) values
        (1, 50000000, null, null), (10, 50000000, null, null), (10, 49000000, 30000000, null), (2, null, 60000000, null),
        (13, null, null, {hidden}), ({hidden.low}, null, null, null);
"""
"""A low price is watched by 1 and 10, who has two searches that match, a high one by 2, and any by somebody nobody may hear of."""

UNPUBLISHED = ("internal", "user_ids", "email", "phone")
"""Columns whose names no event has either."""

END: Step = (
    "insert into bookings (id, customer_id, provider_id, service_id, {bookings}) values"
    " (7998, 1, 9, 3, {end.bookings}), (7999, 2, 10, 3, {end.bookings});"
    "insert into payments (booking_id, {payments}) values (7998, {end.payments}), (7999, {end.payments});"
    "insert into availability (provider_id, {availability}) values (9, {end.availability}), (10, {end.availability});"
    "insert into notifications (user_id, {notifications}) select id, {end.notifications} from unnest(array[1, 2, 9, 10, 13]) as u (id);"
    "insert into services ({services}) values ({end.services});"
    "insert into properties (price, {properties}) values ({end.low}, {end.properties});"
    "insert into system_notices (public, {system_notices}) values (true, {end.system_notices});"
    "insert into property_alerts (property_id, price, status, user_ids, {property_alerts}) values"
    " (gen_random_uuid(), 1, 'sold', array[1, 2, 9, 10, 13], {end.property_alerts})",
    "1 2 bookings: INSERT end",
    "9 10 provider-bookings: INSERT end",
    "9 notifications: INSERT new-7998",
    "10 notifications: INSERT new-7999",
    "1 2 payments: INSERT end",
    "9 10 availability: INSERT end",
    "all notifications: INSERT end",
    "all services: INSERT end",
    "all properties: INSERT end",
    "all properties-diff: property-created end",
    "1 10 property-alerts: INSERT end",
    "all system: INSERT end",
    "all property-alerts: INSERT end",
    "13 changes/bookings: INSERT end; INSERT end",
    "13 changes/payments: INSERT end; INSERT end",
    "13 changes/availability: INSERT end; INSERT end",
    "13 changes/notifications: INSERT new-7998; INSERT new-7999",
    "13 changes/notifications: INSERT end; INSERT end; INSERT end; INSERT end; INSERT end",
    "13 changes/services: INSERT end",
    "13 changes/properties: INSERT end",
    "13 changes/system_notices: INSERT end",
    "13 changes/property_alerts: INSERT end; INSERT end",
)
"""Something for everybody on every stream: who has it has all that came before."""

CHAPTERS = {
    "bookings": BOOKINGS,
    "payments": PAYMENTS,
    "availability": AVAILABILITY,
    "notifications": NOTIFICATIONS,
    "services": SERVICES,
    "properties": PROPERTIES,
    "alerts": ALERTS,
    "system": SYSTEM,
    "statements": STATEMENTS,
    "transactions": TRANSACTIONS,
    "booking and payment": BOOKING_FIRST,
    "payment and booking": PAYMENT_FIRST,
    "truncates": TRUNCATES,
}
