"""Writes docs/clients/matrix.md from expected.toml: `python -m tests.clients.matrix --write`."""

import sys

from tests.clients.client import SCENARIOS, Client, clients
from tests.clients.outcome import WORDS
from tests.support.process import ROOT

PAGE = ROOT / "docs" / "clients" / "matrix.md"
_HEADS = {
    "stream": "events",
    "utf8": "UTF-8",
    "large": "200 kB",
    "heartbeats": "heartbeats",
    "reset": "`reset`",
    "restart": "killed",
    "drain": "`reconnect`",
    "expiry": "`closed`",
    "401": "401",
    "429": "429",
}
_TESTED = """\
| column | what was done |
|---|---|
| events | twenty changes |
| UTF-8 | line separators, a byte order mark, combined and outlying characters; every character of several bytes in pieces |
| 200 kB | an event of 200 kB, and one after it |
| heartbeats | half a minute of nothing but heartbeats, at the pace that the gateway comes with, and then an event |
| `reset` | it comes with an id that the gateway does not know: as `Last-Event-ID`, or as `lastEventId` where it can send no header |
| killed | the gateway is killed, a row changes, another gateway starts under its address |
| `reconnect` | the gateway is told to end, and says so; a row changes, and who comes back is led to another one, as by a load balancer |
| `closed` | the token expires, `closed` is said, and the client has no other token |
| 401 | the token is none |
| 429 | the user has as many streams open as they may |
"""


def page() -> str:
    """Returns the text of the page."""
    rows = clients()
    lines = [
        "# What clients do",
        "",
        "Every client here was run against a gateway, with the settings that it comes with (but `httpx` with `timeout=None`), and is run",
        "again by `make test`, which holds it against this table; `python -m tests.clients.matrix --write` writes the page. How to make",
        "each of them do what you want is on the pages beside this one.",
        "",
        f"| client | version | {' | '.join(_HEADS[each] for each in SCENARIOS)} |",
        "|" + "---|" * (len(SCENARIOS) + 2),
        *(_row(each) for each in rows),
        "",
        "Where there is no version it is the one that the machine has.",
        "",
        "## What was done",
        "",
        _TESTED,
        "## What the words mean",
        "",
        "| word | means |",
        "|---|---|",
        *(f"| {word} | {meaning} |" for word, meaning in WORDS.items()),
        "| 401, then … | it comes back with the token that has expired, gets 401, and then … |",
        "",
        "## What to know",
        "",
        *(f"- {each.title}: {each.note}" for each in rows if each.note),
        "",
    ]
    return "\n".join(lines)


def _row(client: Client) -> str:
    return f"| {client.title} | {client.version} | {' | '.join(client.expected[each] for each in SCENARIOS)} |"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(page())
    else:
        sys.stdout.write(page())
