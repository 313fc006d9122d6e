"""The script of docs/tail.md, from its very text: each change once, and a loss of history that nobody overlooks."""

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from tests.clients.house import WITHIN, House, house
from tests.support.gateway import token, until
from tests.support.process import ROOT, environment, started
from tests.support.servers import Servers

SCRIPT = "changes.sh"


@pytest.fixture(name="house")
def _house(servers: Servers, tmp_path: Path) -> Iterator[House]:
    """A gateway, and beside it the script with a `rowcast` that it finds."""
    if shutil.which("jq") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("there is no jq here: apt-get install --no-install-recommends jq")
    (text,) = re.findall(rf"^```bash run={SCRIPT}\n(.*?)^```$", (ROOT / "docs" / "tail.md").read_text(), re.MULTILINE | re.DOTALL)
    (tmp_path / SCRIPT).write_text(text)
    program = tmp_path / "rowcast"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gateway "$@"\n')
    program.chmod(0o755)
    with house(servers, tmp_path) as one:
        yield one


def start(one: House) -> "Popen[bytes]":
    """Starts the script."""
    path = f"{one.directory}:{os.environ['PATH']}"
    env = environment(PORT=one.env["PORT"], ROWCAST_TOKEN=token(), PATH=path)
    return one.stack.enter_context(started(["bash", SCRIPT], env, one.directory / "log", cwd=one.directory))


async def stop(process: "Popen[bytes]") -> None:
    """Ends it as a machine that goes down does."""
    os.killpg(process.pid, signal.SIGTERM)
    await until(lambda: process.poll() is not None, WITHIN)


def written(one: House) -> list[dict[str, Any]]:
    """Returns the events that it has appended."""
    path = one.directory / "changes.jsonl"
    return [json.loads(line) for line in path.read_text().split("\n") if line] if path.exists() else []


async def done(one: House) -> None:
    """Waits until it has every change once, in order, and has kept the id of the last one."""
    last = one.directory / "last"
    await until(lambda: len(written(one)) >= len(one.told) and last.exists() and last.read_text().strip() == written(one)[-1]["id"], WITHIN)
    assert [each["data"]["record"]["notes"] for each in written(one)] == one.told


@pytest.mark.timeout(300)
async def test_script(house: House) -> None:
    """It has what was there before its first start, what happens while it runs, and what has happened while it did not, each once."""
    await house.change("before the first start")
    process = start(house)
    await done(house)
    await house.change("while it runs: 日本 \\ \u2028 ")
    await done(house)
    await stop(process)
    await house.change("while it does not")
    start(house)
    await done(house)


@pytest.mark.timeout(300)
async def test_script_without_history(house: House) -> None:
    """Where history is lost it ends with 5, each time anew, until it is told that the state was fetched."""
    await house.change("one")
    process = start(house)
    await done(house)
    await stop(process)
    (house.directory / "last").write_text("zzzz-1")
    for _ in range(2):
        process = start(house)
        await until(lambda process=process: process.poll() is not None, WITHIN)
        assert process.returncode == 5
        assert (house.directory / "last").read_text() == "zzzz-1"
    (house.directory / "after-reset").rename(house.directory / "last")
    await house.change("two")
    start(house)
    await done(house)


@pytest.mark.timeout(300)
async def test_script_with_nothing_in_its_file(house: House) -> None:
    """A file that is empty, as no death of the script leaves it, is a wrong command line, and not a beginning from now."""
    (house.directory / "last").write_text("")
    process = start(house)
    await until(lambda: process.poll() is not None, WITHIN)
    assert process.returncode == 2
