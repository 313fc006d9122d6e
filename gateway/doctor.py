"""`rowcast doctor`: says what is wrong and how to mend it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

import sql
from auth.jwks import JwksUnavailable
from auth.key import Key
from gateway import primary, schema, sentinel
from gateway.bridge.listener import Connection
from gateway.capture import Capture, needed
from gateway.column import quoted
from gateway.migrator import MigrateError, Plan, captures, in_place, installed
from gateway.schema import SchemaError
from gateway.settings import Settings, SettingsError
from streams.catalog import load
from streams.stream import EVERY_TABLE, DeclarationError, Stream, Via

_OLDEST_POSTGRES = 150000
_OLDEST_REDIS = (7, 0)
_QUEUE_ALARM = 0.5
_VARIED = 12
"""Different characters that a random secret of 32 bytes has, however it is written."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `mend` says what to do about it; a `warning` does not make the doctor fail."""

    what: str
    well: bool
    detail: str
    mend: str = ""
    warning: bool = False


async def examine(settings: Settings) -> AsyncIterator[Finding]:
    """Yields a finding for each thing that has been looked at."""
    yield await _key(settings)
    for finding in _access(settings):
        yield finding
    async for finding in _redis(settings.redis_url):
        yield finding
    async for finding in _postgres(settings):
        yield finding


async def _key(settings: Settings) -> Finding:
    try:
        keys = settings.keys()
    except SettingsError as error:
        return Finding("key", False, str(error), "set one of them for every `rowcast web`")
    if isinstance(keys, Key):
        return Finding("key", True, ", ".join(keys.algorithms))
    try:
        await keys.refresh()
    except JwksUnavailable:
        return Finding("key", False, "no key can be had from ROWCAST_JWKS_URL", "check the address, and that it answers from here")
    finally:
        await keys.close()
    return Finding("key", True, "fetched from ROWCAST_JWKS_URL")


def _access(settings: Settings) -> Iterator[Finding]:
    """What is configured so that it works, and is careless all the same."""
    secret = settings.jwt_secret if not settings.jwt_public_key and not settings.jwks_url else None
    if secret and len(set(secret)) < _VARIED:
        detail = f"it has only {len(set(secret))} different characters"
        yield Finding("secret", False, detail, "make one with `openssl rand -base64 48`", warning=True)
    unchecked = [name for name, value in (("ISSUER", settings.jwt_issuer), ("AUDIENCE", settings.jwt_audience)) if not value]
    if unchecked:
        detail = "tokens that were made for somebody else with the same key are taken"
        yield Finding("issuer and audience", False, detail, f"set {' and '.join(f'ROWCAST_JWT_{n}' for n in unchecked)}", warning=True)
    else:
        yield Finding("issuer and audience", True, "are checked")
    if settings.query_tokens:
        detail = "addresses, with the tokens in them, end up in logs"
        yield Finding("query tokens", False, detail, "switch ROWCAST_QUERY_TOKENS off: there are tickets", warning=True)
    if "*" in settings.cors_origins:
        detail = "any page may use Rowcast with a token, and none with a cookie"
        yield Finding("CORS", False, detail, "name the origins in ROWCAST_CORS_ORIGINS", warning=True)
    if "*" in settings.trusted_proxies:
        detail = "whoever writes X-Forwarded-For says where they come from"
        yield Finding("proxies", False, detail, "name the proxies' addresses in ROWCAST_TRUSTED_PROXIES", warning=True)
    if not settings.connections_per_user:
        detail = "one user may open any number of streams"
        yield Finding("limits", False, detail, "set ROWCAST_CONNECTIONS_PER_USER", warning=True)


async def _redis(url: str | None) -> AsyncIterator[Finding]:
    if not url:
        yield Finding("redis", False, "REDIS_URL is not set", "set it, or start `rowcast run` here")
        return
    try:
        for finding in await _sentinels(url):
            yield finding
        redis = Redis.from_pool(sentinel.pool(url, socket_timeout=5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0)))
    except ValueError as error:
        yield Finding("redis", False, str(error), "mend REDIS_URL")
        return
    try:
        info = await redis.info("server")
        name = "Valkey" if "valkey_version" in info else "Redis"
        version = str(info.get("valkey_version") or info["redis_version"])
        new_enough = name == "Valkey" or tuple(int(part) for part in version.split(".")[:2]) >= _OLDEST_REDIS
        yield Finding("redis", new_enough, f"{name} {version}", "use Redis 7.0 or newer, or Valkey")
        policy = str((await redis.info("memory"))["maxmemory_policy"])
        yield Finding(
            "redis memory",
            policy == "noeviction",
            f"maxmemory-policy {policy}",
            "set noeviction: a log that is evicted is replayed from Postgres",
        )
    except (RedisError, OSError) as error:
        yield Finding("redis", False, f"cannot be reached: {type(error).__name__}", "check REDIS_URL and that the server runs")
    finally:
        await redis.aclose()


