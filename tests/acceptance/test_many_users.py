"""Many users at random: nobody gets a byte of what they have no right to any more."""

import asyncio
import random
import re
import time
from dataclasses import dataclass, field

import pytest

from tests.support.access import numbers, opened, revoke, two
from tests.support.gateway import Web, bridge, token, until
from tests.support.servers import Servers

pytestmark = [pytest.mark.usefixtures("way_out"), pytest.mark.one_way]


@dataclass
class User:
    """A user, the tokens they had, and all that came to them."""

    number: int
    given: str = ""
    token_id: str = ""
    revoked: set[str] = field(default_factory=set)
    received: list[str] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    connections: int = 0

    def new_token(self) -> None:
        self.token_id = f"{self.number}-{next(numbers)}"
        self.given = token(self.number, jti=self.token_id)


async def _listen(user: User, gateways: tuple[Web, ...], until_cut: float) -> None:
    """Opens a stream, reads it for a while, comes back: with another token where the last was revoked."""
    stream = await opened(random.choice(gateways), user.given)
    if stream.status != 200:
        assert stream.status == 401, stream.body
        assert user.token_id in user.revoked
        user.new_token()
        return
    user.connections += 1
    mine = user.token_id
    try:
        async with asyncio.timeout(until_cut):
            async for event in stream:
                # The other process may hear of it a moment later, and say so at once.
                if mine in user.endings and not event.control:
                    user.late.append(event.raw)
                user.received.append(event.raw)
                if event.name == "closed":
                    assert event.data["reason"] == "revoked"
                    user.endings.append(mine)
    except TimeoutError:
        pass
    finally:
        stream.abort()


async def _come_and_go(user: User, gateways: tuple[Web, ...], end: asyncio.Event) -> None:
    while not end.is_set():
        await _listen(user, gateways, random.uniform(0.2, 3))


async def _flip(servers: Servers, users: list[User], gateways: tuple[Web, ...], seconds: float) -> int:
    """Moves bookings from user to user, each with its owner's canary, and revokes tokens; returns how many were revoked."""
    connection = await servers.connect()
    revoked = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(20):
            owner = random.choice(users).number
            await connection.execute(
                "update bookings set customer_id = $1, notes = $2 where id = $3", owner, f"canary-{owner}-x", random.randint(5000, 5299)
            )
        user = random.choice(users)
        mine = user.token_id
        user.revoked.add(mine)
        await revoke(random.choice(gateways), b'{"jti": "%b"}' % mine.encode())
        revoked += 1
    await connection.close()
    return revoked


async def test_many_users(servers: Servers, pytestconfig: pytest.Config) -> None:
    """200 users, whose tokens are revoked and whose rows move at random, while they come and go: nothing of one reaches another.

    Nothing comes after `closed`, no token is taken after it was revoked, and all streams with one have ended.
    """
    users = [User(1000 + number) for number in range(200)]
    for user in users:
        user.new_token()
    connection = await servers.connect()
    await connection.execute(
        "insert into users (id, name, email, role) select 1000 + n, 'user', n || '@example.org', 'customer' from generate_series(0, 199) n"
    )
    await connection.execute(
        "insert into bookings (id, customer_id, service_id, booking_date, start_time, end_time, notes)"
        " select 5000 + n, 1000 + n % 200, 1, now(), now(), now() + interval '1 hour', 'canary-' || 1000 + n % 200 || '-x'"
        " from generate_series(0, 299) n"
    )
    await connection.close()
    async with bridge(servers), two(servers) as gateways:
        end = asyncio.Event()
        listening = [asyncio.create_task(_come_and_go(user, gateways, end)) for user in users]
        revoked = await _flip(servers, users, gateways, 60 if pytestconfig.getoption("--long") else 6)

        def ended() -> bool:
            given = {s.principal.token_id for each in gateways for s in each.hub.roster.subscribers if s.state.value != "ended"}
            return not given & {each for user in users for each in user.revoked}

        await until(ended)
        end.set()
        await asyncio.gather(*listening)
    assert revoked > 5
    assert sum(len(user.endings) for user in users) > 2
    assert sum("canary" in text for user in users for text in user.received) > 50
    for user in users:
        found = set(re.findall(r"canary-(\d+)-", " ".join(user.received)))
        assert found <= {str(user.number)}, f"user {user.number} has seen {found}"
        assert user.late == []
