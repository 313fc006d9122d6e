"""⑤ The live edge: one Redis subscription per process, only for channels that somebody listens to.

- One connection, in order. Losing it is never mended behind our back: it is opened anew, every channel is subscribed and
  confirmed again, and then the hub repairs, before the first new entry goes out.
- Silence is a question: the bridge beats every second, so after three without a word from it the log is asked where it stands, again
  and again: where the bridge does not reach this Redis, what it has in Postgres comes from there.
- This path never awaits a client. What a reader cannot take is the reader's matter, so Redis never has to wait for us.
"""

import asyncio
import math
import time
from collections.abc import Iterable
from typing import Any, Protocol

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway import backoff, sentinel, wire
from gateway.task import side_by_side
from gateway.wire import Beat, Entry

SILENCE_SECONDS = 3.0
_SUBSCRIBE_AT_ONCE = 500
_AT_ONCE_BYTES = 32_768
"""Then connections get a chance to send: a burst that is read in one go would look as if every reader were slow."""

log = structlog.get_logger()


class Sink(Protocol):
    """What the tail feeds: the hub."""

    @property
    def channels(self) -> Iterable[str]: ...
    def dispatch(self, entry: Entry) -> bool:
        """Takes an entry; False if something before it is missing."""

    def beat(self, beat: Beat) -> bool:
        """Takes the bridge's word; False if something before it is missing."""

    async def repair(self) -> None:
        """Reads what was missed, for every channel."""

    def control(self, message: bytes) -> None:
        """Takes what another web process says. Raises ValueError for what is not ours."""

    async def refresh(self) -> None:
        """Learns what was said while nobody listened."""

    async def behind(self) -> bool:
        """Asks the log whether something was missed."""


