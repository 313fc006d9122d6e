"""Who gets what: for each statement the table says which client is told what, and whoever is not named gets not a byte of it.

- Everybody listens at once, on every stream that they may open, each over a connection of its own; and once more to all of
  them over one connection.
- `{b1}` names one version of a row. Its text, numbers and dates occur in no other: wherever one of them is received, that
  version was received. `hidden` is in every column and table that is not published, and in no line of the table.
- A line is `who stream: what`. `INSERT b1`, `UPDATE b1 → b2` and `DELETE b2` name the versions that the event carries,
  `LEFT 7001` the key, and that nothing else is told. A `+` joins versions of which one record carries values: a name may
  have changed and a price not. `new-7001` and `7001-confirmed` are the notifications that a booking's triggers write.
"""

import asyncio
from dataclasses import replace

import pytest

from streams import payload
from streams.payload import Change, Feed, Shape
from tests.support import sse
from tests.support.gateway import gateway, token
from tests.support.servers import Servers
from tests.support.witness import EVERYBODY, MAY_OPEN, ROLES, Step, witness

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

BOOKINGS: tuple[Step, ...] = (
    (
        "insert into bookings (id, customer_id, provider_id, service_id, {bookings}) values (7001, 1, 9, 3, {b1.bookings})",
        "1 bookings: INSERT b1",
        "9 provider-bookings: INSERT b1",
        "9 notifications: INSERT new-7001",
        "13 changes/bookings: INSERT b1",
        "13 changes/notifications: INSERT new-7001",
    ),
    (
        "update bookings set status = 'confirmed', ({bookings}) = ({b2.bookings}) where id = 7001",
        "1 bookings: UPDATE b1 → b2",
        "9 provider-bookings: UPDATE b1 → b2",
        "1 9 notifications: INSERT 7001-confirmed",
        "13 changes/bookings: UPDATE b1 → b2",
        "13 changes/notifications: INSERT 7001-confirmed; INSERT 7001-confirmed",
    ),
    (
        "update bookings set ({bookings}) = ({b3.bookings}) where id = 7001",
        "1 bookings: UPDATE b2 → b3",
        "9 provider-bookings: UPDATE b2 → b3",
        "13 changes/bookings: UPDATE b2 → b3",
    ),
    (
        "update bookings set customer_id = 2, ({bookings}) = ({b4.bookings}) where id = 7001",
        "1 bookings: LEFT 7001",
        "2 bookings: INSERT b4",
        "9 provider-bookings: UPDATE b3 → b4",
        "13 changes/bookings: UPDATE b3 → b4",
    ),
    (
        "update bookings set provider_id = 10, ({bookings}) = ({b5.bookings}) where id = 7001",
        "2 bookings: UPDATE b4 → b5",
        "9 provider-bookings: LEFT 7001",
        "10 provider-bookings: INSERT b5",
        "13 changes/bookings: UPDATE b4 → b5",
    ),
    (
        "update bookings set customer_id = 1, provider_id = 9, ({bookings}) = ({b6.bookings}) where id = 7001",
        "2 bookings: LEFT 7001",
        "1 bookings: INSERT b6",
        "10 provider-bookings: LEFT 7001",
        "9 provider-bookings: INSERT b6",
        "13 changes/bookings: UPDATE b5 → b6",
    ),
    (
        "update bookings set provider_id = null, ({bookings}) = ({b7.bookings}) where id = 7001",
        "1 bookings: UPDATE b6 → b7",
        "9 provider-bookings: LEFT 7001",
        "13 changes/bookings: UPDATE b6 → b7",
    ),
    (
        "update bookings set provider_id = 10, status = 'cancelled', ({bookings}) = ({b8.bookings}) where id = 7001",
        "1 bookings: UPDATE b7 → b8",
        "10 provider-bookings: INSERT b8",
        "1 10 notifications: INSERT 7001-cancelled",
        "13 changes/bookings: UPDATE b7 → b8",
        "13 changes/notifications: INSERT 7001-cancelled; INSERT 7001-cancelled",
    ),
    (
        "update bookings set customer_id = 3, ({bookings}) = ({b9.bookings}) where id = 7001",
        "1 bookings: LEFT 7001",
        "10 provider-bookings: UPDATE b8 → b9",
        "13 changes/bookings: UPDATE b8 → b9",
    ),
    (
        "update bookings set customer_id = 2, ({bookings}) = ({b10.bookings}) where id = 7001",
        "2 bookings: INSERT b10",
        "10 provider-bookings: UPDATE b9 → b10",
        "13 changes/bookings: UPDATE b9 → b10",
    ),
    (
        # What was told stays told; that it was about this booking is forgotten.
        "delete from bookings where id = 7001",
        "2 bookings: DELETE b10",
        "10 provider-bookings: DELETE b10",
        "9 notifications: UPDATE new-7001 → new-7001; UPDATE 7001-confirmed → 7001-confirmed",
        "1 notifications: UPDATE 7001-confirmed → 7001-confirmed; UPDATE 7001-cancelled → 7001-cancelled",
        "10 notifications: UPDATE 7001-cancelled → 7001-cancelled",
        "13 changes/bookings: DELETE b10",
        "13 changes/notifications: UPDATE new-7001 → new-7001",
        "13 changes/notifications: UPDATE 7001-confirmed → 7001-confirmed; UPDATE 7001-confirmed → 7001-confirmed",
        "13 changes/notifications: UPDATE 7001-cancelled → 7001-cancelled; UPDATE 7001-cancelled → 7001-cancelled",
    ),
    ("insert into users (name, email, phone, role) values ({hidden}, {hidden}, {hidden}, 'customer')",),
    ("update users set name = {hidden}, email = id || {hidden}, phone = {hidden} where id in (1, 2, 9, 10, 13)",),
)

