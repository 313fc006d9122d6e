"""Real clients against real gateways: each does what docs/clients/matrix.md says."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients import matrix
from tests.clients.client import SCENARIOS, Client, clients
from tests.clients.front import fronted
from tests.clients.gateway import gateways
from tests.clients.outcome import WORDS, reading
from tests.clients.run import Host, hosts, new_number
from tests.clients.scenario import OWN_GATEWAY, UTF8, Outcomes, play
from tests.support.gateway import token, until
from tests.support.servers import Servers, fresh

CLIENTS = {client.name: client for client in clients()}
NOISY = "import gateway.fanout.frame as f; f.HEARTBEAT = b':\\n\\n'; import gateway.cli as c; c.main()"
"""A gateway whose heartbeats have a blank line after them."""


@pytest.fixture(scope="module")
def module_servers(run_servers: Servers) -> Iterator[Servers]:
    """A database and an empty Redis for the module."""
    with fresh(run_servers) as each:
        yield each


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Host]]:
    """The processes of all clients that can run here."""
    with hosts([client for client in CLIENTS.values() if not client.missing], tmp_path_factory.mktemp("clients")) as each:
        yield each


@pytest.fixture(scope="module")
def observed(module_servers: Servers, running: dict[str, Host], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcomes]:
    """What all clients did in all scenarios."""
    directory = tmp_path_factory.mktemp("gateways")
    here = [CLIENTS[name] for name in running]
    # Between all events there are heartbeats, but for the one scenario that is about them.
    with gateways(module_servers, directory, "", *OWN_GATEWAY, plain=["heartbeats"], ROWCAST_HEARTBEAT="100ms") as each:
        return asyncio.run(play(module_servers, each, here, running))


def _required(client: Client) -> None:
    """Skips where the client cannot run, or fails where it must."""
    if client.missing:
        if os.environ.get("REQUIRE_BROWSER") == "1" or (os.environ.get("CI") and "browser" not in client.needs):
            pytest.fail(client.missing)
        pytest.skip(client.missing)


@pytest.mark.timeout(500)
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)
def test_client(observed: dict[str, Outcomes], client: Client, scenario: str) -> None:
    """A client does in a scenario what the table says."""
    _required(client)
    assert observed[scenario][client.name] == client.expected[scenario]


def test_page() -> None:
    """docs/clients/matrix.md is what the table says; `python -m tests.clients.matrix --write` writes it."""
    assert matrix.PAGE.read_text() == matrix.page()


def test_words() -> None:
    """The table has no word that the page does not explain, and the page none that is not in the table."""
    said = {word for client in CLIENTS.values() for word in client.expected.values()}
    assert {word.removeprefix("401, then ") for word in said} <= set(WORDS)
    assert set(WORDS) <= {part for word in said for part in (word, word.removeprefix("401, then "))}


async def test_control_heartbeat_with_a_blank_line(module_servers: Servers, running: dict[str, Host], tmp_path: Path) -> None:
    """A heartbeat with a blank line after it makes events of nothing for some clients, and the matrix sees it."""
    web = [sys.executable, "-c", NOISY, "web"]
    client = CLIENTS["httpx-sse"]
    with gateways(module_servers, tmp_path, "", web=web, ROWCAST_HEARTBEAT="100ms") as each:
        number = new_number()
        run = running[client.name].listen(client, number, each[""].url(1, number), token())
        await until(lambda: run.named("message"), 60)
        assert "name='message', data=''" in reading(run, each[""].answers(number), [])


async def test_control_characters_in_pieces() -> None:
    """Who makes text of each read by itself damages characters whose bytes come in several, and the front sees to that."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(UTF8.encode())
        writer.close()

    async def read(port: int) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        found = []
        while piece := await reader.read(65536):
            found.append(piece)
        writer.close()
        return found

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, fronted(server.sockets[0].getsockname()[1], split=True) as front:
        pieces = await read(front.port)
    assert b"".join(pieces).decode() == UTF8
    assert "".join(piece.decode(errors="replace") for piece in pieces).count("\ufffd") > 20
