"""What the clients are put through. All clients are in a scenario at once, with a strict reader among them, and are judged alike.

- Nothing is timed: a scenario goes on when those who are expected to have something have it. Who is expected to stay away has
  stayed away while all others came back.
- Each scenario has a user and a booking of its own, so that all can be played at once.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import asyncpg

from tests.clients.client import SCENARIOS, Client
from tests.clients.front import fronted
from tests.clients.gateway import PLACES, Gateway
from tests.clients.outcome import MARKS, coming_back, draining, expiring, notes_of, reading, refusing, resetting
from tests.clients.run import Heard, Host, Run, new_number
from tests.support import sse
from tests.support.gateway import token, until
from tests.support.servers import Servers

UTF8 = "plain, é, e\u0301, 漢字, 😀, 👩‍👩‍👧, \u2028, \u2029, \u0085, \u000b, \ufeff, \U0010ffff"
LARGE = "0123456789é漢😀" * 10_000
HEARTBEATS = 4
"""At the pace that Rowcast comes with they take half a minute."""
_WITHIN_SECONDS = 60
_EXPIRES_SECONDS = (8, 20, 60)
"""When a token expires; later where a busy machine lets nobody in before."""
Outcomes = dict[str, str]
Pool = Any
"""asyncpg's, whose types need a record's."""


@dataclass(frozen=True)
class Scene:
    """Who and what a scenario is played with; `other` is a gateway that is there too."""

    pool: Pool
    gateway: Gateway
    other: Gateway
    clients: Sequence[Client]
    hosts: Mapping[str, Host]
    user: int

    async def booking(self) -> int:
        """Returns a booking of the user; 0 if there is none."""
        return int(await self.pool.fetchval("select coalesce(min(id), 0) from bookings where customer_id = $1", self.user))

    async def change(self, notes: str) -> None:
        """Changes the booking."""
        await self.pool.execute("update bookings set notes = $2 where id = $1", await self.booking(), notes)

    async def listen(self, credential: str = "", since: str | None = None, port: int = 0) -> list[Run]:
        """Lets every client open a stream."""
        booking, runs = await self.booking(), []
        credential = credential or token(self.user)
        for client in self.clients:
            number = new_number()
            url = self.gateway.url(booking, number, port)
            runs.append(self.hosts[client.name].listen(client, number, url, credential, since, str(self.user)))
        return runs

    @asynccontextmanager
    async def strict(self) -> AsyncIterator[sse.Stream]:
        """Opens the same stream for a reader that bears nothing."""
        path = self.gateway.url(await self.booking(), new_number()).partition(str(self.gateway.port))[2]
        stream = await sse.request("127.0.0.1", self.gateway.port, path, {"Authorization": f"Bearer {token(self.user)}"})
        assert stream.status == 200, stream.body
        try:
            assert (await stream.next()).name == "ready"
            yield stream
        finally:
            await stream.close()


async def settled(runs: Sequence[Run], scenario: str, judge: Callable[[Run], str]) -> Outcomes:
    """Waits until all clients have done what is expected of them, or for long enough, and returns what each has done."""
    await _all(runs, lambda run: judge(run) == run.client.expected[scenario])
    return {run.client.name: judge(run) for run in runs}


async def _all(runs: Sequence[Run], has: Callable[[Run], object]) -> None:
    """Waits until all have something, or for long enough: who never has it is judged for that later."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_WITHIN_SECONDS):
            while not all(has(run) for run in runs):  # noqa: ASYNC110 - what they say is read by threads
                # Judging is work, and the clients need the processor.
                await asyncio.sleep(0.2)


async def _compared(scene: Scene, scenario: str, notes: Sequence[str], heartbeats: int = 0, port: int = 0) -> Outcomes:
    """Lets the clients read changes, and holds what they have against what the strict reader has."""
    async with scene.strict() as strict:
        runs = await scene.listen(port=port)
        await _all(runs, lambda run: run.named("ready"))
        events = asyncio.create_task(strict.events(len(notes), within=_WITHIN_SECONDS))
        before = strict.heartbeats
        await until(lambda: strict.heartbeats >= before + heartbeats, _WITHIN_SECONDS)
        for each in notes:
            await scene.change(each)
        wanted = [Heard(event.id, event.name, event.raw) for event in await events]
        assert [event.value["record"]["notes"] for event in wanted] == list(notes)
        answers = scene.gateway.answers
        return await settled(runs, scenario, lambda run: reading(run, answers(run.number), wanted))


async def stream(scene: Scene) -> Outcomes:
    """Twenty changes."""
    return await _compared(scene, "stream", [f"change {number}" for number in range(20)])