_TWO_BOOKINGS: Step = (
    "insert into bookings (id, customer_id, service_id, {bookings}) values (7101, 1, 3, {b1.bookings}), (7102, 2, 3, {b2.bookings})",
    "1 bookings: INSERT b1",
    "2 bookings: INSERT b2",
    "13 changes/bookings: INSERT b1; INSERT b2",
)

PAYMENTS: tuple[Step, ...] = (
    _TWO_BOOKINGS,
    (
        "insert into payments (id, booking_id, {payments}) values (8001, 7101, {m1.payments})",
        "1 payments: INSERT m1",
        "13 changes/payments: INSERT m1",
    ),
    (
        "update payments set status = 'paid', ({payments}) = ({m2.payments}) where id = 8001",
        "1 payments: UPDATE m1 → m2",
        "13 changes/payments: UPDATE m1 → m2",
    ),
    (
        "update payments set booking_id = 7102, ({payments}) = ({m3.payments}) where id = 8001",
        "1 payments: LEFT 8001",
        "2 payments: INSERT m3",
        "13 changes/payments: UPDATE m2 → m3",
    ),
    (
        "update bookings set customer_id = 1, ({bookings}) = ({b3.bookings}) where id = 7102",
        "2 bookings: LEFT 7102",
        "1 bookings: INSERT b3",
        "2 payments: LEFT 8001",
        "1 payments: INSERT m3",
        "13 changes/bookings: UPDATE b2 → b3",
    ),
    (
        "insert into payments (id, booking_id, {payments}) values (8002, 7102, {m4.payments})",
        "1 payments: INSERT m4",
        "13 changes/payments: INSERT m4",
    ),
    (
        "update bookings set customer_id = 2, ({bookings}) = ({b4.bookings}) where id = 7102",
        "1 bookings: LEFT 7102",
        "2 bookings: INSERT b4",
        "1 payments: LEFT 8001; LEFT 8002",
        "2 payments: INSERT m3; INSERT m4",
        "13 changes/bookings: UPDATE b3 → b4",
    ),
    (
        # In one transaction the booking goes first: what is then written to its payment, its former customer does not see.
        "update bookings set customer_id = 1, ({bookings}) = ({b5.bookings}) where id = 7102;"
        "update payments set ({payments}) = ({m5.payments}) where id = 8001",
        "2 bookings: LEFT 7102",
        "1 bookings: INSERT b5",
        "2 payments: LEFT 8001; LEFT 8002",
        "1 payments: INSERT m3; INSERT m4; UPDATE m3 → m5",
        "13 changes/bookings: UPDATE b4 → b5",
        "13 changes/payments: UPDATE m3 → m5",
    ),
    (
        "update bookings set customer_id = 2, ({bookings}) = ({b6.bookings}) where id = 7102; delete from bookings where id = 7102",
        "1 bookings: LEFT 7102",
        "2 bookings: INSERT b6; DELETE b6",
        "1 payments: LEFT 8001; LEFT 8002",
        "2 payments: INSERT m5; INSERT m4; DELETE m5; DELETE m4",
        "13 changes/bookings: UPDATE b5 → b6; DELETE b6",
        "13 changes/payments: DELETE m5; DELETE m4",
    ),
    (
        "insert into payments (id, booking_id, {payments}) values (8003, 7101, {m6.payments}), (8004, 7101, {m7.payments})",
        "1 payments: INSERT m6; INSERT m7",
        "13 changes/payments: INSERT m6; INSERT m7",
    ),
    (
        "delete from payments where id = 8003",
        "1 payments: DELETE m6",
        "13 changes/payments: DELETE m6",
    ),
    (
        "delete from bookings where id = 7101",
        "1 bookings: DELETE b1",
        "1 payments: DELETE m7",
        "13 changes/bookings: DELETE b1",
        "13 changes/payments: DELETE m7",
    ),
)

