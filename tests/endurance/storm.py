"""Everything broken in turn, under load, for minutes: what was lost, doubled, out of order or told to others is counted.

- Bridges, web processes, Postgres and Redis are real processes; so are the clients, apart from those.
- At the end everything is healed, a last change goes to each channel, and everybody must come to have it.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

import sql
from gateway import wire
from gateway.embedded import EmbeddedError
from tests.endurance import show
from tests.endurance.crowd import Crowd, cast, crowd
from tests.endurance.history import History
from tests.endurance.load import Load, loaded
from tests.endurance.trouble import Trouble
from tests.endurance.verdict import Verdict
from tests.gateway.fanout.traffic import Connection
from tests.support.cluster import Cluster, cluster
from tests.support.gateway import until

_OURS = re.compile(r'\{[^{}]*"level": ?"(?:error|critical)"[^{}]*\}')


@dataclass(frozen=True)
class Plan:
    """How long, with how much; `only` names some of the troubles, `calm` is the time between two, in seconds.

    What has piled up at the end may take `quiet` seconds to be published, and as many to be read by all.
    """

    seconds: float
    seed: int
    clients: int = 500
    rate: float = 500.0
    writers: int = 8
    processes: int = 2
    calm: tuple[float, float] = (0.5, 3.0)
    long: float = 6.0
    quiet: float = 600.0
    only: Collection[str] = ()
    bridge: tuple[str, tuple[str, ...]] = ("gateway", ("bridge",))


@dataclass
class Result:
    """What came of it. `faults` is 0 where all is right."""

    plan: dict[str, Any]
    seconds: float = 0.0
    committed: int = 0
    entries: int = 0
    troubles: dict[str, int] = field(default_factory=dict)
    openings: int = 0
    times_writers_were_away: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    contradictions: list[str] = field(default_factory=list)
    """Between what Postgres has acknowledged and the log."""
    gaps: int = 0
    odd: list[str] = field(default_factory=list)
    unlike_redis: list[str] = field(default_factory=list)
    writers_errors: dict[str, int] = field(default_factory=dict)
    stuck: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    """Processes that have ended without being told to, or have not although they were told to."""
    said: dict[str, int] = field(default_factory=dict)
    """What processes of ours call an error, by the event; it is no fault, and may be worth a look."""

    def numbers(self) -> dict[str, int]:
        """Returns all that must be 0."""
        wrong = ("lost", "doubled", "disordered", "leaked", "altered", "malformed", "resets")
        lists = ("contradictions", "odd", "unlike_redis", "writers_errors", "stuck", "ended")
        return (
            {name: getattr(self.verdict, name) for name in wrong} | {"gaps": self.gaps} | {name: len(getattr(self, name)) for name in lists}
        )

    @property
    def faults(self) -> int:
        return sum(self.numbers().values())

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"numbers": self.numbers(), "faults": self.faults}


async def run(plan: Plan, directory: Path, stop: asyncio.Event, say: Callable[[float, str], None]) -> Result:
    """Runs it, until its time is over or `stop` is set; `say` is told how many seconds have passed, and how it goes."""
    chance = random.Random(plan.seed)
    random.seed(plan.seed)
    result = Result(asdict(plan))
    say(0, "starting")
    async with cluster(directory, bridge=plan.bridge, ROWCAST_DRAIN="2s") as parts:
        connection = await parts.servers.connect()
        load = await Load.prepare(connection, max(4, plan.clients // 3), max(2, plan.clients // 8), 4 * max(50, plan.clients), plan.rate)
        connection.terminate()
        say(0, "clients join")
        roles = cast(plan.clients, load.customers, load.providers)
        async with crowd([web.port for web in parts.webs], roles, plan.seed, plan.processes) as clients:
            trouble = Trouble(parts, load, clients.cut, chance, plan.long)
            started = time.monotonic()
            async with loaded(load, parts.servers, plan.writers):
                await _break(plan, trouble, stop, lambda: _tell(say, started, load, clients, trouble))
                await trouble.heal()
            result.seconds = time.monotonic() - started
            await _check(parts, load, clients, plan, directory, result, lambda text: say(result.seconds, text))
        result.troubles, result.ended = dict(trouble.done), trouble.ended
    result.committed, result.times_writers_were_away = load.committed, load.times_away
    result.openings = clients.count("openings")
    result.said = said(directory)
    return result


async def _break(plan: Plan, trouble: Trouble, stop: asyncio.Event, tell: Callable[[], None]) -> None:
    """Deals one trouble after the other, and now and then two at once."""
    ends_at = time.monotonic() + plan.seconds
    names = trouble.deal(plan.only)
    telling = asyncio.create_task(_every_second(tell))
    try:
        while not stop.is_set() and time.monotonic() < ends_at:
            with suppress(TimeoutError):
                async with asyncio.timeout(trouble.chance.uniform(*plan.calm)):
                    await stop.wait()
            try:
                await trouble.strike(*(next(names) for _ in range(trouble.chance.choice((1, 1, 1, 2)))))
            except (RuntimeError, OSError, EmbeddedError) as error:
                # What is known by then is told all the same.
                trouble.ended.append(f"{trouble.now}: {error!r}"[:500])
                stop.set()
    finally:
        telling.cancel()


async def _every_second(tell: Callable[[], None]) -> None:
    while True:
        tell()
        await asyncio.sleep(1)


def _tell(say: Callable[[float, str], None], started: float, load: Load, clients: Crowd, trouble: Trouble) -> None:
    seconds = time.monotonic() - started
    say(
        seconds,
        f"{load.committed:,} changes, {clients.count('open')} of {clients.clients} clients connected, "
        f"{clients.count('received'):,} events; {trouble.now or 'calm'}",
    )


async def _check(
    parts: Cluster, load: Load, clients: Crowd, plan: Plan, directory: Path, result: Result, say: Callable[[str], None]
) -> None:
    say("healed; the last changes are written")
    connection = await parts.servers.connect()
    try:
        await load.close(connection)
        say("what has piled up is published")
        await until(lambda: _published(connection, parts.servers.redis_url), plan.quiet)
    except TimeoutError:
        result.stuck.append(f"not all was published within {plan.quiet:.0f} s")
    finally:
        connection.terminate()
    say("the log is read")
    history = await History.read(parts.servers)
    result.entries, result.gaps, result.odd = history.head, history.gaps, history.odd[:10]
    result.contradictions = load.contradictions(history.notes)[:20]
    result.writers_errors = dict(load.errors)
    result.unlike_redis = await history.unlike_redis(parts.servers.redis_url)
    say("clients catch up, and are held against the log")
    result.verdict = await clients.judged(history, directory, plan.quiet)


async def _published(connection: Connection, redis_url: str) -> bool:
    """Whether every committed change has a position, and Redis has it; asked now and then."""
    await asyncio.sleep(0.2)
    head = await connection.fetchrow(sql.statement("head_snapshot"))
    assert head is not None
    if await connection.fetchval(sql.statement("waiting"), head["snapshot"]):
        return False
    redis: Any = Redis.from_url(redis_url)
    async with redis:
        with suppress(RedisError, OSError):
            return int(await redis.hget(wire.META, "position") or -1) == int(head["position"])
    return False


def said(directory: Path) -> dict[str, int]:
    """Returns what the processes have called an error, in their logs, and how often."""
    found: Counter[str] = Counter()
    for log in directory.glob("*.log"):
        text = log.read_text(errors="replace")
        for line in _OURS.findall(text):
            event = re.search(r'"event": ?"([^"]*)"', line)
            found[event[1] if event else line[:100]] += 1
        found["Traceback"] += text.count("Traceback (most recent call last)")
    return dict(+found)


def tell(result: Result) -> None:
    """Prints the numbers."""
    verdict = result.verdict
    rows = [
        ("changes committed", f"{result.committed:,} in {result.seconds:.0f} s, {result.committed / max(1, result.seconds):.0f} a second"),
        ("entries of the log", f"{result.entries:,}, {result.entries / max(1, result.seconds):.0f} a second"),
        ("events received", f"{verdict.received:,} by {verdict.clients} clients over {result.openings:,} connections"),
        ("troubles", f"{sum(result.troubles.values())}"),
        *((name.replace("_", " "), f"{value:,}") for name, value in result.numbers().items()),
    ]
    show.table("Everything broken in turn", ("", ""), rows)
    show.table("Troubles", ("", "times"), [(name, str(n)) for name, n in sorted(result.troubles.items())])
    for line in (*verdict.examples, *result.contradictions, *result.odd, *result.unlike_redis, *result.stuck, *result.ended):
        show.console.print(f"  {line}", markup=False)
    for what, said_of in (("writers were told", result.writers_errors), ("processes said", result.said)):
        for line, count in said_of.items():
            show.console.print(f"  {what}: {line}, {count} times", markup=False)
    show.console.print(f"{result.faults} faults" if result.faults else "nothing was lost, doubled, out of order, or told to others")
