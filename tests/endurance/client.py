"""A client of a storm: comes back whatever happens, like a browser, and remembers what it got by digests."""

import asyncio
import random
import re

from tests.endurance.history import Event, History
from tests.endurance.verdict import Life, Verdict, judge
from tests.support import sse
from tests.support.ledger import Door, Reader

_NAMED = re.compile(r" for (\d+) and (\d+)")
_WHOSE = {"bookings": 1, "provider-bookings": 2}
_OPEN_SECONDS = 15.0
"""A web process that stands still takes connections, and answers when it goes on."""


class Client(Reader):
    """A reader that nothing stops: what it should never have received it counts, and goes on."""

    def __init__(self, web: Door, streams: str, sub: int, patience: tuple[float, float] | None = None) -> None:
        super().__init__(web, streams, sub, patience)
        self.kept: list[Life] = []
        self.received = 0
        self.openings = 0
        self.leaks: list[str] = []
        self.malformed: list[str] = []

    @property
    def open(self) -> bool:
        return self._stream is not None

    async def run(self) -> None:
        """Reads until stopped."""
        while not self._stopped:
            try:
                async with asyncio.timeout(_OPEN_SECONDS):
                    stream = await self._web.open(self.streams, self.sub, None, self.last_id, roles=["customer", "provider"])
                self._stream = stream
                self.openings += 1
                async with asyncio.timeout(random.uniform(*self._patience) if self._patience else None):
                    while not self._stopped:
                        self._take(await stream.next(3600))
            except (OSError, EOFError):
                pass
            except (AssertionError, ValueError) as error:
                self.malformed.append(f"{self}: {error!r}"[:300])
            finally:
                self.cut()
            # A browser waits for seconds, which the web process names. Here more is to happen.
            await asyncio.sleep(random.uniform(0.05, 0.8))

    def cut(self) -> None:
        """Cuts the connection, if there is one; the client comes back."""
        if self._stream is not None:
            self._stream.abort()
            self._stream = None

    def _take(self, event: sse.Event) -> None:
        lives = len(self.lives)
        super()._take(event)
        if len(self.lives) > lives:
            self.kept.append(Life(self.lives[-1].after))
        while self.lines:
            line = self.lines.pop()
            self.kept[-1].events.add(Event.of(line))
            self.received += 1
            self._look(line.stream, line.data)

    def _look(self, stream: str, data: str) -> None:
        """Whose booking is it, by its own account?"""
        for names in _NAMED.findall(data):
            if stream not in _WHOSE or int(names[_WHOSE[stream] - 1]) != self.sub:
                self.leaks.append(f"{self}: {stream} with{data[data.index(' for ') :][:40]}")

    def judged(self, history: History) -> Verdict:
        """Returns what is wrong with what it has received."""
        verdict = judge(str(self), sorted(self.channels), self.kept, history)
        verdict.leaked += len(self.leaks)
        verdict.malformed += len(self.malformed)
        verdict.resets += len(self.resets)
        verdict.examples += self.leaks[:2] + self.malformed[:2] + [f"{self}: reset, {reason}" for reason in self.resets[:2]]
        return verdict

    def has(self, last: Event) -> bool:
        """Whether it has an event, or began afresh behind it."""
        life = self.kept[-1] if self.kept else Life(-1)
        return life.after >= last.position or (len(life.events) > 0 and life.events.places[-1] >= last.place)