AVAILABILITY: tuple[Step, ...] = (
    (
        "insert into availability (id, provider_id, {availability}) values (6001, 9, {a1.availability})",
        "9 availability: INSERT a1",
        "13 changes/availability: INSERT a1",
    ),
    (
        "update availability set available = false, ({availability}) = ({a2.availability}) where id = 6001",
        "9 availability: UPDATE a1 → a2",
        "13 changes/availability: UPDATE a1 → a2",
    ),
    (
        "update availability set provider_id = 10, ({availability}) = ({a3.availability}) where id = 6001",
        "9 availability: LEFT 6001",
        "10 availability: INSERT a3",
        "13 changes/availability: UPDATE a2 → a3",
    ),
    (
        "delete from availability where id = 6001",
        "10 availability: DELETE a3",
        "13 changes/availability: DELETE a3",
    ),
)

NOTIFICATIONS: tuple[Step, ...] = (
    (
        "insert into notifications (id, user_id, {notifications}) values (5001, 1, {n1.notifications}), (5002, 13, {n2.notifications})",
        "1 notifications: INSERT n1",
        "13 notifications: INSERT n2",
        "13 changes/notifications: INSERT n1; INSERT n2",
    ),
    (
        "update notifications set read = true, ({notifications}) = ({n3.notifications}) where id = 5001",
        "1 notifications: UPDATE n1 → n3",
        "13 changes/notifications: UPDATE n1 → n3",
    ),
    (
        "update notifications set user_id = 2, ({notifications}) = ({n4.notifications}) where id = 5001",
        "1 notifications: LEFT 5001",
        "2 notifications: INSERT n4",
        "13 changes/notifications: UPDATE n3 → n4",
    ),
    (
        "update notifications set user_id = 9, ({notifications}) = ({n5.notifications}) where id = 5002",
        "13 notifications: LEFT 5002",
        "9 notifications: INSERT n5",
        "13 changes/notifications: UPDATE n2 → n5",
    ),
    (
        "delete from notifications where id in (5001, 5002)",
        "2 notifications: DELETE n4",
        "9 notifications: DELETE n5",
        "13 changes/notifications: DELETE n4; DELETE n5",
    ),
)

SERVICES: tuple[Step, ...] = (
    (
        "insert into services (id, {services}) values (4001, {s1.services}), (4002, {s2.services})",
        "all services: INSERT s1; INSERT s2",
        "13 changes/services: INSERT s1; INSERT s2",
    ),
    (
        "update services set id = 4003, ({services}) = ({s3.services}) where id = 4002",
        "all services: UPDATE s2 → s3",
        "13 changes/services: UPDATE s2 → s3",
    ),
    ("insert into services (id, {services}) values (4001, {none.services}) on conflict do nothing",),
    (
        "insert into services (id, {services}) values (4001, {s4.services}), (4004, {s5.services})"
        " on conflict (id) do update set ({services}) = (select {services} from (select excluded.*) as given)",
        "all services: UPDATE s1 → s4; INSERT s5",
        "13 changes/services: UPDATE s1 → s4; INSERT s5",
    ),
    (
        "delete from services where id > 4000",
        "all services: DELETE s3; DELETE s4; DELETE s5",
        "13 changes/services: DELETE s3; DELETE s4; DELETE s5",
    ),
)

LISTING = "00000000-0000-4000-8000-000000003001"
SECOND_LISTING = "00000000-0000-4000-8000-000000003002"
THIRD_LISTING = "00000000-0000-4000-8000-000000003003"