async def _sentinels(url: str) -> list[Finding]:
    """Which of them answer, and who is the master by their word. Raises ValueError for an address that makes no sense."""
    if not url.startswith(sentinel.SCHEMES):
        return []
    address = sentinel.Address.read(url)
    those = sentinel.Sentinels(address)
    words = await asyncio.gather(*(those.ask(place, address.name) for place in address.sentinels))
    masters = {word.master for word in words if word.master is not None}
    if not masters:
        mend = "check the addresses and the master's name in REDIS_URL"
        return [Finding("sentinel", False, "; ".join(word.fault for word in words), mend)]
    named = f"{address.name} is at {' and at '.join('{}:{}'.format(*each) for each in sorted(masters))}"
    if len(masters) > 1:
        mend = "wait for the failover to end, or mend the Sentinel that is cut off"
        return [Finding("sentinel", False, f"{named}, by different Sentinels", mend)]
    if faults := [word.fault for word in words if word.master is None]:
        return [Finding("sentinel", False, f"{named}; {'; '.join(faults)}", "mend it: others are needed when one fails", warning=True)]
    return [Finding("sentinel", True, f"{named}, by {len(words)} of {len(words)}")]


async def _postgres(settings: Settings) -> AsyncIterator[Finding]:
    if not settings.database_url:
        yield Finding("postgres", False, "DATABASE_URL is not set", "set it, or start `rowcast run` here")
        return
    try:
        connection = await primary.connect(settings.database_url, timeout=5, statement_cache_size=0)
    except (asyncpg.PostgresError, asyncpg.InternalClientError, OSError, TimeoutError, ValueError) as error:
        yield Finding("postgres", False, f"cannot be reached: {type(error).__name__}", "check DATABASE_URL and that the server runs")
        return
    try:
        number = int(await connection.fetchval("show server_version_num"))
        version = await connection.fetchval("show server_version")
        yield Finding("postgres", number >= _OLDEST_POSTGRES, f"Postgres {version}", "use Postgres 15 or newer")
        leading = not await connection.fetchval("select pg_is_in_recovery()")
        yield Finding(
            "primary", leading, "a primary" if leading else "a standby", "point DATABASE_URL at the primary: only there is order known"
        )
        yield await _pooler(settings.database_url, connection)
        skew = abs((await connection.fetchval("select extract(epoch from clock_timestamp())::float8")) - time.time())
        yield Finding(
            "clocks", skew < 5, f"{skew:.1f} s apart from Postgres", "set the clocks with NTP: tokens expire by them", warning=True
        )
        usage = await connection.fetchval("select pg_notification_queue_usage()")
        yield Finding(
            "notification queue",
            usage < _QUEUE_ALARM,
            f"{usage:.0%} full",
            "end the session that listens inside a transaction: when it is full, commits fail",
        )
        prepared = int(await connection.fetchval("show max_prepared_transactions"))
        if prepared and settings.notify != "never":
            yield Finding(
                "two-phase commit",
                False,
                f"max_prepared_transactions is {prepared}",
                "if prepared transactions write published tables, set ROWCAST_NOTIFY=never: Postgres refuses PREPARE after NOTIFY",
                warning=True,
            )
        async for finding in _triggers(connection, settings):
            yield finding
    finally:
        await connection.close()


async def _pooler(url: str, connection: Connection) -> Finding:
    """A session must stay a session: behind a transaction pooler its locks and its LISTEN end up with strangers."""
    mend = "give Rowcast a direct connection in DATABASE_URL (or a pooler in session mode)"
    try:
        if await connection.fetchval("select current_setting('rowcast.doctor', true)"):
            return Finding("pooler", False, "another session's setting was found", mend)
        pids = set()
        others = [await primary.connect(url, timeout=5, statement_cache_size=0) for _ in range(3)]
        try:
            await connection.execute("select set_config('rowcast.doctor', 'here', false)")
            for _ in range(5):
                rows = await asyncio.gather(connection.fetchrow(_WHO), *(other.fetchrow(_WHO) for other in others))
                if rows[0] is None or rows[0]["mark"] != "here" or any(row is None or row["mark"] for row in rows[1:]):
                    return Finding("pooler", False, "sessions are mixed: this is a transaction pooler", mend)
                pids.add(rows[0]["pid"])
            return Finding("pooler", len(pids) == 1, "none in the way" if len(pids) == 1 else "one session has several backends", mend)
        finally:
            await connection.execute("select set_config('rowcast.doctor', '', false)")
            for other in others:
                await other.close()
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return Finding("pooler", False, f"a session cannot be kept: {type(error).__name__}", mend)


