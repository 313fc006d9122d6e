"""What an address of several servers is taken for."""

from collections.abc import Mapping
from typing import Any

import pytest
from redis.asyncio import BlockingConnectionPool, ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool, SentinelManagedSSLConnection

from gateway import address, primary, sentinel
from gateway.sentinel import Address
from gateway.settings import SettingsError, read

READ: Mapping[str, tuple[Any, ...]] = {
    "redis+sentinel://a:26380,b/mymaster": ((("a", 26380), ("b", 26379)), "mymaster", False, {}, {}),
    "redis+sentinel://user:p%40ss@a/main/3": ((("a", 26379),), "main", False, {"username": "user", "password": "p@ss", "db": 3}, {}),
    "redis+sentinel://:pw@[::1]:1,[fe80::2]/m": ((("::1", 1), ("fe80::2", 26379)), "m", False, {"password": "pw"}, {}),
    "redis+sentinel://a/m?sentinel_password=x%20y&sentinel_username=u&health_check_interval=5": (
        (("a", 26379),),
        "m",
        False,
        {"health_check_interval": 5},
        {"password": "x y", "username": "u"},
    ),
    "rediss+sentinel://a/m?ssl_ca_certs=/ca.pem": (
        (("a", 26379),),
        "m",
        True,
        {"ssl_ca_certs": "/ca.pem"},
        {"ssl_ca_certs": "/ca.pem"},
    ),
    "redis+sentinel://a/my%2Fmaster": ((("a", 26379),), "my/master", False, {}, {}),
}
WRONG = {
    "redis+sentinel://a:26379": "name the master",
    "redis+sentinel://a:26379/": "name the master",
    "redis+sentinel:///mymaster": "host:port",
    "redis+sentinel://a:x/mymaster": "host:port",
    "redis+sentinel://a,,b/mymaster": "host:port",
    "redis+sentinel://a:0/mymaster": "host:port",
    "redis+sentinel://a/mymaster/first": "a number",
    "redis+sentinel://a/mymaster?sentinel_pasword=secret": "sentinel_pasword",
    "redis+sentinel://:secret@a/mymaster?socket_timeout=secret": "socket_timeout",
}


@pytest.mark.parametrize("url", READ)
def test_address_of_sentinels(url: str) -> None:
    """Hosts, the master's name, and whose user and password are whose."""
    found = Address.read(url)
    assert (found.sentinels, found.name, found.tls, dict(found.options), dict(found.asking)) == READ[url]


@pytest.mark.parametrize("url", WRONG)
def test_wrong_address_of_sentinels(url: str) -> None:
    """One line says what is wrong, and shows no password."""
    with pytest.raises(SettingsError, match=WRONG[url]) as refused:
        address.require(read(redis_url=url, database_url="postgresql://h/d"), "DATABASE_URL", "REDIS_URL")
    assert str(refused.value).startswith("REDIS_URL: ")
    assert "secret" not in str(refused.value).replace("'socket_timeout'", "")


async def test_pool_is_of_the_kind_that_was_asked_for() -> None:
    """A plain address makes what redis-py makes of it; one of Sentinels the same kind, whose connections find the master."""
    plain = sentinel.pool("redis://h/1", BlockingConnectionPool, max_connections=3, timeout=2)
    assert type(plain) is BlockingConnectionPool
    assert type(sentinel.pool("redis://h/1")) is ConnectionPool
    there: Any = sentinel.pool("rediss+sentinel://h/m/1", BlockingConnectionPool, max_connections=3, timeout=2, socket_timeout=7, db=0)
    assert isinstance(there, BlockingConnectionPool)
    assert isinstance(there, SentinelConnectionPool)
    assert (there.timeout, there.max_connections) == (2, 3)
    assert issubclass(there.connection_class, SentinelManagedSSLConnection)
    connection: Any = there.make_connection()  # type: ignore[no-untyped-call]
    assert (connection.db, connection.socket_timeout) == (1, 7)


def test_hosts_of_an_address() -> None:
    """Several hosts are an address each; one, or one by a socket, stays as it is."""
    assert primary.hosts("postgresql://u:p@a:1,b:2/d?x=1") == ["postgresql://u:p@a:1/d?x=1", "postgresql://u:p@b:2/d?x=1"]
    assert primary.hosts("postgresql://u@[::1]:1,b/d") == ["postgresql://u@[::1]:1/d", "postgresql://u@b/d"]
    for url in ("postgresql://h/d", "postgresql:///d?host=/run", "postgresql://u:a%2Cb@h/d"):
        assert primary.hosts(url) == [url]