class Tail:
    """Feeds a hub for as long as `run` runs."""

    def __init__(self, redis_url: str, hub: Sink) -> None:
        # RESP2: what arrives on a subscribed connection is a plain list.
        self._pool = sentinel.pool(redis_url, protocol=2, socket_connect_timeout=5, socket_timeout=None, retry=Retry(NoBackoff(), 0))
        self._hub = hub
        self._confirmed: dict[str, asyncio.Event] = {}
        # The last word of anybody, and of the bridge: others who talk here do not stand for it.
        self._heard = self._told = 0.0
        self._calm = asyncio.Event()
        self._calm.set()
        self._commands: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        self.connected = False
        # From the loss of a connection until the next one is subscribed to anything.
        self._away = True
        self._foreign = False

    async def listen(self, channels: Iterable[str]) -> None:
        """Returns when the channels' subscriptions are confirmed: from here on nothing of them is missed."""
        waiting = []
        for channel in channels:
            confirmed = self._confirmed.get(channel)
            if confirmed is None:
                confirmed = self._confirmed[channel] = asyncio.Event()
                self._commands.put_nowait(("SUBSCRIBE", channel))
            waiting.append(confirmed)
        for confirmed in waiting:
            await confirmed.wait()

    def forget(self, channel: str) -> bool:
        """Ends a channel's subscription; False if it is still to be confirmed, for a late word would pass for a newer one's."""
        confirmed = self._confirmed.get(channel)
        if confirmed is None or not (confirmed.is_set() or self._away):
            return False
        # Who waits for it is with others, and has left.
        self._confirmed.pop(channel).set()
        self._commands.put_nowait(("UNSUBSCRIBE", channel))
        return True

    async def run(self) -> None:
        """Reads until cancelled; connects again whatever happens."""
        failures = 0
        while True:
            connection: AbstractConnection = self._pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py's
            try:
                async with asyncio.timeout(10):
                    await connection.connect()  # type: ignore[no-untyped-call]  # redis-py's
                await self._resume(connection)
                self.connected = True
                failures = 0
                self._heard = self._told = time.monotonic()
                await side_by_side(self._read(connection), self._watch(connection), self._command(connection))
            except* (RedisError, OSError, TimeoutError) as error:
                failures += 1
                log.warning("the tail has lost Redis", error=type(error.exceptions[0]).__name__)
            finally:
                self.connected = False
                self._away = True
                # Nothing is heard, of revocations neither: nobody is to be sent anything who asks only now.
                for event in self._confirmed.values():
                    event.clear()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(backoff.pause(failures, 0.05, 2.0))

    async def _command(self, connection: AbstractConnection) -> None:
        """Sends what is asked for in the order in which it was asked for, many channels at once where many wait."""
        while True:
            command, channel = await self._commands.get()
            channels = [channel]
            while not self._commands.empty() and len(channels) < _SUBSCRIBE_AT_ONCE:
                following, channel = self._commands.get_nowait()
                if following != command:
                    await connection.send_command(command, *channels, check_health=False)
                    command, channels = following, []
                channels.append(channel)
            # Those of now: a channel that is given up and wanted again is asked for behind this.
            asked = [self._confirmed[channel] for channel in channels if command == "SUBSCRIBE" and channel in self._confirmed]
            await connection.send_command(command, *channels, check_health=False)
            # Who asks meanwhile is asked for at once: in a storm a command has dozens of channels instead of one.
            for confirmed in asked:
                await confirmed.wait()

    async def _resume(self, connection: AbstractConnection) -> None:
        """Subscribes to everything, waits until all is confirmed, repairs; what arrives meanwhile comes after."""
        self._away = False
        # What was asked for while there was no connection is in `_confirmed`, or no longer wanted.
        self._commands = asyncio.Queue()
        wanted = {wire.HEAD, wire.CONTROL, *self._confirmed}
        channels = sorted(wanted)
        for start in range(0, len(channels), _SUBSCRIBE_AT_ONCE):
            await connection.send_command("SUBSCRIBE", *channels[start : start + _SUBSCRIBE_AT_ONCE], check_health=False)
        arrived: list[Any] = []
        waiting = set(wanted)
        async with asyncio.timeout(10):
            while waiting:
                message = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
                if message[0] == b"subscribe":
                    waiting.discard(message[1].decode())
                else:
                    arrived.append(message)
        await self._hub.refresh()
        await self._hub.repair()
        for channel in wanted - {wire.HEAD, wire.CONTROL}:
            if channel in self._confirmed:
                self._confirmed[channel].set()
        for message in arrived:
            await self._take(message)

    async def _read(self, connection: AbstractConnection) -> None:
        # No timeout around each message: it would cost more than the message. `_watch` looks at `_heard` instead.
        taken = 0
        while True:
            message = await connection.read_response(timeout=math.inf, disconnect_on_error=False)
            self._heard = time.monotonic()
            taken += len(message[2]) if message[0] == b"message" else 0
            if taken > _AT_ONCE_BYTES:
                taken = 0
                await asyncio.sleep(0)
            if not self._calm.is_set():
                # Older entries come first.
                await self._calm.wait()
            await self._take(message)

    async def _watch(self, connection: AbstractConnection) -> None:
        """Asks log and connection while nothing is heard of the bridge; raises TimeoutError when the connection does not answer."""
        asked = -math.inf
        while True:
            await asyncio.sleep(SILENCE_SECONDS / 3)
            now = time.monotonic()
            if now - self._told < SILENCE_SECONDS or not self._calm.is_set():
                asked = -math.inf
            elif now - asked >= SILENCE_SECONDS and asked < self._heard:
                asked = now
                if await sentinel.left(self._pool, connection):
                    raise TimeoutError
                await connection.send_command("PING", check_health=False)
                # The bridge may be silent, or the connection: does the log know more than we were told?
                if await self._hub.behind() and self._calm.is_set():
                    # What was revoked was not heard either.
                    await self._hub.refresh()
                    await self._repair()
            elif now - self._heard >= 2 * SILENCE_SECONDS:
                raise TimeoutError

    async def _repair(self) -> None:
        self._calm.clear()
        try:
            await self._hub.repair()
        finally:
            self._calm.set()

    async def _take(self, message: Any) -> None:
        kind = message[0]
        if kind == b"message":
            channel = message[1].decode()
            try:
                if channel == wire.CONTROL:
                    self._hub.control(message[2])
                    return
                heard = Beat.decode(message[2]) if channel == wire.HEAD else wire.decode_published(channel, message[2])
            except wire.OtherVersion as error:
                # To us this bridge is silent: what it publishes comes from Postgres.
                if not self._foreign:
                    log.error("web processes are to be upgraded before the bridges", error=str(error))
                self._foreign = True
                return
            except Exception:
                # Somebody else publishes here. What may be missing for it, the chain will tell.
                if not self._foreign:
                    log.warning("a message that is not ours", channel=channel)
                return
            self._foreign = self._foreign and not isinstance(heard, Beat)
            self._told = self._heard
            if not (self._hub.beat(heard) if isinstance(heard, Beat) else self._hub.dispatch(heard)):
                await self._repair()
        elif kind == b"subscribe":
            confirmed = self._confirmed.get(message[1].decode())
            if confirmed is not None:
                confirmed.set()