PROPERTIES: tuple[Step, ...] = (
    (
        f"insert into properties (id, price, {{properties}}) values ('{LISTING}', {{p1.low}}, {{p1.properties}})",
        "all properties: INSERT p1",
        "all properties-diff: property-created p1",
        "1 10 property-alerts: INSERT p1",
        "13 changes/properties: INSERT p1",
        "13 changes/property_alerts: INSERT p1",
    ),
    (
        f"update properties set price = {{p2.low}}, ({{properties}}) = ({{p2.properties}}) where id = '{LISTING}'",
        "all properties: UPDATE p1 → p2",
        "all properties-diff: property-updated p1 → p2",
        "1 10 property-alerts: INSERT p1+p2",
        "13 changes/properties: UPDATE p1 → p2",
        "13 changes/property_alerts: INSERT p1+p2",
    ),
    (
        # Neither its price nor its status: nobody is alerted.
        f"update properties set ({{properties}}) = ({{p3.properties}}) where id = '{LISTING}'",
        "all properties: UPDATE p2 → p2+p3",
        "all properties-diff: property-updated p2 → p3",
        "13 changes/properties: UPDATE p2 → p2+p3",
    ),
    (
        # From the low to the high price: those who watched it, and those who do now.
        f"update properties set price = {{p4.high}}, ({{properties}}) = ({{p4.properties}}) where id = '{LISTING}'",
        "all properties: UPDATE p2+p3 → p4",
        "all properties-diff: property-updated p2+p3 → p4",
        "1 2 10 property-alerts: INSERT p2+p4",
        "13 changes/properties: UPDATE p2+p3 → p4",
        "13 changes/property_alerts: INSERT p2+p4",
    ),
    (
        f"update properties set status = 'sold', ({{properties}}) = ({{p5.properties}}) where id = '{LISTING}'",
        "all properties: UPDATE p4 → p4+p5",
        "all properties-diff: property-updated p4 → p5",
        "2 property-alerts: INSERT p4+p5",
        "13 changes/properties: UPDATE p4 → p4+p5",
        "13 changes/property_alerts: INSERT p4+p5",
    ),
    (
        # Two listings in one statement: an alert each, to each one's watchers.
        "insert into properties (id, price, {properties}) values"
        f" ('{SECOND_LISTING}', {{p6.high}}, {{p6.properties}}), ('{THIRD_LISTING}', {{p7.low}}, {{p7.properties}})",
        "all properties: INSERT p6; INSERT p7",
        "all properties-diff: property-created p6; property-created p7",
        "2 property-alerts: INSERT p6",
        "1 10 property-alerts: INSERT p7",
        "13 changes/properties: INSERT p6; INSERT p7",
        "13 changes/property_alerts: INSERT p6; INSERT p7",
    ),
    (
        f"delete from properties where id = '{LISTING}'",
        "all properties: DELETE p4+p5",
        f"all properties-diff: property-deleted {LISTING}",
        "13 changes/properties: DELETE p4+p5",
    ),
)

ALERTS: tuple[Step, ...] = (
    (
        "insert into property_alerts (id, property_id, price, status, user_ids, {property_alerts}) values"
        " (3001, gen_random_uuid(), {l1.low}, 'sold', array[1, 9, 9, {hidden.low}], {l1.property_alerts})",
        "1 9 property-alerts: INSERT l1",
        "13 changes/property_alerts: INSERT l1",
    ),
    (
        "update property_alerts set user_ids = array[{hidden.low}, 2, 9], price = {l2.low}, ({property_alerts}) = ({l2.property_alerts})"
        " where id = 3001",
        "1 property-alerts: LEFT 3001",
        "2 property-alerts: INSERT l2",
        "9 property-alerts: UPDATE l1 → l2",
        "13 changes/property_alerts: UPDATE l1 → l2",
    ),
    (
        "update property_alerts set user_ids = array[{hidden.low}, 13], price = {l3.low}, ({property_alerts}) = ({l3.property_alerts})"
        " where id = 3001",
        "2 9 property-alerts: LEFT 3001",
        "13 property-alerts: INSERT l3",
        "13 changes/property_alerts: UPDATE l2 → l3",
    ),
    (
        "delete from property_alerts where id = 3001",
        "13 property-alerts: DELETE l3",
        "13 changes/property_alerts: DELETE l3",
    ),
)

SYSTEM: tuple[Step, ...] = (
    (
        "insert into system_notices (id, public, {system_notices}) values (2001, false, {t1.system_notices}),"
        " (2002, true, {t2.system_notices})",
        "13 system: INSERT t1; INSERT t2",
        "1 2 9 10 system: INSERT t2",
        "13 changes/system_notices: INSERT t1; INSERT t2",
    ),
    (
        "update system_notices set severity = 'critical', ({system_notices}) = ({t3.system_notices}) where id = 2001",
        "13 system: UPDATE t1 → t3",
        "13 changes/system_notices: UPDATE t1 → t3",
    ),
    (
        "update system_notices set severity = 'critical', ({system_notices}) = ({t4.system_notices}) where id = 2002",
        "all system: UPDATE t2 → t4",
        "13 changes/system_notices: UPDATE t2 → t4",
    ),
    (
        "update system_notices set public = true, ({system_notices}) = ({t5.system_notices}) where id = 2001",
        "13 system: UPDATE t3 → t5",
        "1 2 9 10 system: INSERT t5",
        "13 changes/system_notices: UPDATE t3 → t5",
    ),
    (
        "update system_notices set public = false, ({system_notices}) = ({t6.system_notices}) where id = 2001",
        "13 system: UPDATE t5 → t6",
        "1 2 9 10 system: LEFT 2001",
        "13 changes/system_notices: UPDATE t5 → t6",
    ),
    (
        "delete from system_notices where id = 2001",
        "13 system: DELETE t6",
        "13 changes/system_notices: DELETE t6",
    ),
    (
        "delete from system_notices where id = 2002",
        "all system: DELETE t4",
        "13 changes/system_notices: DELETE t4",
    ),
)

