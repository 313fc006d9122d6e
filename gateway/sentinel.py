"""④⑤ From REDIS_URL to connections: a plain address as redis-py reads it, one of Sentinels to whichever server they call the master.

- `redis+sentinel://[user:password@]host[:26379][,host…]/name[/db]`: user and password are the servers', `?sentinel_username=` and
  `?sentinel_password=` the Sentinels' own. With `rediss+sentinel://` both are spoken to by TLS.
- Each new connection asks who the master is. One that is open costs what a plain one costs.
- A server may be the master no more and not know it: who hears nothing, or is about to say something new, asks again.
- No connection to a Sentinel stays open: a master changes once in months.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, Connection, SSLConnection, parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.maint_notifications import MaintNotificationsConfig

SCHEMES = ("redis+sentinel://", "rediss+sentinel://")
_PORT = 26379
_ANSWER_SECONDS = 1.0
_LOOK_SECONDS = 2.0

Place = tuple[str, int]
"""Host and port."""


class NoMaster(RedisConnectionError):
    """No Sentinel names a master; the text says what each of them said."""


@dataclass(frozen=True)
class Address:
    """Sentinels, and what they call the master; `options` are those of connections to it, `asking` those to the Sentinels."""

    sentinels: tuple[Place, ...]
    name: str
    tls: bool
    options: Mapping[str, Any]
    asking: Mapping[str, Any]

    @staticmethod
    def read(url: str) -> "Address":
        """Reads an address with one of SCHEMES. Raises ValueError, which says what is wrong, and no password."""
        scheme, _, rest = url.partition("://")
        rest, _, query = rest.partition("?")
        authority, _, path = rest.partition("/")
        user, at, hosts = authority.rpartition("@")
        name, _, database = path.partition("/")
        if not name:
            raise ValueError(f"name the master behind the Sentinels: {scheme}://…/mymaster")
        if database and not database.isdecimal():
            raise ValueError("behind the master's name comes a number, the database's")
        pairs = parse_qsl(query, keep_blank_values=True)
        plain = urlencode([(key, value) for key, value in pairs if not key.startswith("sentinel_")])
        own = {key.removeprefix("sentinel_"): value for key, value in pairs if key.startswith("sentinel_")}
        if unknown := set(own) - {"username", "password"}:
            raise ValueError(f"of the Sentinels there is sentinel_username and sentinel_password, not sentinel_{min(unknown)}")
        options: dict[str, Any] = dict(parse_url(f"redis://{user}{at}server/{database}?{plain}"))
        del options["host"]
        tls = scheme == "rediss+sentinel"
        trust = {key: value for key, value in options.items() if key.startswith("ssl_")} if tls else {}
        return Address(tuple(map(_place, hosts.split(","))), unquote(name), tls, options, trust | own)


def _place(text: str) -> Place:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, str(_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError("the Sentinels are written host:port,host:port")
    return host, int(port)


@dataclass(frozen=True)
class Word:
    """What a Sentinel said: where the master is, or why it names none."""

    sentinel: Place
    master: Place | None
    fault: str = ""


class Sentinels:
    """Those of an address. They are asked in turn, first the one that named a master last."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._order = list(address.sentinels)

    async def discover_master(self, name: str) -> Place:
        """Returns where the master is. Raises NoMaster."""
        faults = []
        for place in list(self._order):
            word = await self.ask(place, name)
            if word.master is not None:
                self._order.remove(place)
                self._order.insert(0, place)
                return word.master
            faults.append(word.fault)
        raise NoMaster("; ".join(faults))

    async def ask(self, place: Place, name: str) -> Word:
        """Asks one of them."""
        who = "the Sentinel at {}:{}".format(*place)
        kind = SSLConnection if self._address.tls else Connection
        options = {**_quick(), **self._address.asking}
        # No timeouts of redis-py's: they swallow cancellations.
        pool: Any = ConnectionPool(
            kind, host=place[0], port=place[1], protocol=2, socket_timeout=None, retry=Retry(NoBackoff(), 0), **options
        )
        try:
            # Closed outside of the timeout: cut off there, the connection would stay open.
            async with Redis.from_pool(pool) as sentinel, asyncio.timeout(_ANSWER_SECONDS):
                masters: Any = await sentinel.sentinel_masters()
        except TimeoutError:
            return Word(place, None, f"{who} does not answer")
        except (RedisError, OSError) as error:
            refused = isinstance(error, AuthenticationError | ResponseError)
            return Word(place, None, f"{who} refuses: {error}" if refused else f"{who} does not answer")
        state = masters.get(name)
        if state is None:
            known = ", ".join(sorted(masters)) or "none"
            return Word(place, None, f"{who} knows no master {name} (it knows {known})")
        if not state["is_master"] or state["is_sdown"] or state["is_odown"]:
            return Word(place, None, f"{who} says that the master {name} is down")
        return Word(place, (state["ip"], state["port"]))


