"""`rowcast tail` as people and scripts call it: what it prints, that it resumes, and how it ends."""

import asyncio
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway import cli
from tests.support.gateway import Web, gateway, token, until
from tests.support.process import environment
from tests.support.servers import Servers

WITHIN = 60
"""Seconds: a process that starts on a busy machine takes its time."""
Alone = Callable[..., tuple[int, list[str]]]


@dataclass
class Tail:
    """A running `rowcast tail`, and what it has written so far."""

    process: asyncio.subprocess.Process
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)

    @property
    def lines(self) -> list[str]:
        return self.out.decode().splitlines()

    async def has(self, text: str, count: int = 1) -> None:
        """Waits until it has printed something so often."""
        await until(lambda: self.out.decode(errors="replace").count(text) >= count, WITHIN)

    async def ended(self) -> int:
        async with asyncio.timeout(WITHIN):
            return await self.process.wait()


@dataclass
class House:
    """A gateway, its database, and the tails that follow it."""

    web: Web
    servers: Servers
    directory: Path
    tails: list[Tail]
    readers: list[asyncio.Task[None]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.web.port}"

    async def tail(self, *args: str, **env: str) -> Tail:
        """Starts it as user 1, unless told otherwise, with its output in pipes."""
        given = environment(ROWCAST_TOKEN=token()) | env
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway", "tail", *args, "--url", self.url),
            env={name: value for name, value in given.items() if value},
            cwd=self.directory,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        each = Tail(process)
        self.tails.append(each)
        assert process.stdout is not None
        assert process.stderr is not None
        for stream, kept in ((process.stdout, each.out), (process.stderr, each.err)):
            self.readers.append(asyncio.create_task(self._read(stream, kept)))
        return each

    async def _read(self, stream: asyncio.StreamReader, kept: bytearray) -> None:
        while data := await stream.read(65536):
            kept += data

    async def joined(self, count: int = 1) -> None:
        """Waits until so many have been told where they begin."""
        await until(lambda: sum(each.greeted for each in self.web.hub.roster.subscribers) == count, WITHIN)

    def end(self, reason: str) -> None:
        """Ends all streams."""
        for subscriber in list(self.web.hub.roster.subscribers):
            self.web.hub.end(subscriber, reason, retry_ms=50)

    async def change(self, notes: str, customer: int = 1) -> None:
        connection = await self.servers.connect()
        await connection.execute("update bookings set notes = $1 where customer_id = $2 and id <= 8", notes, customer)
        await connection.close()


@pytest.fixture
async def house(servers: Servers, tmp_path: Path) -> AsyncIterator[House]:
    """A bridge and a web process; tails that still run are ended."""
    async with gateway(servers) as web:
        each = House(web, servers, tmp_path, [], [])
        yield each
        for tail in each.tails:
            with suppress(ProcessLookupError):
                tail.process.kill()
            await tail.process.wait()
        await asyncio.gather(*each.readers)


async def test_json_for_scripts(house: House) -> None:
    """With --count it ends with 0 after so many changes; each line is one event, and control events are not among them."""
    tail = await house.tail("bookings", "--output", "json", "--count", "2")
    await house.joined()
    await house.change("one")
    await house.change("two")
    assert await tail.ended() == 0
    found = [json.loads(line) for line in tail.lines]
    assert [each["data"]["record"]["notes"] for each in found] == ["one", "two"]
    assert [(set(each), each["event"]) for each in found] == [({"id", "event", "data"}, "bookings")] * 2
    assert tail.err == b""


async def test_since(house: House) -> None:
    """--since goes on after an id, in the same order; `earliest` has all that is kept."""
    first = await house.tail("bookings", "--output", "json", "--count", "3")
    await house.joined()
    for notes in ("one", "two", "three"):
        await house.change(notes)
    assert await first.ended() == 0
    ids = [json.loads(line)["id"] for line in first.lines]
    second = await house.tail("bookings", "-o", "json", "-n", "2", "--since", ids[0])
    third = await house.tail("bookings", "-o", "json", "-n", "3", "--since", "earliest")
    assert (await second.ended(), await third.ended()) == (0, 0)
    assert second.lines == first.lines[1:]
    assert third.lines == first.lines