STATEMENTS: tuple[Step, ...] = (
    _TWO_BOOKINGS,
    (
        # Both change hands in one statement.
        "update bookings b set customer_id = 3 - customer_id, ({bookings}) = (select {bookings} from"
        " (values (7101, {b3.bookings}), (7102, {b4.bookings})) v (id, {bookings}) where v.id = b.id) where id in (7101, 7102)",
        "1 bookings: LEFT 7101; INSERT b4",
        "2 bookings: INSERT b3; LEFT 7102",
        "13 changes/bookings: UPDATE b1 → b3; UPDATE b2 → b4",
    ),
    (
        "insert into bookings (id, customer_id, service_id, {bookings}) values (7101, 1, 3, {b5.bookings}), (7103, 2, 3, {b6.bookings})"
        " on conflict (id) do update set customer_id = excluded.customer_id,"
        " ({bookings}) = (select {bookings} from (select excluded.*) as given)",
        "2 bookings: LEFT 7101; INSERT b6",
        "1 bookings: INSERT b5",
        "13 changes/bookings: UPDATE b3 → b5; INSERT b6",
    ),
    (
        # As a nested loop: else in which order rows are merged is the planner's.
        "begin; set local enable_hashjoin = off; set local enable_mergejoin = off;"
        " merge into bookings b using (values (7101, 2, {b7.bookings}), (7102, 1, {b8.bookings}), (7103, null, {none.bookings}),"
        " (7104, 1, {b9.bookings})) v (id, customer_id, {bookings}) on b.id = v.id"
        " when matched and v.customer_id is null then delete"
        " when matched then update set customer_id = v.customer_id,"
        " ({bookings}) = (v.booking_date, v.start_time, v.end_time, v.notes)"
        " when not matched then insert (id, customer_id, service_id, {bookings})"
        " values (v.id, v.customer_id, 3, v.booking_date, v.start_time, v.end_time, v.notes); commit",
        "1 bookings: LEFT 7101; UPDATE b4 → b8; INSERT b9",
        "2 bookings: INSERT b7; DELETE b6",
        "13 changes/bookings: UPDATE b5 → b7; UPDATE b4 → b8; DELETE b6; INSERT b9",
    ),
    ("update bookings set ({bookings}) = ({none.bookings}) where id = 0",),
    (
        "delete from bookings where id = 7101; delete from bookings where id in (7102, 7104)",
        "2 bookings: DELETE b7",
        "1 bookings: DELETE b8; DELETE b9",
        "13 changes/bookings: DELETE b7; DELETE b8; DELETE b9",
    ),
)

