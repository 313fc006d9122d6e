"""Gentle traffic for the embedded default: about one change a second in the example tables, so that a first curl shows life."""

import asyncio
import itertools
import random

import asyncpg

_STATUSES = ("pending", "confirmed", "in_progress", "completed")
_EVERY_SECONDS = 1.0


async def run(database_url: str) -> None:
    """Changes the example tables until cancelled; the bookings of customer 1 get every second change."""
    connection = await asyncpg.connect(database_url, server_settings={"application_name": "rowcast demo"})
    try:
        for turn in itertools.count():
            if turn % 4 == 3:
                await connection.execute(
                    "update services set price = round(price * (0.95 + random() * 0.1)::numeric, 2) where id = $1", random.randint(1, 6)
                )
            else:
                await connection.execute(
                    "update bookings set status = $1 where status <> $1 and id ="
                    " (select id from bookings where customer_id = $2 and status <> $1 order by random() limit 1)",
                    random.choice(_STATUSES),
                    1 if turn % 2 == 0 else random.randint(2, 8),
                )
            await asyncio.sleep(_EVERY_SECONDS * random.uniform(0.6, 1.4))
    finally:
        connection.terminate()
