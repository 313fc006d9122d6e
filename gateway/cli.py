"""The command line: `rowcast …`. Each command reads the settings, does its work, and prints what came of it."""

import asyncio
import importlib.metadata
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Annotated, Any

import typer
from redis.asyncio import Redis
from rich.console import Console

import sql
from auth.revocation import Revocation, RevocationError, Revocations
from auth.token import ROLES, sign
from gateway import address, demo, doctor, embedded, failure, garbage, log, migrator, runner, schema, sentinel, tail, wire
from gateway.bridge.bridge import Bridge, run_until
from gateway.bridge.listener import connect
from gateway.migrator import Plan
from gateway.settings import Settings, SettingsError, duration, read
from streams.catalog import load
from streams.stream import EVERY_TABLE, Stream, Via

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Server-Sent Events from Postgres.")
out = Console(highlight=False, soft_wrap=True)


def main() -> None:
    """Runs the command line; what goes wrong is told as `failure` says."""
    # As `python -m gateway` has it: a module of declarations that lies here is found.
    sys.path.insert(0, "")
    with failure.told():
        raise SystemExit(app(args=sys.argv[1:] or ["--help"], standalone_mode=False) or 0)


def _configured(**overrides: Any) -> Settings:
    """Reads the settings, and writes the log as they say; an override of None is none."""
    settings = read(**{name: value for name, value in overrides.items() if value is not None})
    log.configure(settings.log_level)
    return settings


async def _until_signal(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await work(stop)


@app.command()
def run(
    port: Annotated[int | None, typer.Option(help="Where the web process listens; PORT, or 8000.")] = None,
    host: Annotated[str | None, typer.Option(help="On which address.")] = None,
) -> None:
    """Everything in one command: embedded servers where no address is set, migrate, bridge, web."""
    raise SystemExit(runner.run(_configured(port=port, host=host), out))


@app.command()
def web(
    workers: Annotated[int, typer.Option(min=1, help="Web processes that share the port.")] = 1,
    port: Annotated[int | None, typer.Option(help="PORT, or 8000.")] = None,
    host: Annotated[str | None, typer.Option(help="HOST, or 127.0.0.1.")] = None,
) -> None:
    """Holds the streams."""
    from gateway.http.server import serve  # noqa: PLC0415 - uvicorn and Starlette are not needed by the other commands

    settings = address.find(_configured(port=port, host=host))
    database_url, _ = address.require(settings, "DATABASE_URL", "REDIS_URL")
    settings.keys()
    asyncio.run(schema.check_soon(database_url))
    serve(settings, workers)


@app.command()
def bridge() -> None:
    """Carries changes from Postgres to Redis; one is active, others stand by."""
    settings = address.find(_configured())
    database_url, redis_url = address.require(settings, "DATABASE_URL", "REDIS_URL")
    each = Bridge(database_url, redis_url, notify=settings.notify, keep=settings.retention, log_entries=settings.backlog_entries)
    garbage.collect_rarely()
    runner.loop(_until_signal(lambda stop: run_until(each, stop)))


@app.command()
def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    examples: Annotated[bool, typer.Option("--examples", help="Install the example tables with their data too.")] = False,
) -> None:
    """Installs or updates schema, functions and triggers; prints what it changed."""
    settings = address.find(_configured())
    (database_url,) = address.require(settings, "DATABASE_URL")

    async def work() -> list[str]:
        connection = await connect(database_url, "migrate")
        try:
            return await migrator.migrate(connection, Plan.of(settings, load(settings.streams)), examples=examples, dry_run=dry_run)
        finally:
            await connection.close()

    changed = asyncio.run(work())
    for line in changed:
        out.print(f"{'would change' if dry_run else 'changed'}: {line}")
    if not changed:
        out.print("nothing to change")


@app.command()
def env() -> None:
    """Prints the addresses of the embedded servers that run here, for `eval "$(rowcast env)"`."""
    settings = read()
    servers = embedded.running(settings.data_dir)
    if servers is None:
        raise SettingsError(f"no embedded servers are running in {settings.data_dir}: start `rowcast run`")
    for name, value in (("DATABASE_URL", servers.database_url), ("REDIS_URL", servers.redis_url)):
        if value:
            sys.stdout.write(f"export {name}='{value}'\n")


@app.command()
def token(
    sub: Annotated[str, typer.Option(help="The user's id.")],
    role: Annotated[list[str], typer.Option(help="customer, provider or admin; may be given again.")] = [],  # noqa: B006 - typer reads it
    ttl: Annotated[str, typer.Option(help="How long it is valid: 90s, 15m, 1h, 7d.")] = "1h",
    claim: Annotated[list[str], typer.Option(help="name=value, a further claim; may be given again.")] = [],  # noqa: B006 - typer reads it
) -> None:
    """Prints a token signed with the configured secret."""
    settings = read().with_local_secret()
    if unknown := set(role) - ROLES:
        raise SettingsError(f"--role {min(unknown)}: there is customer, provider and admin")
    now = int(time.time())
    try:
        claims: dict[str, Any] = {"sub": sub, "iat": now, "exp": now + int(duration(ttl).total_seconds())}
    except ValueError as error:
        raise SettingsError(f"--ttl: {error}") from error
    claims |= {"role": role[0]} if len(role) == 1 else {"roles": role} if role else {}
    claims |= settings.own_claims
    for each in claim:
        name, equals, value = each.partition("=")
        if not equals:
            raise SettingsError(f"--claim {each}: write name=value")
        claims[name] = value
    sys.stdout.write(sign(settings.key(), claims) + "\n")