TRANSACTIONS: tuple[Step, ...] = (
    (
        "begin;"
        "insert into bookings (id, customer_id, provider_id, service_id, {bookings}) values (7001, 1, 9, 3, {none.bookings});"
        "insert into payments (booking_id, {payments}) values (7001, {none.payments});"
        "update bookings set status = 'confirmed', customer_id = 2 where id = 7001;"
        "insert into services ({services}) values ({none.services});"
        "insert into properties (price, {properties}) values ({none.low}, {none.properties});"
        "insert into system_notices (public, {system_notices}) values (true, {none.system_notices});"
        "truncate availability;"
        "rollback",
    ),
    (
        "begin;"
        "insert into services (id, {services}) values (4001, {s1.services});"
        "savepoint half;"
        "update services set ({services}) = ({none.services}) where id = 4001;"
        "insert into notifications (user_id, {notifications}) values (1, {none.notifications});"
        "rollback to half;"
        "insert into notifications (id, user_id, {notifications}) values (5001, 1, {n1.notifications});"
        "commit",
        "all services: INSERT s1",
        "1 notifications: INSERT n1",
        "13 changes/services: INSERT s1",
        "13 changes/notifications: INSERT n1",
    ),
    (
        # Each change by itself, also where no other transaction ever saw it: there, and back; and what was written before it left.
        "begin;"
        "insert into bookings (id, customer_id, service_id, {bookings}) values (7003, 1, 3, {b3.bookings});"
        "update bookings set customer_id = 2, ({bookings}) = ({b4.bookings}) where id = 7003;"
        "update bookings set customer_id = 1, ({bookings}) = ({b5.bookings}) where id = 7003;"
        "update bookings set ({bookings}) = ({b6.bookings}) where id = 7003;"
        "update bookings set customer_id = 2, ({bookings}) = ({b7.bookings}) where id = 7003;"
        "commit",
        "1 bookings: INSERT b3; LEFT 7003; INSERT b5; UPDATE b5 → b6; LEFT 7003",
        "2 bookings: INSERT b4; LEFT 7003; INSERT b7",
        "13 changes/bookings: INSERT b3; UPDATE b3 → b4; UPDATE b4 → b5; UPDATE b5 → b6; UPDATE b6 → b7",
    ),
    (
        "begin;"
        "insert into bookings (id, customer_id, provider_id, service_id, {bookings}) values (7002, 1, 9, 3, {b1.bookings});"
        "insert into payments (id, booking_id, {payments}) values (8001, 7002, {m1.payments});"
        "insert into availability (id, provider_id, {availability}) values (6001, 9, {a1.availability});"
        "update services set ({services}) = ({s2.services}) where id = 4001;"
        "update bookings set status = 'confirmed', ({bookings}) = ({b2.bookings}) where id = 7002;"
        "delete from availability where id = 6001;"
        "delete from notifications where id = 5001;"
        "insert into system_notices (id, public, {system_notices}) values (2001, false, {t1.system_notices});"
        "commit",
        "1 bookings: INSERT b1; UPDATE b1 → b2",
        "9 provider-bookings: INSERT b1; UPDATE b1 → b2",
        "1 payments: INSERT m1",
        "9 availability: INSERT a1; DELETE a1",
        "all services: UPDATE s1 → s2",
        "1 notifications: INSERT 7002-confirmed; DELETE n1",
        "9 notifications: INSERT new-7002; INSERT 7002-confirmed",
        "13 system: INSERT t1",
        "13 changes/bookings: INSERT b1; UPDATE b1 → b2",
        "13 changes/payments: INSERT m1",
        "13 changes/availability: INSERT a1; DELETE a1",
        "13 changes/services: UPDATE s1 → s2",
        "13 changes/notifications: INSERT new-7002; INSERT 7002-confirmed; INSERT 7002-confirmed; DELETE n1",
        "13 changes/system_notices: INSERT t1",
    ),
)

_A_PAYMENT: Step = (
    "insert into payments (id, booking_id, {payments}) values (8001, 7101, {m1.payments})",
    "1 payments: INSERT m1",
    "13 changes/payments: INSERT m1",
)
# Changes of one transaction are told one by one, as they were made: what a statement does in several places too.
BOOKING_FIRST: tuple[Step, ...] = (
    _TWO_BOOKINGS,
    _A_PAYMENT,
    (
        "with moved as (update bookings set customer_id = 2, ({bookings}) = ({b3.bookings}) where id = 7101 returning id)"
        " update payments set ({payments}) = ({m2.payments}) from moved where booking_id = moved.id",
        "1 bookings: LEFT 7101",
        "2 bookings: INSERT b3",
        "1 payments: LEFT 8001",
        "2 payments: INSERT m1; UPDATE m1 → m2",
        "13 changes/bookings: UPDATE b1 → b3",
        "13 changes/payments: UPDATE m1 → m2",
    ),
)
PAYMENT_FIRST: tuple[Step, ...] = (
    _TWO_BOOKINGS,
    _A_PAYMENT,
    (
        "with paid as (update payments set ({payments}) = ({m2.payments}) where booking_id = 7101 returning booking_id)"
        " update bookings set customer_id = 2, ({bookings}) = ({b3.bookings}) from paid where id = paid.booking_id",
        "1 bookings: LEFT 7101",
        "2 bookings: INSERT b3",
        "1 payments: UPDATE m1 → m2; LEFT 8001",
        "2 payments: INSERT m2",
        "13 changes/bookings: UPDATE b1 → b3",
        "13 changes/payments: UPDATE m1 → m2",
    ),
)