_WHO = "select pg_backend_pid() as pid, current_setting('rowcast.doctor', true) as mark"


async def _triggers(connection: Connection, settings: Settings) -> AsyncIterator[Finding]:
    if not await installed(connection):
        yield Finding("schema", False, "not installed", "run `rowcast migrate`")
        return
    try:
        await schema.check(connection)
    except SchemaError as error:
        yield Finding("schema", False, str(error), "see Upgrading in docs/operations.md")
        return
    try:
        plan = Plan.of(settings, load(settings.streams))
        wanted = await captures(connection, plan)
    except (MigrateError, DeclarationError) as error:
        yield Finding("streams", False, str(error), "mend the declaration or the table")
        return
    for capture in wanted:
        definition = await connection.fetchval(
            "select definition from rowcast.shape where relation = $1 and retired_at is null", capture.relation
        )
        placed = await in_place(connection, capture.relation)
        if not placed:
            detail = "the trigger is missing or disabled"
        else:
            detail = "installed and enabled" if definition == capture.definition else "installed, but older than its declaration"
        yield Finding(f"trigger on {capture.relation}", placed and definition == capture.definition, detail, "run `rowcast migrate`")
    faults = await connection.fetchrow(
        "select count(*) as faults, max(fault) as fault from rowcast.log where op = 'F' and committed_at > now() - interval '1 day'"
    )
    assert faults is not None
    detail = f"{faults['faults']} changes of the last day could not be read" + (f": {faults['fault']}" if faults["fault"] else "")
    yield Finding("capture", not faults["faults"], detail, "run `rowcast migrate` after changing a published table", warning=True)
    own = [(c, s) for c in wanted for s in c.streams if plan.catalog[s.name].table != EVERY_TABLE]
    yield await _role(connection, settings.rls_role, own)
    for capture, stream in own:
        for finding in await _indexes(connection, capture, stream):
            yield finding


async def _role(connection: Connection, role: str, own: Sequence[tuple[Capture, Stream]]) -> Finding:
    """Snapshots, and streams with `rls`, read as a role: can they?"""
    what = f"row-level security as {role}"
    # Only who asks for a snapshot needs it, unless a stream does.
    warning = not any(stream.rls for _, stream in own)
    rights = await connection.fetchrow(sql.statement("rls_role"), role)
    if rights is None:
        return Finding(what, False, "there is no such role, so there are no snapshots", "create it, or set ROWCAST_RLS_ROLE", warning)
    if not rights["ours"]:
        return Finding(what, False, "the user of DATABASE_URL may not become it", f"grant {role} to that user", warning)
    if rights["past_policies"]:
        return Finding(what, False, "no policy concerns it", "take SUPERUSER and BYPASSRLS from it, or set ROWCAST_RLS_ROLE", warning)
    for capture, stream in own:
        for table, columns in _read_for_snapshots(capture, stream):
            found = await connection.fetchrow(sql.statement("unreadable"), role, quoted(table), columns)
            assert found is not None
            if found["columns"]:
                detail = f"stream {stream.name}: it may not read {', '.join(found['columns'])} of {table}"
                return Finding(what, False, detail, f"grant usage on the schema, and select on {table}, to {role}", warning)
            if found["owned"]:
                detail = f"{table} belongs to it, so no policy concerns it"
                return Finding(what, False, detail, "alter table … force row level security, or give the table another owner", warning)
    return Finding(what, True, "it may read what is published")


def _read_for_snapshots(capture: Capture, stream: Stream) -> Iterator[tuple[str, list[str]]]:
    yield capture.relation, list(needed(stream))
    if isinstance(stream.owner, Via):
        yield stream.owner.table, [stream.owner.key, stream.owner.owner]


async def _indexes(connection: Connection, capture: Capture, stream: Stream) -> list[Finding]:
    """Whose rows they are is asked at each snapshot, and of a `Via` whenever the other table's row changes hands."""
    if stream.owner is None or capture.several(stream):
        return []
    column = stream.owner.column if isinstance(stream.owner, Via) else stream.owner
    if await connection.fetchval(sql.statement("indexed"), quoted(capture.relation), column):
        return [Finding(f"index on {capture.relation}", True, f"{column} has one, for stream {stream.name}")]
    detail = f"{column} has none, so that the whole table is read for each snapshot of {stream.name}"
    detail += " and for each change of owner" if isinstance(stream.owner, Via) else ""
    return [Finding(f"index on {capture.relation}", False, detail, f"create index on {capture.relation} ({column})", warning=True)]
