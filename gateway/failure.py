"""What goes wrong in a command: one line on stderr and an exit code, never a traceback.

- Errors become lines here and nowhere else; one that nobody expected is a defect, and keeps its traceback.
- 1 is an error, 2 is a wrong command line, 130 is Ctrl-C; others are `tail`'s.
- No line shows a password.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import asyncpg
import typer
from redis.exceptions import RedisError
from rich.console import Console

from auth.token import TokenError
from gateway.bridge.bridge import NotMigrated
from gateway.bridge.listener import PostgresUnreachable
from gateway.cell import printable
from gateway.datadir import EmbeddedError
from gateway.follow import FollowError
from gateway.migrator import MigrateError
from gateway.runner import RunError
from gateway.schema import SchemaError
from gateway.settings import SettingsError
from streams.stream import DeclarationError

_err = Console(stderr=True, highlight=False, soft_wrap=True)

_EXPECTED = (
    SettingsError,
    DeclarationError,
    MigrateError,
    SchemaError,
    EmbeddedError,
    TokenError,
    RunError,
)
"""Those whose text is the line."""


@contextmanager
def told() -> Iterator[None]:
    """Ends the process with a line and an exit code when an expected error comes out of its body."""
    try:
        yield
    except typer.exceptions.TyperException as error:
        _fail(f"{_usage(error)}: `rowcast --help` lists what there is", 2)
    except typer.Abort:
        raise SystemExit(130) from None
    except FollowError as error:
        _fail(str(error), error.code)
    except _EXPECTED as error:
        _fail(str(error))
    except NotMigrated:
        _fail("the database has no Rowcast schema: run `rowcast migrate`")
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        _fail(f"Postgres: {error}")
    except RedisError as error:
        _fail(f"Redis: {error}")
    except PostgresUnreachable as error:
        _fail(f"Postgres cannot be reached, check DATABASE_URL: {error.__cause__}")
    except (OSError, TimeoutError) as error:
        _fail(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def _usage(error: typer.exceptions.TyperException) -> str:
    format_message = getattr(error, "format_message", None)
    return str(format_message() if format_message else error).rstrip(".")


def _fail(message: str, code: int = 1) -> NoReturn:
    _err.print("[red]rowcast:[/red] ", end="")
    _err.print(printable(" ".join(message.split())), markup=False, emoji=False)
    raise SystemExit(code)
