"""Gentle traffic for the embedded default: about one change a second in the example tables, so that a first curl shows life.

- Every second change is one of a booking of customer 1, whose token `rowcast run` prints.
- Notifications and alerts come by themselves, from the triggers of the examples; what is older than an hour is tidied away.
"""

import asyncio
import itertools
import random
from collections.abc import Iterator

from gateway import primary

_EVERY_SECONDS = 1.0
_STATUSES = ("pending", "confirmed", "in_progress", "completed")
_BOOKING = """
    update bookings set status = $1 where status <> $1 and id =
        (select id from bookings where customer_id = $2 and status <> $1 order by random() limit 1)
"""
_OTHERS = (
    """
    update services set price = round(price * (0.95 + random() * 0.1)::numeric, 2)
    where id = (select id from services order by random() limit 1)
    """,
    """
    update properties set price = round((price * (0.97 + random() * 0.06))::numeric, -3)
    where id = (select id from properties order by random() limit 1)
    """,
    """
    update payments set status = case status when 'pending' then 'authorized' when 'authorized' then 'paid' else 'pending' end
    where id = (select id from payments order by random() limit 1)
    """,
    """
    update availability set available = not available
    where id = (select id from availability order by random() limit 1)
    """,
    """
    update properties set status = case status when 'available' then 'pending' when 'pending' then 'sold' else 'available' end
    where id = (select id from properties order by random() limit 1)
    """,
    """
    with alerts as (
        delete from property_alerts where id in
            (select id from property_alerts where created_at < now() - interval '1 hour' order by id limit 100)
    )
    delete from notifications where id in
        (select id from notifications where created_at < now() - interval '1 hour' order by id limit 100)
    """,
)


def changes() -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yields the traffic without end: statements with their arguments."""
    for other in itertools.cycle(_OTHERS):
        for customer in (1, random.randint(2, 8), 1):
            yield _BOOKING, (random.choice(_STATUSES), customer)
        yield other, ()


async def run(database_url: str) -> None:
    """Changes the example tables until cancelled."""
    connection = await primary.connect(database_url, timeout=60, server_settings={"application_name": "rowcast demo"})
    try:
        for statement, arguments in changes():
            await connection.execute(statement, *arguments)
            await asyncio.sleep(_EVERY_SECONDS * random.uniform(0.6, 1.4))
    finally:
        connection.terminate()