@cache
def _quick() -> Mapping[str, Any]:
    """Options without which redis-py looks its own version up for each connection, and asks for notifications that few servers have: an
    error, and garbage."""
    return {"driver_info": DriverInfo(), "maint_notifications_config": MaintNotificationsConfig(enabled=False)}


class _Blocking(SentinelConnectionPool, BlockingConnectionPool):
    """Waits for a free connection, which leads to the master."""


def pool(url: str, kind: type[ConnectionPool] = ConnectionPool, **options: Any) -> ConnectionPool:
    """Makes a pool of one of redis-py's kinds; what the address says wins. Raises ValueError for an address that makes no sense."""
    options = {**_quick(), **options}
    if not url.startswith(SCHEMES):
        made = kind.from_url(url, **options)
    else:
        address = Address.read(url)
        behind = _Blocking if issubclass(kind, BlockingConnectionPool) else SentinelConnectionPool
        given = options | dict(address.options) | {"ssl": address.tls}
        made = behind(address.name, Sentinels(address), **given)  # type: ignore[no-untyped-call]  # redis-py's
    made.connection_class = _connection_of(made.connection_class, made)
    return made


async def close(redis: Any) -> None:
    """Closes a client whose pool was made here, for good.

    redis-py's opens connections again for whoever still asks, or tries again as theirs is closed, and nobody closes those.
    """
    redis.connection_pool.over = True
    await redis.aclose()


def _connection_of(kind: Any, pool: Any) -> Any:
    """Returns a kind of connection for a pool.

    - Where the pool is closed it does not connect.
    - One that has just been closed is an error of redis-py's, also where it is written to: uvloop raises RuntimeError then, and whoever
      reckons with Redis being away does not reckon with that: a web process died of it.
    """
    pool.over = False

    class Told(kind):  # type: ignore[misc]  # any kind of connection
        async def connect_check_health(self, *args: Any, **options: Any) -> None:
            # What every way to connect leads to, also that of a command which is tried again.
            try:
                if not pool.over:
                    await super().connect_check_health(*args, **options)
            finally:
                if pool.over:
                    await self.disconnect(nowait=True)
            if pool.over:
                raise RedisConnectionError("the client was closed")

        async def send_packed_command(self, *args: Any, **options: Any) -> None:
            try:
                await super().send_packed_command(*args, **options)
            except RuntimeError as error:
                raise RedisConnectionError(str(error)) from error

    return Told


async def follow(*pools: Any) -> None:
    """Asks who the master is now: where that is another one, idle connections to the one before are closed. A plain pool asks nobody."""
    for each in pools:
        if isinstance(each, SentinelConnectionPool):
            # Just now there may be none, or nobody says: connections that are open may still be good.
            with suppress(RedisError, OSError):
                await each.get_master_address()  # type: ignore[no-untyped-call]  # redis-py's


async def follow_on(*pools: Any) -> None:
    """Follows the master until cancelled, if any of the pools has Sentinels."""
    if not any(isinstance(each, SentinelConnectionPool) for each in pools):
        await asyncio.Event().wait()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        await follow(*pools)


async def left(pool: Any, connection: AbstractConnection) -> bool:
    """Says whether a connection leads to a server that is the master no more; for a plain pool never."""
    await follow(pool)
    master = getattr(pool, "master_address", None)
    return master is not None and master != (getattr(connection, "host", None), getattr(connection, "port", None))
