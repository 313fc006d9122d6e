"""The command line as a user meets it: what it prints, and that an error is one line that says what to do."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from socket import create_server
from subprocess import PIPE, CompletedProcess, Popen

import pytest

from gateway.migrator import Plan, in_place, migrate
from gateway.settings import read
from streams.catalog import Catalog
from tests.auth.pem import public_pem
from tests.sql.published import declare
from tests.support.gateway import SECRET
from tests.support.process import environment
from tests.support.servers import MAX_BYTES, Servers, fresh

PASSWORD = "canary-password"
NOWHERE = f"postgresql://u:{PASSWORD}@127.0.0.1:1/d"
NO_REDIS = f"redis://:{PASSWORD}@127.0.0.1:1"
BROKEN = {
    "broken.py": "def broken(:",
    "failing.py": "1 / 0",
    "shop.py": "from streams.stream import Stream\nx = Stream('orders', 'public.orders', ('id',), 'orders-changes')\n",
    "wrong.py": "from streams.stream import Stream\nx = Stream('x', 'x', (), 'x')\n",
}


@dataclass(frozen=True)
class Case:
    """A command that cannot succeed, and what its one line names."""

    args: str
    named: str
    env: dict[str, str] = field(default_factory=dict)
    database: bool = False
    """Has the addresses of servers whose database is empty."""


ERRORS = {
    "port is no number": Case("web", "PORT", {"PORT": "abc"}),
    "port out of range": Case("web", "PORT", {"PORT": "70000"}),
    "heartbeat": Case("web", "ROWCAST_HEARTBEAT", {"ROWCAST_HEARTBEAT": "soon"}),
    "web without addresses": Case("web", "DATABASE_URL"),
    "bridge without addresses": Case("bridge", "DATABASE_URL"),
    "bridge without Redis": Case("bridge", "REDIS_URL", {"DATABASE_URL": NOWHERE}),
    "migrate without address": Case("migrate", "DATABASE_URL"),
    "env without servers": Case("env", "rowcast run"),
    "Postgres not there": Case("migrate", "Postgres", {"DATABASE_URL": NOWHERE}),
    "no Postgres address": Case("migrate", "postgresql", {"DATABASE_URL": f"mysql://u:{PASSWORD}@127.0.0.1/d"}),
    "odd Postgres port": Case("migrate", "DATABASE_URL", {"DATABASE_URL": f"postgresql://u:{PASSWORD}@127.0.0.1:port/d"}),
    "no Redis address": Case("web", "REDIS_URL", {"DATABASE_URL": NOWHERE, "REDIS_URL": f"http://:{PASSWORD}@127.0.0.1"}),
    "no key": Case("web", "ROWCAST_JWT_SECRET", {"DATABASE_URL": NOWHERE, "REDIS_URL": NO_REDIS, "ROWCAST_JWT_SECRET": ""}),
    "short secret": Case("web", "ROWCAST_JWT_SECRET", {"DATABASE_URL": NOWHERE, "REDIS_URL": NO_REDIS, "ROWCAST_JWT_SECRET": PASSWORD}),
    "no public key": Case("web", "ROWCAST_JWT_PUBLIC_KEY", {"DATABASE_URL": NOWHERE, "REDIS_URL": NO_REDIS, "ROWCAST_JWT_PUBLIC_KEY": "x"}),
    "foreign algorithm": Case("token --sub 1", "ROWCAST_JWT_ALGORITHMS", {"ROWCAST_JWT_ALGORITHMS": "RS256"}),
    "no JWKS address": Case(
        "web", "ROWCAST_JWKS_URL", {"DATABASE_URL": NOWHERE, "REDIS_URL": NO_REDIS, "ROWCAST_JWKS_URL": "http://a.example"}
    ),
    "revoke nothing": Case("revoke", "sub or jti", {"REDIS_URL": NO_REDIS}),
    "revoke both": Case("revoke --sub 1 --jti 2", "either", {"REDIS_URL": NO_REDIS}),
    "revoke what is to come": Case("revoke --sub 1 --issued-before 99999999999", "issued_before", {"REDIS_URL": NO_REDIS}),
    "revoke without Redis": Case("revoke --sub 1", "Redis", {"REDIS_URL": NO_REDIS}),
    "token without a key": Case("token --sub 1", "ROWCAST_JWT_SECRET", {"ROWCAST_JWT_SECRET": ""}),
    "token with a public key": Case("token --sub 1", "public key", {"ROWCAST_JWT_PUBLIC_KEY": public_pem("p256")}),
    "unknown role": Case("token --sub 1 --role king", "king"),
    "odd ttl": Case("token --sub 1 --ttl 5w", "--ttl"),
    "endless ttl": Case("token --sub 1 --ttl 99999999d", "exp"),
    "odd subject": Case("token --sub a\tb", "sub"),
    "odd claim": Case("token --sub 1 --claim x", "--claim"),
    "no subject": Case("token", "--sub"),
    "unknown command": Case("nonsense", "nonsense"),
    "unknown option": Case("migrate --nonsense", "--nonsense"),
    "no streams": Case("streams", "ROWCAST_STREAMS=nonesuch", {"ROWCAST_STREAMS": "nonesuch"}),
    "broken streams": Case("streams", "ROWCAST_STREAMS=broken", {"ROWCAST_STREAMS": "broken"}),
    "failing streams": Case("streams", "ROWCAST_STREAMS=failing", {"ROWCAST_STREAMS": "failing"}),
    "wrong stream": Case("streams", "stream x", {"ROWCAST_STREAMS": "wrong"}),
    "data directory": Case("run", "/proc/nonesuch", {"ROWCAST_DATA_DIR": "/proc/nonesuch"}),
    "bridge without schema": Case("bridge", "rowcast migrate", database=True),
    "missing table": Case("migrate", "public.availability", database=True),
    "streams of a missing table": Case("streams --sql", "public.availability", database=True),
    "port in use": Case("web", "PORT", {"PORT": "taken"}, database=True),
}


@pytest.fixture(scope="module")
def bare(run_servers: Servers) -> Iterator[Servers]:
    """A database in which nothing was ever installed."""
    with fresh(run_servers, "template0") as each:
        yield each


FORKS = """
import json, os, signal, sys
import gateway.cli, gateway.http.server
for line in sys.stdin:
    case = json.loads(line)
    child = os.fork()
    if not child:
        signal.alarm(60)
        os.chdir(case["cwd"])
        os.environ.clear()
        os.environ.update(case["env"])
        sys.argv = ["rowcast", *case["args"]]
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(case[name], os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
gateway.cli.main()
"""
"""Runs commands as processes of their own that share the imports: a second each otherwise."""

Rowcast = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="module")
def forked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rowcast]:
    """Runs a command to its end in a directory that has nothing of ours but declarations that do not work."""
    cwd, output = tmp_path_factory.mktemp("cwd"), tmp_path_factory.mktemp("output")
    for name, text in BROKEN.items():
        (cwd / name).write_text(text)
    with Popen([sys.executable, "-c", FORKS], env=environment(), stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(*args: str, env: Mapping[str, str]) -> CompletedProcess[str]:
            assert process.stdin is not None
            assert process.stdout is not None
            case = {"args": args, "env": dict(env), "cwd": str(cwd), "out": str(output / "out"), "err": str(output / "err")}
            process.stdin.write(json.dumps(case) + "\n")
            process.stdin.flush()
            code = int(process.stdout.readline())
            return CompletedProcess(args, code, (output / "out").read_text(), (output / "err").read_text())

        yield run
        process.stdin.close()


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_one_line(forked: Rowcast, bare: Servers, name: str) -> None:
    """An error is one line on stderr that names what is wrong, with an exit code, no traceback and no password."""
    case = ERRORS[name]
    with create_server(("127.0.0.1", 0)) as taken:
        port = {"PORT": str(taken.getsockname()[1])} if case.env.get("PORT") == "taken" else {}
        outcome = forked(*case.args.split(" "), env=environment(bare if case.database else None, **case.env | port))
    assert outcome.returncode > 0
    assert "Traceback" not in outcome.stderr
    assert PASSWORD not in outcome.stderr + outcome.stdout
    (line,) = [line for line in outcome.stderr.splitlines() if not line.startswith('{"')]  # but for the log
    assert case.named in line
    assert outcome.stdout == "" or outcome.stdout.startswith("starting embedded servers")


def test_token_verifies(forked: Rowcast) -> None:
    """What `rowcast token` prints is one token, which a verifier of the same settings takes for what was asked."""
    env = environment(None, ROWCAST_JWT_ISSUER="https://i.example", ROWCAST_JWT_AUDIENCE="rowcast")
    args = ("--sub", "42", "--role", "provider", "--role", "admin", "--ttl", "15m", "--claim", "provider_id=9")
    outcome = forked("token", *args, env=env)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    settings = read(jwt_secret=SECRET, jwt_issuer="https://i.example", jwt_audience="rowcast")
    principal = settings.verifier().verify(outcome.stdout.removesuffix("\n"))
    assert (principal.subject, principal.roles, principal.provider_id) == ("42", frozenset({"provider", "admin"}), "9")


def test_streams_are_listed(forked: Rowcast) -> None:
    """`rowcast streams` shows each declared stream with its table, owner, roles and columns, and asks no server."""
    outcome = forked("streams", env=environment())
    assert (outcome.returncode, outcome.stderr) == (0, "")
    for what in ("bookings", "public.bookings", "customer_id", "provider-bookings", "provider_id", "services", "any user", "notes"):
        assert what in outcome.stdout
    for what in ("every published table", "status (text)", "admin; for others where public=is.true", "property-deleted  (format: diff)"):
        assert what in outcome.stdout
    assert "owner: customer_id of the public.bookings whose id is booking_id" in outcome.stdout


def test_own_streams_are_found_where_one_is(forked: Rowcast) -> None:
    """A module of declarations in the directory in which `rowcast` is called needs no PYTHONPATH."""
    outcome = forked("streams", env=environment(ROWCAST_STREAMS="shop"))
    assert (outcome.returncode, outcome.stderr) == (0, "")
    assert "orders" in outcome.stdout


def test_migrate(forked: Rowcast, bare: Servers) -> None:
    """`rowcast migrate` says what it would change, says what it changed, and the second time that there is nothing to change."""
    env = environment(bare)
    would = forked("migrate", "--dry-run", "--examples", env=env)
    first = forked("migrate", "--examples", env=env)
    second = forked("migrate", env=env)
    assert [each.returncode for each in (would, first, second)] == [0, 0, 0]
    assert "changed: trigger on public.bookings" in first.stdout
    assert [line.split(" epoch ")[0] for line in would.stdout.splitlines()] == [
        "would change" + line.removeprefix("changed").split(" epoch ")[0] for line in first.stdout.splitlines()
    ]
    assert second.stdout == "nothing to change\n"


async def test_sql_of_streams(forked: Rowcast, servers: Servers) -> None:
    """`rowcast streams --sql` prints what migrate would install: text that Postgres accepts where nothing of it is installed."""
    connection = await servers.connect()
    try:
        await migrate(connection, Plan(Catalog([declare("public.users", "id name")]), "armed", MAX_BYTES))
        outcome = forked("streams", "--sql", env=environment(servers))
        assert (outcome.returncode, outcome.stderr) == (0, "")
        await connection.execute(f"begin; {outcome.stdout}; commit")
        assert await in_place(connection, "public.bookings")
        assert await in_place(connection, "public.services")
    finally:
        connection.terminate()


def test_doctor_finds_nothing(forked: Rowcast, servers: Servers) -> None:
    """Where all is well the doctor says so of each thing, and exits 0."""
    outcome = forked("doctor", env=environment(servers))
    assert outcome.returncode == 0, outcome.stdout
    for what in ("key", "redis", "postgres", "pooler", "clocks", "trigger on public.bookings", "trigger on public.services"):
        assert re.search(rf"(?m)^ok +{what}: ", outcome.stdout), outcome.stdout
    assert "bad" not in outcome.stdout


OPINIONS = {
    "no role": ("", {"ROWCAST_RLS_ROLE": "nonesuch"}, "row-level security as nonesuch", "ROWCAST_RLS_ROLE"),
    "role past policies": ("", {"ROWCAST_RLS_ROLE": "postgres"}, "no policy concerns it", "BYPASSRLS"),
    "column unreadable": ("revoke select on payments from authenticated", {}, "public.payments", "grant"),
    "owner's column unreadable": (
        "revoke select on bookings from authenticated;"
        "grant select (id, provider_id, service_id, booking_date, start_time, end_time, status, notes, created_at, updated_at)"
        " on bookings to authenticated",
        {},
        "customer_id of public.bookings",
        "grant",
    ),
    "table is the role's": (
        "grant create on schema public to authenticated; alter table services owner to authenticated, no force row level security",
        {},
        "belongs to it",
        "force row level security",
    ),
    "issuer": ("", {"ROWCAST_JWT_AUDIENCE": "rowcast"}, "issuer and audience", "ROWCAST_JWT_ISSUER"),
    "dull secret": ("", {"ROWCAST_JWT_SECRET": "abc" * 20}, "only 3 different", "openssl"),
    "query tokens": ("", {"ROWCAST_QUERY_TOKENS": "1"}, "query tokens", "ROWCAST_QUERY_TOKENS"),
    "any origin": ("", {"ROWCAST_CORS_ORIGINS": "*"}, "CORS", "ROWCAST_CORS_ORIGINS"),
    "no limits": ("", {"ROWCAST_CONNECTIONS_PER_USER": "0"}, "limits", "ROWCAST_CONNECTIONS_PER_USER"),
    "no index for a Via": (
        "drop index payments_booking_id_idx",
        {},
        "each change of owner",
        "create index on public.payments (booking_id)",
    ),
    "no index of an owner": ("drop index notifications_user_id_idx", {}, "notifications", "create index on public.notifications (user_id)"),
}


async def _damage(servers: Servers, statement: str) -> None:
    if statement:
        connection = await servers.connect()
        await connection.execute(statement)
        await connection.close()


@pytest.mark.parametrize("name", OPINIONS)
async def test_doctor_warns(forked: Rowcast, patient: Servers, name: str) -> None:
    """What only snapshots suffer from is a warning with how to mend it, and the exit code stays 0."""
    statement, env, what, mend = OPINIONS[name]
    await _damage(patient, statement)
    checked = {"ROWCAST_JWT_ISSUER": "us", "ROWCAST_JWT_AUDIENCE": "rowcast"} if name != "issuer" else {}
    outcome = forked("doctor", env=environment(patient, **checked | env))
    assert (outcome.returncode, outcome.stderr) == (0, ""), outcome.stdout
    (line,) = [line for line in outcome.stdout.splitlines() if line.startswith("warn")]
    assert what in line
    assert mend in line.partition("→")[2]


DAMAGES = {
    "disabled trigger": ('alter table bookings disable trigger "00_rowcast_capture"', {}, "trigger on public.bookings", "rowcast migrate"),
    "no schema": ("drop schema rowcast cascade", {}, "schema", "rowcast migrate"),
    "no table": ("drop table bookings cascade", {}, "public.bookings", "table"),
    "older declaration": ("alter table services alter duration_minutes type bigint", {}, "trigger on public.services", "rowcast migrate"),
    "no key": ("", {"ROWCAST_JWT_SECRET": ""}, "key", "ROWCAST_JWT_SECRET"),
    "no JWKS": ("", {"ROWCAST_JWKS_URL": "http://127.0.0.1:1/keys"}, "key", "answers"),
    "no Redis": ("", {"REDIS_URL": NO_REDIS}, "redis", "REDIS_URL"),
    "no Postgres": ("", {"DATABASE_URL": NOWHERE}, "postgres", "DATABASE_URL"),
    "odd Redis": ("", {"REDIS_URL": "http://x"}, "redis", "REDIS_URL"),
    "odd Postgres": ("", {"DATABASE_URL": "postgresql://127.0.0.1:port/d"}, "postgres", "DATABASE_URL"),
}


@pytest.fixture(scope="module")
def whole(run_servers: Servers) -> Iterator[Servers]:
    """A database in which nothing is wrong."""
    with fresh(run_servers) as each:
        yield each


@pytest.fixture
def patient(request: pytest.FixtureRequest, name: str) -> Servers:
    """A database of the test's own, where it does something to it."""
    servers: Servers = request.getfixturevalue("servers" if (DAMAGES | OPINIONS)[name][0] else "whole")
    return servers


@pytest.mark.parametrize("name", DAMAGES)
async def test_doctor_finds(forked: Rowcast, patient: Servers, name: str) -> None:
    """What is wrong is said in one line with how to mend it, the rest is looked at all the same, and the exit code is 1."""
    statement, env, what, mend = DAMAGES[name]
    await _damage(patient, statement)
    outcome = forked("doctor", env=environment(patient, **env))
    assert outcome.returncode == 1
    assert outcome.stderr == "" or name == "no JWKS", "fetching keys says in the log what went wrong"
    (line,) = [line for line in outcome.stdout.splitlines() if line.startswith("bad")]
    assert what in line
    assert mend in line.partition(":")[2]
    assert PASSWORD not in outcome.stdout
    assert len([line for line in outcome.stdout.splitlines() if line.startswith("ok")]) >= 2
