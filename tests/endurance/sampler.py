"""Takes samples: /proc of each process, /metrics of the web processes, INFO and the keys of Redis, the catalogs of Postgres.

- What is measured is not to be seen in the figures: /proc is read before /metrics is asked, and own connections are not counted.
- A socket is its process's by the inode: those of pools, which keep what they have opened, are told apart from all others.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from redis.asyncio import Redis

import sql
from gateway import wire
from tests.endurance.figures import Sample, Values
from tests.support import sse
from tests.support.cluster import Cluster, Program, children

_PROC = Path("/proc")
_LISTEN, _TIME_WAIT = "0A", "06"
_MB = 1e6
_PATIENCE = 60.0
"""Where the machine is busy with others, an answer may take its time."""
_SETTINGS = {"application_name": "sampler"}
_POOLS = ("rowcast archive", "rowcast judge")
"""Their connections stay for minutes after they were used."""
_POSTGRES = """
    with ours as materialized (select * from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid())
    select (select count(*) from ours where application_name like 'rowcast %' and application_name <> all ($1)) as backends,
           (select count(*) from ours where application_name = any ($1)) as lent,
           (select count(*) from pg_locks l join ours o on o.pid = l.pid where o.application_name like 'rowcast %') as locks,
           (select count(*) from pg_locks l join ours o on o.pid = l.pid where not l.granted) as waiting,
           (select coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0)::float8 from ours) as transaction,
           (select coalesce(max(age(backend_xmin)), 0)::float8 from ours) as horizon,
           (select count(*) from rowcast.segment) as segments,
           (select max(position) from rowcast.head) as position,
           (select jsonb_object_agg(kind, bytes / 1e6)::text from (
               select case when n.nspname <> 'rowcast' then case n.nspname when 'public' then 'tables' else 'catalogs' end
                           when c.relname like 'outbox%' then 'outbox' when c.relname like 'log%' then 'log'
                           when c.relname = 'head' then 'head' else 'others' end as kind, sum(pg_total_relation_size(c.oid)) as bytes
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
               where c.relkind = 'r' and n.nspname in ('rowcast', 'public', 'pg_catalog') group by 1) sizes) as sizes"""


class Socket(NamedTuple):
    """A line of /proc/net/tcp."""

    local: int
    remote: int
    state: str
    queued: int


class Sampler:
    """Looks at a cluster. `begun` is the moment from which samples are counted."""

    def __init__(self, cluster: Cluster, postgres: Any, redis: "Redis") -> None:
        self.begun = time.monotonic()
        self._cluster = cluster
        self._postgres = postgres
        self._redis: Any = redis
        self._last: tuple[float, float] | None = None

    @staticmethod
    async def connect(cluster: Cluster) -> "Sampler":
        """Opens the connections that it needs."""
        return Sampler(
            cluster,
            await cluster.servers.connect(server_settings=_SETTINGS),
            Redis.from_url(cluster.servers.redis_url, socket_timeout=_PATIENCE),
        )

    async def close(self) -> None:
        self._postgres.terminate()
        await self._redis.aclose()

    async def take(self, phase: str, clients: int) -> Sample:
        """Takes one. Raises what asyncpg, redis-py and sockets raise where a part of the cluster does not answer."""
        at = time.monotonic() - self.begun
        values: Values = {"clients": {"all": clients}}
        self._processes(values)
        for asked in (self._ask_web, self._ask_redis, self._ask_postgres):
            await asked(values)
        return Sample(at, phase, values)

    def _processes(self, values: Values) -> None:
        sockets = _sockets()
        stores = {
            int(url.rpartition(":")[2].partition("/")[0]) for url in (self._cluster.servers.redis_url, self._cluster.servers.database_url)
        }
        for program in (*self._cluster.bridges, *self._cluster.webs):
            if program.process is not None and program.process.poll() is None:
                _look_at([program.process.pid], program.name, values)
                _descriptors(program.process.pid, program.name, sockets, stores, values)
        valkey = self._cluster.redis.server.pid
        _look_at([valkey], "valkey", values)
        postgres = self._cluster.postgres.server.pid
        # Shared buffers fill up, and are everybody's: only what is each process's own is looked at.
        _put(values, "postgres", postgres=_rollup([postgres, *children(postgres)])["Private"])
        for web in self._cluster.webs:
            theirs = [each for each in sockets.values() if each.local == web.port and each.state not in (_LISTEN, _TIME_WAIT)]
            queues = [each.queued / 1024 for each in theirs]
            _put(values, web.name, sockets=len(theirs), queued=sum(queues), fullest=max(queues, default=0))

    async def _ask_web(self, values: Values) -> None:
        for web in self._cluster.webs:
            told = await metrics(web)
            _put(values, web.name, connections=told["rowcast_connections"], tasks=told["rowcast_tasks"])
            _put(values, web.name, lag=told.get("rowcast_bridge_lag_positions", 0))

    async def _ask_redis(self, values: Values) -> None:
        memory, stats = await self._redis.info("memory"), await self._redis.info("stats")
        clients = await self._redis.client_list(_type="normal") + await self._redis.client_list(_type="pubsub")
        logs = [key async for key in self._redis.scan_iter(match=f"rowcast:{wire.SHARD}:log:*", count=1000)]
        pipeline = self._redis.pipeline(transaction=False)
        for key in logs:
            pipeline.memory_usage(key, samples=0)
            pipeline.xlen(key)
        answers = await pipeline.execute()
        sizes = sum(size or 0 for size in answers[::2]) / _MB
        keys = await self._redis.dbsize() - len(logs)
        _put(
            values,
            "valkey",
            redis=memory["used_memory"] / _MB - sizes,
            logs=sizes,
            output=sum(int(each["omem"]) for each in clients) / 1024,
            keys=keys,
            longest=max(answers[1::2], default=0),
            channels=stats["pubsub_channels"],
        )
        values.setdefault("channel logs", {})["valkey"] = len(logs)

    async def _ask_postgres(self, values: Values) -> None:
        row = await self._postgres.fetchrow(_POSTGRES, _POOLS)
        outbox = await self._postgres.fetchrow(sql.statement("outbox"))
        sizes: dict[str, float] = orjson.loads(row["sizes"])
        names = ("backends", "lent", "locks", "waiting", "transaction", "horizon", "segments")
        _put(values, "postgres", **{name: float(row[name]) for name in names})
        _put(values, "postgres", **{name: sizes.get(name, 0.0) for name in ("outbox", "log", "head", "catalogs", "tables")})
        _put(values, "postgres", depth=outbox["depth"])
        now, position = time.monotonic(), float(row["position"] or 0)
        before, self._last = self._last, (now, position)
        _put(values, "postgres", changes=(position - before[1]) / (now - before[0]) if before else 0.0)


async def metrics(web: Program) -> dict[str, float]:
    """Returns what a web process tells of itself, without what has labels."""
    async with asyncio.timeout(_PATIENCE):
        answer = await sse.request("127.0.0.1", web.port, "/metrics")
    lines = (line.rpartition(" ") for line in answer.body.decode().splitlines() if not line.startswith("#") and "{" not in line)
    return {name: float(value) for name, _, value in lines}


def _put(values: Values, part: str, **found: float) -> None:
    for name, value in found.items():
        values.setdefault(name, {})[part] = round(float(value), 3)


def _look_at(pids: Iterable[int], part: str, values: Values) -> None:
    memory = _rollup(pids)
    threads = [len(os.listdir(_PROC / str(pid) / "task")) for pid in pids]
    _put(values, part, rss=memory["Rss"], pss=memory["Pss"], private=memory["Private"], threads=sum(threads))


def _rollup(pids: Iterable[int]) -> dict[str, float]:
    """Returns the memory of some processes, in MB. One that has just ended has none."""
    found = {"Rss": 0.0, "Pss": 0.0, "Private": 0.0}
    for pid in pids:
        with suppress(OSError):
            for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(":")
                name = "Private" if name in ("Private_Clean", "Private_Dirty") else name
                if name in found:
                    found[name] += int(rest.split()[0]) * 1024 / _MB
    return found


def _descriptors(pid: int, part: str, sockets: Mapping[str, Socket], stores: Iterable[int], values: Values) -> None:
    opened, pooled = 0, 0
    for entry in (_PROC / str(pid) / "fd").iterdir():
        with suppress(OSError):
            target = os.readlink(entry)
            known = sockets.get(target[8:-1]) if target.startswith("socket:[") else None
            opened += 1
            pooled += known is not None and known.remote in stores
    _put(values, part, fds=opened - pooled, pooled=pooled)


def _sockets() -> dict[str, Socket]:
    """Returns the TCP sockets of this machine, by inode; those that no process has any more by their place."""
    found = {}
    for number, line in enumerate((_PROC / "net" / "tcp").read_text().splitlines()[1:]):
        fields = line.split()
        local, remote = (int(fields[at].rpartition(":")[2], 16) for at in (1, 2))
        inode = fields[9] if fields[9] != "0" else f"orphan {number}"
        found[inode] = Socket(local, remote, fields[3], int(fields[4].partition(":")[0], 16))
    return found
