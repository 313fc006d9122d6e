"""`rowcast tail`: follows streams in a terminal or for a script.

- Events go to standard output, and what happens to the connection to standard error, one dim line each.
- A token is never made here, and never shown.
- How it ended is the exit code: 0 by `--count`, or because who reads has seen enough; 1 nothing answers; 2 a wrong command line, or
  what the gateway does not understand; 3 refused; 4 the gateway has closed the stream; 5 history is lost, with `--strict`; 130 Ctrl-C.
"""

import asyncio
import fcntl
import os
import stat
import sys
from collections.abc import Callable
from contextlib import aclosing, suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.text import Text

from gateway import printer
from gateway.cell import printable
from gateway.follow import CONTROL, Event, FollowError, Gap, Wanted, follow
from gateway.grid import Grid
from gateway.settings import Settings, read

CLOSED, LOST = 4, 5
EPILOG = (
    "Exit codes: 0 ended by --count, or by a reader that has seen enough (`| head`) · 1 no gateway answers · 2 the command line is wrong,"
    " or the gateway does not understand the request · 3 refused: token, role, or no such stream · 4 closed by the gateway: the token has"
    " expired or was revoked · 5 history is lost, with --strict · 130 Ctrl-C"
)


class Wrong(FollowError):
    """The command line makes no sense."""

    code = 2


class Output(StrEnum):
    """How events are shown."""

    text = "text"
    table = "table"
    json = "json"


