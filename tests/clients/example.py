"""The examples of docs/clients, taken out of the pages: where each is put, how it is started, and what it knows of the changes."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

from tests.support.node import needed, node
from tests.support.process import ROOT, environment, started

PAGES = ROOT / "docs" / "clients"
JS = ROOT / "clients" / "js"
_HERE = Path(__file__).parent
_BLOCK = re.compile(r"^```(\w+) run=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> dict[tuple[str, str], str]:
    """Returns the examples that can run, by page and file name."""
    return {(page.name, name): text for page in sorted(PAGES.glob("*.md")) for _, name, text in _BLOCK.findall(page.read_text())}


def kept(directory: Path) -> list[str]:
    """Returns what an example that keeps rows knows of the first booking."""
    path = directory / "bookings.json"
    rows = json.loads(path.read_text())["rows"] if path.exists() else {}
    return [rows["1"]["notes"]] if "1" in rows else []


def appended(directory: Path) -> list[str]:
    """Returns what a script has appended."""
    path = directory / "bookings.jsonl"
    # JSON's lines end with LF and nothing else.
    return [json.loads(line)["record"]["notes"] for line in path.read_text().split("\n") if line] if path.exists() else []


def printed(directory: Path) -> list[str]:
    """Returns what an example has printed."""
    lines = [line for line in (directory / "log").read_text().split("\n") if line.startswith("UPDATE ")]
    return [json.loads(line.removeprefix("UPDATE "))["notes"] for line in lines]


@dataclass
class Example:
    """One of them: how it is started, and what it knows of the changes."""

    page: str
    name: str
    command: Callable[[], list[str]]
    notes: Callable[[Path], list[str]]
    directory: Path = Path()
    stack: ExitStack = field(default_factory=ExitStack)

    def place(self, directory: Path) -> None:
        """Writes it into a directory of its own."""
        self.directory = directory / self.name
        self.directory.mkdir()
        (self.directory / self.name).write_text(blocks()[self.page, self.name])
        if self.page == "node.md":
            (self.directory / "node_modules").symlink_to(needed(_HERE))
        if self.page == "react-native.md":
            place_react_native(self.directory, self.name)

    def start(self, url: str, token_file: Path) -> Popen[bytes]:
        env = environment(ROWCAST_URL=url, ROWCAST_TOKEN_FILE=str(token_file))
        return self.stack.enter_context(started(self.command(), env, self.directory / "log", cwd=self.directory))

    @property
    def last(self) -> str | None:
        found = self.notes(self.directory)
        return found[-1] if found else None

    def settled(self, changes: int) -> bool:
        """Whether it has done with so many changes: ended before that, it may rightly get the last one again."""
        if self.notes is kept:
            return True  # rows and id are one file
        if self.notes is printed:
            return (self.directory / "log").read_text().count("\nbookings ") == changes
        id, lines = (self.directory / name for name in ("last-id", "bookings.jsonl"))
        return id.stat().st_mtime_ns >= lines.stat().st_mtime_ns

    @property
    def connected(self) -> bool:
        """Whether it has had an event."""
        return any((self.directory / name).exists() for name in ("bookings.json", "last-id"))


STAND_INS = {
    "react-native-sse": """
        import library from "library"; // whose file for `import` Node reads as CommonJS
        export default library.default ?? library;
    """,
    "react-native": "export const AppState = { addEventListener: () => ({ remove() {} }) };",
    "@react-native-async-storage/async-storage": """
        import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
        export default {
          getItem: async () => (existsSync("bookings.json") ? readFileSync("bookings.json", "utf8") : null),
          setItem: async (name, text) => (writeFileSync("bookings.new", text), renameSync("bookings.new", "bookings.json")),
        };
    """,
}
"""What a phone has: React Native, and a place to keep things."""
APP = """
    import { readFileSync } from "node:fs";
    import { JSDOM } from "jsdom";
    import { follow } from "./rowcast.js";
    const gateway = process.env.ROWCAST_URL;
    globalThis.XMLHttpRequest = new JSDOM("", { url: gateway }).window.XMLHttpRequest;
    const getToken = async () => readFileSync(process.env.ROWCAST_TOKEN_FILE, "utf8");
    follow(gateway, getToken, (rows, error) => error && (console.error(error), process.exit(1)));
"""


def place_react_native(directory: Path, name: str) -> None:
    """Makes an app of the example: its types taken away, and Node in place of a phone."""
    packages, compiler = needed(_HERE), needed(JS) / "typescript" / "bin" / "tsc"
    modules = directory / "node_modules"
    for package, text in STAND_INS.items():
        (modules / package).mkdir(parents=True)
        (modules / package / "index.js").write_text(text)
        (modules / package / "package.json").write_text('{"type": "module", "main": "index.js"}')
    (modules / "library").symlink_to(packages / "react-native-sse")
    (modules / "jsdom").symlink_to(packages / "jsdom")
    (directory / "package.json").write_text('{"type": "module"}')
    (directory / "main.mjs").write_text(APP)
    options = ["--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler", "--noCheck"]
    subprocess.run([str(node()), str(compiler), *options, name], cwd=directory, check=True, capture_output=True, timeout=100)


def examples() -> list[Example]:
    return [
        Example("python.md", "bookings.py", lambda: [sys.executable, "bookings.py"], kept),
        Example("curl.md", "bookings.sh", lambda: ["bash", "bookings.sh"], appended),
        Example("node.md", "bookings.mjs", lambda: [str(node()), "bookings.mjs"], kept),
        Example("node.md", "eventsource.mjs", lambda: [str(node()), "eventsource.mjs"], printed),
        Example("react-native.md", "rowcast.ts", lambda: [str(node()), "main.mjs"], kept),
    ]
