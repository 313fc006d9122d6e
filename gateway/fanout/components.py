"""⑦ How bridge, Redis and Postgres are, as this process sees them; those who may know are told.

- Nothing is asked while all is well: the bridge beats only while Redis and Postgres answer it, so its silence is what is suspicious.
- A subscriber is told what differs from what it was told last: nothing is queued for a slow one, a newcomer hears what is down.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog

from gateway.fanout import frame
from gateway.fanout.meter import Meter
from gateway.fanout.roster import Roster
from gateway.fanout.subscriber import State, Subscriber
from gateway.fanout.ticker import iso
from streams.stream import COMPONENTS

_LOOK_SECONDS = 1.0
_PATIENCE_SECONDS = {"bridge": 5.0, "redis": 1.0, "postgres": 1.0}
"""How long one may be away before it is said to be down."""
_SUSPICIOUS_SECONDS = 2.5

log = structlog.get_logger()


class Components:
    """Looks every second, for as long as `run` runs. `down` are those that are down.

    `connected` says whether Redis is there, `heard` when the bridge was heard last (monotonic), `ping` whether Postgres answers.
    """

    def __init__(
        self, roster: Roster, meter: Meter, connected: Callable[[], bool], heard: Callable[[], float], ping: Callable[[], Awaitable[bool]]
    ) -> None:
        self.down: frozenset[str] = frozenset()
        self._roster = roster
        self._meter = meter
        self._connected = connected
        self._heard = heard
        self._ping = ping
        # None is down before it was away for a while.
        self._well = dict.fromkeys(COMPONENTS, time.monotonic())
        self._since = dict.fromkeys(COMPONENTS, iso(time.time()))
        self._all_told = True
        for component in COMPONENTS:
            meter.component(component, True)

    async def run(self) -> None:
        """Looks, and tells, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self.look()
                self.tell()
            except Exception:
                log.exception("the components' state cannot be told")

    async def look(self) -> None:
        """Finds out what is down now."""
        now = time.monotonic()
        if self._connected():
            self._well["redis"] = now
            self._well["bridge"] = max(self._well["bridge"], self._heard())
        else:
            # Whatever it says, nobody can hear it.
            self._well["bridge"] = now
        if now - self._heard() < _SUSPICIOUS_SECONDS or await self._ping():
            self._well["postgres"] = now
        down = frozenset(component for component, well in self._well.items() if now - well > _PATIENCE_SECONDS[component])
        for component in sorted(down ^ self.down):
            up = component not in down
            self._since[component] = iso(time.time())
            self._meter.component(component, up)
            log.warning("a component is up again" if up else "a component is down", component=component)
        self._all_told = self._all_told and down == self.down == frozenset()
        self.down = down

    def tell(self) -> None:
        """Tells subscribers what they may know and do not know yet; who cannot take it now is told later."""
        if self._all_told:
            return
        # While something is down there may be newcomers who do not know.
        self._all_told = not self.down
        for subscriber in list(self._roster.subscribers):
            try:
                self._all_told &= self._tell(subscriber)
            except Exception:
                # Its matter alone.
                log.exception("a subscriber cannot be told of the components", connection=subscriber.connection)

    def _tell(self, subscriber: Subscriber) -> bool:
        look = next((look for look in subscriber.looks if look.stream.components), None)
        if look is None or subscriber.state is State.ENDED:
            return True
        down = self.down & look.stream.components_for(subscriber.principal)
        if down == subscriber.told_down:
            return True
        if not subscriber.greeted or subscriber.sink.full:
            return False
        for component in sorted(down ^ subscriber.told_down):
            subscriber.write(frame.status(subscriber.cursor, look.form, component, component not in down, self._since[component]))
        subscriber.told_down = down
        return True
