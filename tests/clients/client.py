"""The clients of the matrix, as expected.toml lists them: what each is, what it needs here, and what it is expected to do."""

import json
import shutil
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from tests.browser.conftest import NAMES as BROWSERS
from tests.support.node import Missing, installed, node

HERE = Path(__file__).parent
ADAPTERS = HERE / "adapters"
SCENARIOS = ("stream", "utf8", "large", "heartbeats", "reset", "restart", "drain", "expiry", "401", "429")


@dataclass(frozen=True)
class Client:
    """One of them. `home` is what it runs in: node, python or browser; `package` is empty for a program of the machine's own."""

    name: str
    title: str
    home: str
    adapter: str
    expected: Mapping[str, str]
    package: str = ""
    note: str = ""
    needs: Sequence[str] = field(default_factory=tuple)

    @property
    def version(self) -> str:
        """The version, which is pinned; empty for what the machine has."""
        if not self.package:
            return ""
        if "node" in self.needs:
            versions: dict[str, str] = json.loads((HERE / "package.json").read_text())["dependencies"]
            return versions[self.package]
        return metadata.version(self.package)

    @property
    def missing(self) -> str:
        """Why it cannot run here; empty if it can."""
        return next((reason for need in self.needs if (reason := _missing(need))), "")

    @property
    def command(self) -> list[str]:
        """What starts its process; several clients may have the same."""
        if self.home == "node":
            return [str(node()), str(ADAPTERS / "host.mjs"), self.adapter]
        if self.home == "python":
            return [sys.executable, "-m", "tests.clients.adapters.host", self.adapter]
        polyfill = HERE / "node_modules" / "event-source-polyfill" / "src" / "eventsource.js"
        return [sys.executable, "-m", "tests.clients.adapters.chromium", browser(), str(polyfill) if polyfill.exists() else ""]


def clients() -> list[Client]:
    """Reads the table."""
    rows = tomllib.loads((HERE / "expected.toml").read_text())
    return [
        Client(name, expected={each: row.pop(each) for each in SCENARIOS}, **row | {"needs": tuple(row.get("needs", ()))})
        for name, row in rows.items()
    ]


def browser() -> str:
    """Returns where the browser is; empty without one."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), "")


def _missing(need: str) -> str:
    if need == "browser":
        return "" if browser() else f"there is no browser here, none of {', '.join(BROWSERS)}"
    if need == "node":
        try:
            installed(HERE)
        except Missing as missing:
            return str(missing)
        return ""
    return "" if shutil.which(need) else f"there is no {need} here"