async def utf8(scene: Scene) -> Outcomes:
    """Characters that some cut lines at, and every one of several bytes in pieces."""
    async with fronted(scene.gateway.port, split=True) as front:
        return await _compared(scene, "utf8", [UTF8, UTF8[::-1]], port=front.port)


async def large(scene: Scene) -> Outcomes:
    """An event of 200 kB, and one after it."""
    return await _compared(scene, "large", [LARGE, "small"])


async def heartbeats(scene: Scene) -> Outcomes:
    """Nothing but heartbeats, at the pace that Rowcast comes with, for half a minute, and then a change."""
    return await _compared(scene, "heartbeats", ["after half a minute"], heartbeats=HEARTBEATS)


async def reset(scene: Scene) -> Outcomes:
    """An id that the gateway never gave."""
    runs = await scene.listen(since="nobody-knows-this")
    await _all(runs, lambda run: run.named("reset"))
    await scene.change("after the reset")
    return await settled(runs, "reset", resetting)


async def _away(
    scene: Scene, scenario: str, port: int, change_hands: Callable[[], Awaitable[None]], judge: Callable[[Run], str]
) -> Outcomes:
    """Lets the gateway go, and another one come, between the first and the last of three changes."""
    before, _, after = MARKS
    runs = await scene.listen(port=port)
    await _all(runs, lambda run: run.named("ready"))
    await scene.change(before)
    await _all(runs, notes_of)
    await change_hands()
    back = [run for run in runs if run.client.expected[scenario] in ("resumes", "starts anew")]
    await _all(back, lambda run: len(run.named("ready")) > 1)
    await scene.change(after)
    return await settled(runs, scenario, judge)


async def restart(scene: Scene) -> Outcomes:
    """The gateway is killed, a row changes, and another gateway starts under its address."""

    async def kill_and_start() -> None:
        await asyncio.to_thread(scene.gateway.kill)
        await scene.change(MARKS[1])
        await asyncio.to_thread(scene.gateway.start)

    return await _away(scene, "restart", scene.gateway.port, kill_and_start, coming_back)


async def drain(scene: Scene) -> Outcomes:
    """The gateway is told to end, a row changes, and who comes back is led to another gateway, as by a load balancer."""
    async with fronted(scene.gateway.port) as front:

        async def hand_over() -> None:
            front.open.clear()
            await asyncio.to_thread(scene.gateway.drain)
            await scene.change(MARKS[1])
            front.target = scene.other.port
            front.open.set()

        return await _away(scene, "drain", front.port, hand_over, draining)


async def expiry(scene: Scene) -> Outcomes:
    """The token expires, and the client has no other."""
    # The time that a browser takes to open a page is not the token's.
    await _all(await scene.listen(), lambda run: run.named("ready"))
    for ttl in _EXPIRES_SECONDS:
        runs = await scene.listen(token(scene.user, ttl=ttl))
        await _all(runs, lambda run: run.named("ready") or run.end)
        if all(run.named("ready") for run in runs):
            break
    return await settled(runs, "expiry", lambda run: expiring(run, scene.gateway.answers(run.number)))


async def unauthorized(scene: Scene) -> Outcomes:
    """The token is none."""
    runs = await scene.listen("nonsense")
    return await settled(runs, "401", lambda run: refusing(run, scene.gateway.answers(run.number), 401))


async def too_many(scene: Scene) -> Outcomes:
    """The user has as many streams open as they may."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(PLACES):
            await stack.enter_async_context(scene.strict())
        runs = await scene.listen()
        return await settled(runs, "429", lambda run: refusing(run, scene.gateway.answers(run.number), 429))


_PLAYED = {
    "restart": restart,
    "drain": drain,
    "stream": stream,
    "utf8": utf8,
    "large": large,
    "heartbeats": heartbeats,
    "reset": reset,
    "expiry": expiry,
    # No bookings are needed for these.
    "401": unauthorized,
    "429": too_many,
}
OWN_GATEWAY = ("restart", "drain", "heartbeats")
"""Who ends its gateway, or wants it as it comes, has one of its own."""


async def play(
    servers: Servers, gateways: Mapping[str, Gateway], clients: Sequence[Client], hosts: Mapping[str, Host], *only: str
) -> dict[str, Outcomes]:
    """Plays the scenarios, or only some, all at once, and returns what the clients did in each.

    `gateways` are by scenario; "" is for all that have none of their own.
    """
    async with asyncpg.create_pool(servers.database_url, min_size=1, max_size=4) as pool:
        scene = partial(Scene, pool, other=gateways[""], clients=clients, hosts=hosts)
        played = {
            name: each(scene(gateway=gateways.get(name, gateways[""]), user=user))
            for user, (name, each) in enumerate(_PLAYED.items(), 1)
            if name in (only or SCENARIOS)
        }
        return dict(zip(played, await asyncio.gather(*played.values()), strict=True))
