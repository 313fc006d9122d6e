"""A bridge that reads all that there is at once: `python -m tests.reliability.postgres.unbounded`. What it uses, a bridge must not."""

import asyncio
import os
from datetime import timedelta

from gateway.bridge import publisher
from gateway.bridge.bridge import Bridge

if __name__ == "__main__":
    publisher.BATCH_ENTRIES = publisher.BATCH_BYTES = 1_000_000_000
    urls = os.environ["DATABASE_URL"], os.environ["REDIS_URL"]
    asyncio.run(Bridge(*urls, notify="armed", keep=timedelta(hours=24), log_entries=1000).run())
