"""What the tests of this folder have in common: a bridge in haste, its connections one by one, and how far things are."""

from collections.abc import Mapping, Sequence

import asyncpg
import pytest

from gateway.bridge import bridge as bridges
from gateway.bridge import listener as listeners
from gateway.bridge import retention, sequencer
from gateway.bridge.listener import Connection
from tests.support.gateway import until
from tests.support.ledger import Reader
from tests.support.proxy import Proxy
from tests.support.servers import Servers

CONNECTIONS = ("listener", "sequencer", "publisher", "retention")
_HASTE_SECONDS = 1.0


def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a bridge notice in a second what it notices in ten, or in thirty."""
    monkeypatch.setattr(listeners, "_PROBE_SECONDS", _HASTE_SECONDS / 2)
    monkeypatch.setattr(listeners, "_PROBE_TIMEOUT_SECONDS", _HASTE_SECONDS)
    monkeypatch.setattr(sequencer, "_TIMEOUTS_SECONDS", dict.fromkeys(("head_snapshot", "waiting", "advance"), 2 * _HASTE_SECONDS))
    monkeypatch.setattr(retention, "_EVERY_SECONDS", _HASTE_SECONDS)


def lead_through(monkeypatch: pytest.MonkeyPatch, proxy: Proxy, *names: str) -> None:
    """Lets some connections of the bridge, or all of them, lead through a proxy, and wait no longer than a second or two for anything."""
    connect = listeners._connect

    async def through(url: str, name: str, command_timeout: float | None, server_settings: Mapping[str, str]) -> Connection:
        timeout = None if command_timeout is None else 2 * _HASTE_SECONDS
        return await connect(proxy.url(url) if name in (names or CONNECTIONS) else url, name, timeout, server_settings)

    monkeypatch.setattr(listeners, "_connect", through)


async def captured(servers: Servers, changes: int = 60) -> None:
    """Waits until writers have made so many more changes, whatever becomes of them."""
    connection = await servers.connect()

    async def last() -> int:
        return int(await connection.fetchval("select last_value from rowcast.outbox_id"))

    try:
        target = await last() + changes

        async def reached() -> bool:
            return await last() >= target

        await until(reached)
    finally:
        await connection.close()


async def beyond(servers: Servers, readers: Sequence[Reader], entries: int = 20) -> None:
    """Waits until a reader has something that lies so far behind what has a position now: it was sequenced and sent since."""
    connection = await servers.connect()
    try:
        head: int = await connection.fetchval("select max(position) from rowcast.head")
    finally:
        await connection.close()
    await until(lambda: any(reader.lines and reader.lines[-1].position >= head + entries for reader in readers), within=60)


def no_recovery(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switches off that a bridge begins again when something of it breaks."""
    monkeypatch.setattr(bridges, "_RECOVERABLE", (asyncpg.NoDataFoundError,))