async def test_filter_and_snapshot(house: House) -> None:
    """Filters hold for the rows of the snapshot and for changes; several streams are one connection."""
    tail = await house.tail("bookings", "services", "--snapshot", "--filter", "services.id=in.(1,2)", "--filter", "services.price=lt.90")
    await tail.has("ROW     services")
    await tail.has("ROW     bookings", 2)
    await house.change("after the rows")
    await tail.has('→ "after the rows"')
    assert len([line for line in tail.lines if "ROW     services" in line]) == 1
    assert b"\x1b" not in tail.out


async def test_resumes(house: House) -> None:
    """When its connection is cut it says so, comes back, says so too, and has every change once; --strict has nothing to say of that."""
    tail = await house.tail("bookings", "--no-control", "--strict")
    await house.joined()
    await house.change("one")
    await tail.has("one")
    house.end("max-age")
    await house.change("two")
    await tail.has("two")
    await until(lambda: b"resumed, nothing is missing" in tail.err, WITHIN)
    assert tail.err.decode().splitlines()[0].startswith("rowcast: connection lost (the gateway has ended it: max-age)")
    assert [line.split("→ ")[1] for line in tail.lines] == ["one", "two"]


async def test_history_lost(house: House) -> None:
    """Where history is lost it says so on standard error; with --strict it ends with 5."""
    lenient = await house.tail("bookings", "-o", "json", "--since", "zzzz-1")
    await until(lambda: b"history cannot be completed" in lenient.err, WITHIN)
    assert lenient.process.returncode is None
    strict = await house.tail("bookings", "-o", "json", "--since", "zzzz-1", "--strict")
    assert await strict.ended() == 5


REFUSED = {
    "no such stream": (("nonsense",), 3, "nonsense"),
    "not this role": (("provider-bookings",), 3, "provider"),
    "bad token": (("bookings", "--token", "abc.def.ghi"), 3, "401"),
    "no such column": (("bookings", "--filter", "nonsense=eq.1"), 2, "nonsense"),
    "no such format": (("bookings", "--format", "xml"), 2, "xml"),
}


async def test_refused(house: House) -> None:
    """A refusal ends it at once, with one line that says why, no token in it, and an exit code that says which kind."""
    tails = [(await house.tail(*args), code, reason) for args, code, reason in REFUSED.values()]
    for tail, code, reason in tails:
        assert await tail.ended() == code, reason
        (line,) = tail.err.decode().splitlines()
        assert reason in line
        assert "abc.def.ghi" not in line
        assert tail.out == b""


async def test_closed(house: House, tmp_path: Path) -> None:
    """When its token expires it ends with 4; with a file that has a newer one it goes on, and nothing is missing."""
    file = tmp_path / "token"
    file.write_text(token())
    given = await house.tail("bookings")
    renewed = await house.tail("bookings", "--output", "json", "--token-file", str(file))
    await house.joined(2)
    file.write_text(token(jti="the newer one"))
    house.end("expired")
    assert await given.ended() == 4
    assert "expired" in given.err.decode()
    await house.change("after the end")
    await renewed.has("after the end")
    assert [json.loads(line)["event"] for line in renewed.lines] == ["bookings"]


async def test_nobody_reads(house: House) -> None:
    """A reader that has seen enough ends it with 0 and without a word, though nothing more happens that could be written."""
    tail = await house.tail("bookings")
    read, write = os.pipe()
    piped = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "tail", "bookings", "--url", house.url),
        env=environment(ROWCAST_TOKEN=token()),
        cwd=house.directory,
        stdout=write,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(write)
    try:
        loop = asyncio.get_running_loop()
        assert b"ready" in await loop.run_in_executor(None, os.read, read, 1000)
        assert piped.returncode is None
        os.close(read)
        async with asyncio.timeout(WITHIN):
            _, err = await piped.communicate()
    finally:
        with suppress(ProcessLookupError):
            piped.kill()
    assert err == b""
    assert await piped.wait() == 0
    await tail.has("ready")
    assert tail.process.returncode is None


