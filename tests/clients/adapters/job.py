"""What every Python client is asked to do, and how it says what it gets: a line of JSON each, as host.mjs describes them."""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Say = Callable[..., None]
_turn = threading.Lock()


@dataclass(frozen=True)
class Job:
    """A stream to listen to; `lastEventId` null begins now."""

    run: int
    client: str
    url: str
    token: str
    lastEventId: str | None  # noqa: N815 - as it stands in the line
    profile: str
    names: tuple[str, ...]

    @staticmethod
    def read(line: str) -> "Job":
        return Job(**json.loads(line))

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} | ({"Last-Event-ID": self.lastEventId} if self.lastEventId is not None else {})

    def say(self, **said: Any) -> None:
        """Writes a line, whole, whichever thread it comes from."""
        write({"run": self.run, **said})

    def event(self, id: str | None, name: str | None, data: str) -> None:
        """Says what an event is to the client."""
        self.say(event={"id": id or "", "name": name or "message", "data": data})


def write(line: Mapping[str, Any]) -> None:
    """Writes one line."""
    with _turn:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