@app.command()
def revoke(
    sub: Annotated[str | None, typer.Option(help="All tokens of this user that were issued up to now.")] = None,
    jti: Annotated[str | None, typer.Option(help="The one token with this id.")] = None,
    issued_before: Annotated[float | None, typer.Option(help="With --sub: issued up to then, in seconds since 1970.")] = None,
) -> None:
    """Revokes tokens in all web processes: open streams end within a second, and the tokens are refused from then on."""
    settings = address.find(_configured())
    (redis_url,) = address.require(settings, "REDIS_URL")
    asked = {name: value for name, value in (("sub", sub), ("jti", jti), ("issued_before", issued_before)) if value is not None}
    try:
        revocation = Revocation.read(asked, settings.max_token_lifetime.total_seconds())
    except RevocationError as error:
        raise SettingsError(str(error)) from error
    asyncio.run(_revoke(redis_url, revocation))
    out.print(f"revoked: {'the token ' + jti if jti else f'the tokens of {sub}'}", markup=False)


async def _revoke(redis_url: str, revocation: Revocation) -> None:
    async with Redis.from_pool(sentinel.pool(redis_url, socket_timeout=5, socket_connect_timeout=5)) as redis:
        await Revocations(redis, wire.CONTROL).add(revocation)


@app.command()
def streams(as_sql: Annotated[bool, typer.Option("--sql", help="Print what migrate would install.")] = False) -> None:
    """Lists the declared streams."""
    settings = address.find(_configured())
    catalog = load(settings.streams)
    if as_sql:
        sys.stdout.write(asyncio.run(_captures_sql(settings)))
        return
    for stream in catalog.values():
        table = "every published table" if stream.table == EVERY_TABLE else stream.table
        out.print(f"[bold]{stream.name}[/bold]  {table}, for {_whom(stream)}")
        for what, said in _about(stream):
            out.print(f"    {what:<8} {said}", markup=False)


def _whom(stream: Stream) -> str:
    if not stream.roles:
        return "any user"
    return " or ".join(sorted(stream.roles)) + (f"; for others where {stream.others}" if stream.others else "")


def _about(stream: Stream) -> Iterator[tuple[str, str]]:
    """Yields what is to be said of a stream, and how it is called."""
    match stream.owner:
        case None:
            owner = ""
        case Via() as via:
            owner = f"  (owner: {via.owner} of the {via.table} whose {via.key} is {via.column})"
        case str(column):
            owner = f"  (owner: {column})"
    yield "channel", stream.channel + owner
    if stream.columns:
        yield "columns", ", ".join(stream.columns)
    if stream.filters:
        yield "filters", ", ".join(f"{column} ({kind})" for column, kind in stream.filters.items())
    events = dict.fromkeys(stream.event(operation) for operation in ("INSERT", "UPDATE", "DELETE"))
    yield "events", f"{', '.join(events)}  (format: {stream.format})"
    if stream.rls or stream.latest_only:
        yield "besides", ", ".join(name for name, on in (("rls", stream.rls), ("latest_only", stream.latest_only)) if on)


async def _captures_sql(settings: Settings) -> str:
    (database_url,) = address.require(settings, "DATABASE_URL")
    connection = await connect(database_url, "streams")
    try:
        found = await migrator.captures(connection, Plan.of(settings, load(settings.streams)))
        first = await migrator.next_shape(connection)
    finally:
        await connection.close()
    return sql.functions() + "\n" + "\n".join(capture.statements(shape) for shape, capture in enumerate(found, first))


app.command(epilog=tail.EPILOG)(tail.tail)


@app.command(name="doctor")
def doctor_command() -> None:
    """Checks key, Redis, Postgres, pooler, triggers and clocks; says how to mend what is wrong."""
    settings = address.find(_configured()).with_local_secret()

    async def work() -> bool:
        well = True
        async for finding in doctor.examine(settings):
            mark = "[green]ok[/green]  " if finding.well else "[yellow]warn[/yellow]" if finding.warning else "[red]bad[/red] "
            out.print(f"{mark} {finding.what}: {finding.detail}" + (f" → {finding.mend}" if not finding.well else ""))
            well = well and (finding.well or finding.warning)
        return well

    if not asyncio.run(work()):
        raise SystemExit(1)


@app.command(hidden=True, name="demo")
def demo_command() -> None:
    """Changes the example tables about once a second."""
    (database_url,) = address.require(address.find(_configured()), "DATABASE_URL")
    asyncio.run(demo.run(database_url))


def _version(show: bool) -> None:
    if show:
        sys.stdout.write(f"rowcast {importlib.metadata.version('rowcast')}\n")
        raise typer.Exit


@app.callback()
def _root(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False) -> None:
    pass