async def test_interrupted(house: House) -> None:
    """Ctrl-C ends it with 130 and without a word."""
    tail = await house.tail("bookings")
    await tail.has("ready")
    tail.process.send_signal(signal.SIGINT)
    assert await tail.ended() == 130
    assert tail.err == b""


@pytest.mark.parametrize("colour", [True, False])
async def test_on_a_terminal(house: House, colour: bool) -> None:
    """On a terminal there is colour, unless NO_COLOR is set."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    env = environment(ROWCAST_TOKEN=token(), TERM="xterm-256color") | ({} if colour else {"NO_COLOR": "1"})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway", "tail", "bookings", "-n", "1", "--url", house.url),
        env=env,
        cwd=house.directory,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    await house.joined()
    await house.change("in colour")
    async with asyncio.timeout(WITHIN):
        assert await process.wait() == 0
    text = os.read(ours, 100_000).decode()
    os.close(ours)
    assert ("\x1b[33mUPDATE\x1b[0m" in text) is colour
    assert ("\x1b" in text) is colour
    assert '→ "in colour"' in text or colour


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Alone:
    """Runs the command in this process, in an empty directory, and returns its exit code and the lines of its standard error."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("ROWCAST_"):
            monkeypatch.delenv(name)

    def run(*args: str, **env: str) -> tuple[int, list[str]]:
        with monkeypatch.context() as patch:
            for name, value in env.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["rowcast", "tail", "bookings", *args])
            patch.setattr(sys, "path", list(sys.path))
            with pytest.raises(SystemExit) as ended:
                cli.main()
        return int(ended.value.code or 0), capsys.readouterr().err.splitlines()

    return run


WRONG = {
    "no token": ((), "ROWCAST_TOKEN"),
    "token with a blank": (("--token", "canary one"), "the token"),
    "no such file": (("--token-file", "nonesuch"), "nonesuch"),
    "empty file": (("--token-file", "empty"), "empty"),
    "no address": (("--token", "canary", "--url", "nowhere"), "nowhere"),
    "no condition": (("--token", "canary", "--filter", "status"), "status"),
    "odd id": (("--token", "canary", "--since", "a\nb"), "--since"),
    "no id": (("--token", "canary", "--since", ""), "--since"),
    "odd output": (("--token", "canary", "--output", "xml"), "xml"),
    "count of nothing": (("--token", "canary", "--count", "0"), "--count"),
}


@pytest.mark.parametrize("name", WRONG)
def test_before_anything_is_asked(alone: Alone, tmp_path: Path, name: str) -> None:
    """What is wrong with the command line is said in one line, with exit code 2, and without the token."""
    (tmp_path / "empty").write_text("")
    args, reason = WRONG[name]
    code, (line,) = alone(*args)
    assert code == 2
    assert reason in line
    assert "canary" not in line


def test_no_gateway(alone: Alone) -> None:
    """Where no gateway is, it ends with 1 after a few attempts, and says where it has looked."""
    code, lines = alone("--token", "t", "--url", "http://127.0.0.1:1")
    assert code == 1
    assert "http://127.0.0.1:1" in lines[-1]


def test_no_token_is_made(alone: Alone, tmp_path: Path) -> None:
    """Where this directory's own secret could sign a token, it says how to get one; where there is only a public key, it does not."""
    (tmp_path / ".rowcast").mkdir()
    (tmp_path / ".rowcast" / "jwt-secret").write_text("s" * 48)
    code, lines = alone()
    assert (code, len(lines)) == (2, 1)
    assert "rowcast token --sub" in lines[0]
    code, lines = alone(ROWCAST_JWKS_URL="https://i.example/keys")
    assert (code, len(lines)) == (2, 1)
    assert "rowcast token --sub" not in lines[0]
