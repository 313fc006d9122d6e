"""Bookings and their payments: who is told what of each statement."""

from tests.support.witness import Step

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

TWO_BOOKINGS: Step = (
    "insert into bookings (id, customer_id, service_id, {bookings}) values (7101, 1, 3, {b1.bookings}), (7102, 2, 3, {b2.bookings})",
    "1 bookings: INSERT b1",
    "2 bookings: INSERT b2",
    "13 changes/bookings: INSERT b1; INSERT b2",
)

PAYMENTS: tuple[Step, ...] = (
    TWO_BOOKINGS,
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

A_PAYMENT: Step = (
    "insert into payments (id, booking_id, {payments}) values (8001, 7101, {m1.payments})",
    "1 payments: INSERT m1",
    "13 changes/payments: INSERT m1",
)
# Changes of one transaction are told one by one, as they were made: what a statement does in several places too.
BOOKING_FIRST: tuple[Step, ...] = (
    TWO_BOOKINGS,
    A_PAYMENT,
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
    TWO_BOOKINGS,
    A_PAYMENT,
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
