"""Two Redis servers of these tests' own, of one password, as a primary and its replica have."""

from collections.abc import Iterator

import pytest
from redis import Redis

from gateway import datadir
from gateway.embedded import ValkeyServer


@pytest.fixture(scope="package")
def two_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ValkeyServer, ValkeyServer]]:
    """Two that run."""
    old, new = (ValkeyServer(tmp_path_factory.mktemp(name)) for name in ("old", "new"))
    datadir.write(new.data_dir / "valkey.password", old.password)
    for server in (old, new):
        server.start()
    yield old, new
    for server in (old, new):
        server.stop()


@pytest.fixture
def old_and_new(two_servers: tuple[ValkeyServer, ValkeyServer]) -> tuple[ValkeyServer, ValkeyServer]:
    """Both are empty, and know nothing of each other."""
    for server in two_servers:
        with Redis.from_url(server.url) as redis:
            redis.replicaof("NO", "ONE")
            redis.flushall()
    return two_servers
