"""What writers of the example tables do: statements, and for each of their arguments what it may be; drawn by hypothesis or by chance."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from hypothesis import strategies as st

Drawn: TypeAlias = tuple[Any, ...]
"""A statement and its arguments, as `execute` takes them."""

_PROPERTY = "123e4567-e89b-12d3-a456-42661417400{}"
_BOOKINGS, _PAYMENTS, _SERVICES, _DAYS = range(1, 9), range(1, 11), range(1, 10), range(1, 9)
_PROPERTIES = [_PROPERTY.format(number) for number in range(8)]
_CUSTOMERS, _PROVIDERS = [1, 2], [9, 10]
_STATUSES, _NOTES = ["pending", "confirmed", "cancelled"], ["x", "hidden", None]
_REST = [0, 1, 2, 3]
_BOOLEANS = [True, False]


@dataclass(frozen=True)
class Statement:
    """A text with `$1` and so on, and for each what it may be."""

    text: str
    arguments: tuple[Sequence[Any], ...]

    def draw(self, chance: random.Random) -> Drawn:
        return (self.text, *(chance.choice(values) for values in self.arguments))

    def drawn(self) -> st.SearchStrategy[Drawn]:
        return st.tuples(st.just(self.text), *(st.sampled_from(values) for values in self.arguments))


def _all(*statements: tuple[Any, ...]) -> list[Statement]:
    return [Statement(text, arguments) for text, *rest in statements if (arguments := tuple(rest))]


BOOKINGS = _all(
    ("update bookings set status = $2 where id = $1", _BOOKINGS, _STATUSES),
    ("update bookings set notes = $2 where id = $1", _BOOKINGS, _NOTES),
    ("update bookings set customer_id = $2 where id = $1", _BOOKINGS, _CUSTOMERS),
    ("update bookings set provider_id = $2 where id = $1", _BOOKINGS, [*_PROVIDERS, None]),
    ("delete from bookings where id = $1", _BOOKINGS),
    (
        "insert into bookings (id, customer_id, service_id, booking_date, start_time, end_time)"
        " values ($1, $2, 1, now(), now(), now() + interval '1 hour') on conflict (id) do update set customer_id = excluded.customer_id",
        _BOOKINGS,
        _CUSTOMERS,
    ),
    (
        "insert into payments (id, booking_id, amount) select $1, id, 2 from bookings where id = $2"
        " on conflict (id) do update set booking_id = excluded.booking_id",
        _PAYMENTS,
        _BOOKINGS,
    ),
    ("update payments set amount = $2 where id = $1", _PAYMENTS, range(5)),
    ("delete from payments where id = $1", _PAYMENTS),
)
"""Bookings and payments; triggers write notifications."""
BESIDES = _all(
    (
        "insert into availability (id, provider_id, day, start_time, end_time)"
        " values ($1, $2, current_date + $1::bigint::integer, '09:00', '17:00')"
        " on conflict (id) do update set provider_id = excluded.provider_id",
        _DAYS,
        _PROVIDERS,
    ),
    ("update availability set available = $2 where id = $1", _DAYS, _BOOLEANS),
    ("delete from availability where id = $1", _DAYS),
    ("insert into notifications (user_id, kind, title) values ($1, 'news', $2)", [*_CUSTOMERS, *_PROVIDERS], ["one", "another"]),
    ("update notifications set read = $2 where id % 4 = $1", _REST, _BOOLEANS),
    ("update notifications set user_id = $2 where id % 4 = $1", _REST, [*_CUSTOMERS, *_PROVIDERS]),
    ("delete from notifications where id % 4 in ($1, $2)", _REST, _REST),
    (
        "insert into services (id, name, category, price) values ($1, 'New', 'cleaning', $2)"
        " on conflict (id) do update set price = excluded.price",
        _SERVICES[6:],
        [10, 20],
    ),
    ("update services set active = $2 where id = $1", _SERVICES, _BOOLEANS),
    ("delete from services where id = $1", _SERVICES[6:]),
    ("insert into system_notices (title, public) values ($1, $2)", ["one", "another"], _BOOLEANS),
    ("update system_notices set public = $2 where id % 4 = $1", _REST, _BOOLEANS),
    ("delete from system_notices where id % 4 in ($1, $2)", _REST, _REST),
)
"""What is around the bookings."""
LISTINGS = _all(
    ("update properties set status = $2 where id = $1", _PROPERTIES, ["available", "pending", "sold"]),
    ("update properties set price = $2 where id = $1", _PROPERTIES, [9_000_000, 14_000_000]),
    ("update properties set city = $2, state = 'TX' where id = $1", _PROPERTIES, ["Austin", "Dallas"]),
    ("delete from properties where id = $1", _PROPERTIES),
    (
        "insert into properties (id, name, city, state, price, units) values ($1, 'A house', $2, 'TX', $3, 120)"
        " on conflict (id) do update set price = excluded.price",
        _PROPERTIES,
        ["Austin", "Dallas"],
        [8_000_000, 12_000_000],
    ),
    ("update property_alerts set user_ids = $2 where id % 4 = $1", _REST, [[], [1], [2], [1, 2, 7]]),
    ("delete from property_alerts where id % 4 in ($1, $2)", _REST, _REST),
)
"""Properties; triggers write alerts."""
_TURNS = [BOOKINGS, BOOKINGS, BESIDES, LISTINGS]
"""Bookings have the most rules: they move, payments hang on them, and row-level security hides some."""
TRUNCATED = ["payments", "notifications", "availability", "property_alerts"]
FEW_ROWS = (
    "truncate notifications, property_alerts; delete from payments where booking_id > 6; delete from bookings where id > 6;"
    "delete from availability where id > 8; delete from properties where id::text > '" + _PROPERTIES[-1] + "'"
)
"""Leaves no more of the examples than the statements reach."""


def drawn(most: int) -> st.SearchStrategy[list[Drawn]]:
    """The statements of one transaction, one at least."""
    each = st.sampled_from(_TURNS).flatmap(st.sampled_from).flatmap(Statement.drawn)
    return st.lists(each, min_size=1, max_size=most)


def draw(chance: random.Random, most: int) -> list[Drawn]:
    """As `drawn`, by chance."""
    return [chance.choice(chance.choice(_TURNS)).draw(chance) for _ in range(chance.randint(1, most))]