class _Out(Console):
    """Standard output; a reader that has gone is an error here, and not the end of the process."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def tail(
    names: Annotated[list[str], typer.Argument(help="bookings, or several: bookings services", metavar="STREAM")],
    token: Annotated[
        str | None, typer.Option(envvar="ROWCAST_TOKEN", help="Who is listening. As a variable it does not stand in the shell's history.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token; read again before it expires, and at each connect.", dir_okay=False)
    ] = None,
    url: Annotated[str | None, typer.Option(help="Where the gateway is; HOST and PORT otherwise.")] = None,
    since: Annotated[str | None, typer.Option(help="The id to go on after, or `earliest`.")] = None,
    filter: Annotated[list[str], typer.Option(help="status=eq.pending; may be given again, all must hold.")] = [],  # noqa: B006 - typer reads it
    snapshot: Annotated[bool, typer.Option("--snapshot", help="The rows of now first.")] = False,
    format: Annotated[str | None, typer.Option(help="raw, diff, supabase or cloudevents.")] = None,
    output: Annotated[
        Output, typer.Option("--output", "-o", help="text or table for people, json for programs: a line an event.")
    ] = Output.text,
    columns: Annotated[str | None, typer.Option(help="id,status: all that text and table show of a row.")] = None,
    count: Annotated[int | None, typer.Option("--count", "-n", min=1, help="End after so many changes.")] = None,
    control: Annotated[
        bool | None,
        typer.Option("--control/--no-control", help="Show ready, checkpoint, reconnect …; json has those about rows only."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="End when history is lost.")] = False,
) -> None:
    """Follows streams in the terminal; resumes by itself."""
    settings = read()
    wanted = Wanted(
        _address(url, settings),
        ",".join(names),
        _token(token, token_file, settings),
        _query(filter, snapshot, format, output),
        _since(since),
    )
    out = _Out(color_system=_colours(), highlight=False)
    shown = control is not False and (output is not Output.json or bool(control))
    show = _printer(out, output, shown, wanted.streams, columns)
    # On one terminal the events say it already.
    raise SystemExit(asyncio.run(_Tail(show, count, strict, quiet=shown and out.is_terminal).run(wanted)))


def _query(filter: list[str], snapshot: bool, format: str | None, output: Output) -> tuple[tuple[str, str], ...]:
    query = [_condition(each) for each in filter] + ([("snapshot", "1")] if snapshot else [])
    if format or output is not Output.json:
        # What people are shown is made of whole rows.
        query.append(("format", format or "raw"))
    return tuple(query)


def _printer(out: Console, output: Output, control: bool, streams: str, columns: str | None) -> printer.Printer:
    if output is Output.json:
        return printer.Json(out, control)
    width = max(len(name) for name in streams.split(","))
    chosen = [column.strip() for column in columns.split(",")] if columns else []
    return (Grid if output is Output.table else printer.Lines)(out, control, width, chosen)


class _Tail:
    """One run of the command. `quiet` where the events that are shown say already what the connection does."""

    def __init__(self, show: printer.Printer, count: int | None, strict: bool, quiet: bool) -> None:
        self._show, self._count, self._strict, self._quiet = show, count, strict, quiet
        self._connected = self._away = False

    async def run(self, wanted: Wanted) -> int:
        """Follows until there is a reason to end, and returns the exit code. Raises FollowError."""
        following = asyncio.ensure_future(self._follow(wanted))
        _when_nobody_reads(following.cancel)
        try:
            return await following
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
        except BrokenPipeError:
            pass
        # Python would complain of what is still to be written.
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0

    async def _follow(self, wanted: Wanted) -> int:
        async with aclosing(follow(wanted)) as events:
            async for each in events:
                if isinstance(each, Gap):
                    self._lost(each)
                    continue
                self._show.show(each)
                self._note(each)
                if self._strict and each.name == "reset":
                    return LOST
                if self._count is not None and each.name not in CONTROL:
                    self._count -= 1
                    if not self._count:
                        return 0
        return CLOSED

    def _lost(self, gap: Gap) -> None:
        if not self._away:
            say(f"{'connection lost' if self._connected else 'no connection'} ({gap.why}), trying again in {gap.pause_seconds:.1f} s")
        self._away = True

    def _note(self, event: Event) -> None:
        """Says on standard error what those have to know who do not see control events."""
        note = ""
        if event.name == "ready":
            if self._away and event.content.get("status") != "reset":
                note = "resumed, nothing is missing" if event.content.get("status") == "resumed" else "connected"
            self._connected, self._away = True, False
        elif event.name in ("reset", "closed"):
            note = str(printer.control_text(event))
        if note and not self._quiet:
            say(note)


def _when_nobody_reads(do: Callable[[], object]) -> None:
    """Lets something be done when standard output is a pipe whose reader has gone: a write would notice it only at the next event."""
    with suppress(OSError, ValueError):
        number = sys.stdout.fileno()
        if stat.S_ISFIFO(os.fstat(number).st_mode) and fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY:
            loop = asyncio.get_running_loop()
            # The end that is written to becomes readable when the other one is closed, and never else.
            loop.add_reader(number, lambda: (loop.remove_reader(number), do()))


def say(note: str, style: str = "dim") -> None:
    """Writes a line to standard error."""
    err = Console(stderr=True, color_system=_colours(), highlight=False, soft_wrap=True)
    err.print(Text.assemble("rowcast: ", printable(" ".join(note.split())), style=style))


def _colours() -> Literal["auto"] | None:
    return None if os.environ.get("NO_COLOR") else "auto"


def _token(given: str | None, file: Path | None, settings: Settings) -> Callable[[], str]:
    """Returns what returns the newest token. Raises Wrong where there is none."""
    if file is not None:
        read_token = _File(file).read
        read_token()
        return read_token
    if given and given.strip():
        token = _plain("the token", given.strip())
        return lambda: token
    how = "set ROWCAST_TOKEN, or give --token-file"
    if settings.with_local_secret().jwt_secret:
        how += "; `export ROWCAST_TOKEN=$(rowcast token --sub 1 --role customer)` makes one with the secret that is configured here"
    raise Wrong(f"no token: {how}")


class _File:
    """A token in a file that somebody else renews."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = ""

    def read(self) -> str:
        """Returns what is in the file; the last one while it is away or being written. Raises Wrong where there was none yet."""
        try:
            text = self._path.read_text("ascii").strip()
        except (OSError, ValueError) as error:
            if not self._last:
                raise Wrong(f"--token-file {self._path}: {error}") from error
            text = ""
        if not (text or self._last):
            raise Wrong(f"--token-file {self._path}: it is empty")
        self._last = _plain("the token", text) if text else self._last
        return self._last


def _address(url: str | None, settings: Settings) -> str:
    found = url or f"http://{settings.reachable_host}:{settings.port}"
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Wrong(f"--url {found}: write http://host:port or https://host")
    return found


def _since(text: str | None) -> str | None:
    if text is not None and not text.strip():
        # Else a script whose file is empty would begin now, and never know what it has missed.
        raise Wrong("--since is empty: give an id, or `earliest`")
    return text and _plain("--since", text)


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise Wrong(f"--filter {text}: write column=operator.value, such as status=eq.pending")
    return name, value


def _plain(what: str, value: str) -> str:
    """Returns what can stand in a header. Raises Wrong, without showing it."""
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise Wrong(f"{what} has blanks, control characters or letters that it cannot have")
    return value