TRUNCATES: tuple[Step, ...] = (
    ("truncate availability", "9 10 availability: reset", "13 changes/availability: reset"),
    ("truncate payments", "1 2 payments: reset", "13 changes/payments: reset"),
    ("truncate notifications", "all notifications: reset", "13 changes/notifications: reset"),
    ("truncate properties", "all properties: reset", "all properties-diff: reset", "13 changes/properties: reset"),
    ("truncate property_alerts", "all property-alerts: reset", "13 changes/property_alerts: reset"),
    ("truncate system_notices", "all system: reset", "13 changes/system_notices: reset"),
    (
        # What refers to a booking is emptied with it. Of the payments it is told twice: whose they were is gone, and so are they.
        "truncate bookings cascade",
        "1 2 bookings: reset",
        "9 10 provider-bookings: reset",
        "1 2 payments: reset; reset",
        "all notifications: reset",
        "13 changes/bookings: reset",
        "13 changes/payments: reset; reset",
        "13 changes/notifications: reset",
    ),
    (
        "truncate services cascade",
        "all services: reset",
        "1 2 bookings: reset",
        "9 10 provider-bookings: reset",
        "1 2 payments: reset; reset",
        "all notifications: reset",
        "13 changes/services: reset",
        "13 changes/bookings: reset",
        "13 changes/payments: reset; reset",
        "13 changes/notifications: reset",
    ),
    (
        "insert into services (id, {services}) values (3, {s1.services})",
        "all services: INSERT s1",
        "13 changes/services: INSERT s1",
    ),
    ("begin; truncate services cascade; rollback",),
)

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


@pytest.mark.parametrize("chapter", CHAPTERS)
async def test_who_gets_what(servers: Servers, chapter: str) -> None:
    """Everybody is told exactly what the table says, nobody receives a byte of anything else, and who comes back gets the same again."""
    async with witness(servers, PREPARED, (*CHAPTERS[chapter], END)) as seen:
        assert seen.told == seen.expected
        assert seen.leaks == set()
        for heard in seen.heard:
            assert heard.in_order, f"{heard.who} {heard.stream}"
            assert not [name for name in UNPUBLISHED if f'"{name}"' in heard.text], f"{heard.who} {heard.stream}"
        for who in EVERYBODY:
            together, merged = seen.together(who)
            assert together == merged
        await asyncio.gather(*(seen.check_resumed(heard) for heard in seen.heard))


@pytest.mark.parametrize("chapter", ["bookings", "payments", "properties", "alerts", "system"])
async def test_whatever_the_format(servers: Servers, chapter: str) -> None:
    """In each format the same events come to the same clients, and carry nothing of anybody else's; `raw` is what comes unasked."""
    async with witness(servers, PREPARED, (*CHAPTERS[chapter], END), formats=("raw", "diff", "supabase", "cloudevents")) as seen:
        assert seen.leaks == set()
        unasked = {(each.who, each.stream): each.events for each in seen.heard}
        for heard in seen.heard:
            stream, _, format = heard.stream.partition("?format=")
            assert [each.id for each in heard.events] == [each.id for each in unasked[heard.who, stream]], f"{heard.who} {heard.stream}"
            assert format != "raw" or heard.events == unasked[heard.who, stream]


async def test_one_transaction_in_the_order_of_its_statements(servers: Servers) -> None:
    """On a connection with several streams what one transaction wrote to several tables comes as it was written."""
    async with witness(servers, PREPARED, (*TRANSACTIONS, END)) as seen:
        [events] = [each.events for each in seen.heard if each.who == 9 and "," in each.stream]
        names = [(each.name, each.data["type"]) for each in events[1:9]]
        assert names == [
            ("provider-bookings", "INSERT"),
            ("notifications", "INSERT"),
            ("availability", "INSERT"),
            ("services", "UPDATE"),
            ("provider-bookings", "UPDATE"),
            ("notifications", "INSERT"),
            ("availability", "DELETE"),
            ("provider-bookings", "INSERT"),
        ]


async def test_a_provider_by_another_number(servers: Servers) -> None:
    """A provider's rows are those of the token's `provider_id`, and what is any user's is that of its `sub`."""
    async with (
        gateway(servers) as web,
        web.stream("provider-bookings,availability,notifications", 11, "provider", provider_id="9") as of_9,
        web.stream("provider-bookings,availability,notifications", 9, "provider", provider_id="10") as of_10,
    ):
        await _run(
            servers,
            "insert into bookings (customer_id, provider_id, service_id, booking_date, start_time, end_time)"
            " select 1, provider, 3, now(), now(), now() + interval '1 hour' from unnest(array[9, 10, 11]) as p (provider);"
            "insert into notifications (user_id, kind, title) values (10, '', ''), (9, '', '');"
            "insert into availability (provider_id, day, start_time, end_time) values"
            " (9, current_date, '09:00', '10:00'), (10, current_date, '09:00', '10:00'), (11, current_date, '09:00', '10:00')",
        )
        assert [await _owner(of_9) for _ in range(3)] == [("provider-bookings", 9), ("notifications", 11), ("availability", 9)]
        assert [await _owner(of_10) for _ in range(4)] == [
            ("provider-bookings", 10),
            ("notifications", 9),
            ("notifications", 9),
            ("availability", 10),
        ]


