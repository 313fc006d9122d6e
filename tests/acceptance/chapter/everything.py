"""What is for admins, and what a statement or a transaction does in several tables at once."""

from tests.acceptance.chapter.booking import TWO_BOOKINGS
from tests.support.witness import Step

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
    TWO_BOOKINGS,
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
