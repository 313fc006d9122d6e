"""The right to be the active bridge, and the sign that it is awake: two advisory locks on the listening connection.

- The lease only saves work. Two bridges at once do no harm: the sequencer's lock and the log's keys see to that.
- A holder that stands still, with its connections open, loses it: Postgres ends a session that has not probed for a while (listener.py).
- Awake: writers do not ring, the bridge polls. Asleep: writers ring.
- Falling asleep loses nothing: whoever looked while the lock was held has a lower transaction number than the fence that
  is drawn after its release, and polling goes on until all below the fence have ended. (The newest completed transaction's
  number, `pg_snapshot_xmax`, will not do as a fence: an open writer may be above it. tests/gateway/bridge/test_lease.py)
"""

import asyncio

import sql
from gateway.bridge.listener import Listener

_RETRY_SECONDS = 0.5


async def acquire(listener: Listener) -> None:
    """Waits until this process is the active bridge."""
    while not await listener.fetchval("select pg_try_advisory_lock($1, $2)", sql.LOCK_CLASS, sql.LEASE_LOCK):  # noqa: ASYNC110 - it happens in Postgres
        await asyncio.sleep(_RETRY_SECONDS)


class Wakefulness:
    """Whether writers may skip the bell. With `armed` off the lock is never taken, so nobody asks for it either."""

    def __init__(self, listener: Listener, armed: bool = True) -> None:
        self._listener = listener
        self._armed = armed
        self._awake = False
        self._fence: int | None = None

    @property
    def awake(self) -> bool:
        """Writers do not ring: poll quickly."""
        return self._awake

    @property
    def settling(self) -> bool:
        """Writers ring again, but one that began before may not have: poll on."""
        return self._fence is not None

    async def wake(self) -> None:
        """Tells the writers that they need not ring; a writer that is just asking makes it fail, until the next time."""
        if self._armed and not self._awake:
            self._awake = await self._listener.fetchval("select pg_try_advisory_lock($1, $2)", sql.LOCK_CLASS, sql.AWAKE_LOCK)
            if self._awake:
                self._fence = None

    async def fall_asleep(self) -> None:
        """Tells the writers to ring from now on."""
        if self._awake:
            self._awake = False
            await self._listener.fetchval("select pg_advisory_unlock($1, $2)", sql.LOCK_CLASS, sql.AWAKE_LOCK)
            self._fence = await self._listener.fetchval(sql.statement("fence"))

    async def settle(self) -> None:
        """Looks whether every writer that may have skipped the bell has ended. A drain must follow before the next wait."""
        if self._fence is not None and await self._listener.fetchval(sql.statement("oldest_open")) >= self._fence:
            self._fence = None