async def _run(servers: Servers, statements: str) -> None:
    connection = await servers.connect()
    try:
        await connection.execute(statements)
    finally:
        await connection.close()


async def _owner(stream: sse.Stream) -> tuple[str, int]:
    [event] = await stream.events(1)
    record = event.data["record"]
    return event.name, record["user_id"] if event.name == "notifications" else record["provider_id"]


OF_FEED, RAW = payload._of_feed, payload._raw


def _no_left(change: Change, shape: Shape, index: int, feed: Feed) -> list[payload.Delivery | payload.Joint]:
    """Tells the former owner of a row that it was updated."""
    found = OF_FEED(change, shape, index, feed)
    return [
        replace(each, kind="UPDATE", data=RAW(change, shape, feed, "U"))
        if isinstance(each, payload.Delivery) and b'"left":true' in each.data
        else each
        for each in found
    ]


def _all_of_old(change: Change, shape: Shape, feed: Feed, op: str, left: bool = False) -> bytes:
    """Tells the new owner of a row what it was before."""
    return RAW(change, shape, feed, "U" if op == "I" and change.old else op, left)


@pytest.mark.parametrize(
    ("name", "instead", "leaks"),
    [
        ("_of_feed", _no_left, {(1, "bookings", "b4"), (9, "provider-bookings", "b5"), (2, "bookings", "b6"), (1, "bookings", "b9")}),
        ("_raw", _all_of_old, {(2, "bookings", "b3"), (10, "provider-bookings", "b4"), (1, "bookings", "b5"), (2, "bookings", "b9")}),
    ],
    ids=["no left", "all of old"],
)
async def test_control_leaks_are_found(
    servers: Servers, monkeypatch: pytest.MonkeyPatch, name: str, instead: object, leaks: set[tuple[int, str, str]]
) -> None:
    """Were a row that moves told to both its owners whole, the same search would find whom it was told to."""
    monkeypatch.setattr(payload, name, instead)
    async with witness(servers, PREPARED, (*BOOKINGS, END)) as seen:
        assert seen.leaks >= leaks
        assert seen.told != seen.expected


async def test_control_unpublished_columns_are_found(servers: Servers) -> None:
    """Were a column with what nobody may see published, the same search would find it with everybody who sees the row."""
    published: Step = (
        "insert into services (id, {services}) values (4001, {s1.services});"
        "update services set description = internal, category = {hidden} where id = 4001",
        "all services: INSERT s1; UPDATE s1 → s1",
    )
    async with witness(servers, PREPARED, (published, END)) as seen:
        assert {who for who, stream, version in seen.leaks if (stream, version) == ("services", "hidden")} == set(EVERYBODY)


async def test_who_may_open_what(servers: Servers) -> None:
    """Whoever may not open a stream is told 403, alone or among others; what they may is listed; 401 without token, 404 for none."""
    async with gateway(servers) as web:

        async def ask(path: str, headers: dict[str, str]) -> tuple[int, bytes]:
            answer = await web.request(path, headers)
            await answer.close()
            return answer.status, answer.body

        for who, role in ROLES.items():
            bearer = {"Authorization": f"Bearer {token(who, role)}"}
            statuses = {name: (await ask(f"/streams/{name}", bearer))[0] for name in MAY_OPEN}
            assert statuses == {name: 200 if who in may else 403 for name, may in MAY_OPEN.items()}, f"{who}"
            together = {name: (await ask(f"/streams/services,{name}", bearer))[0] for name in MAY_OPEN if name != "services"}
            assert together == {name: 200 if who in may else 403 for name, may in MAY_OPEN.items() if name != "services"}, f"{who}"
            assert (await ask("/streams/nonsense", bearer))[0] == (await ask("/streams/services,nonsense", bearer))[0] == 404
            listed = (await ask("/streams", bearer))[1].decode()
            assert {name for name in MAY_OPEN if f'"{name}"' in listed} == {name for name, may in MAY_OPEN.items() if who in may}, listed
        for name in MAY_OPEN:
            assert (await ask(f"/streams/{name}", {}))[0] == 401
            assert (await ask(f"/streams/{name}", {"Authorization": f"Bearer {token(1, 'admin', ttl=-60)}"}))[0] == 401
        assert (await ask("/streams", {}))[0] == 401
