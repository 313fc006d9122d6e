"""Whatever a row holds, its writer succeeds, and each format says what `row_to_json` says, digit by digit."""

import itertools
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams import format as formats
from tests.fuzz import declared, value
from tests.fuzz.conftest import examples, few_or_many
from tests.fuzz.ground import SENDER, Ground, request
from tests.support.gateway import token
from tests.support.servers import MAX_BYTES

FORMATS = ("raw", "diff", "supabase", "cloudevents")
_RENDERING = "; ".join(
    f"set {name} = '{value}'"
    for name, value in (
        ("timezone", "UTC"),
        ("intervalstyle", "postgres"),
        ("bytea_output", "hex"),
        ("extra_float_digits", "1"),
        ("datestyle", "ISO, YMD"),
        ("lc_monetary", "C"),
    )
).encode()
"""As docs/protocol.md promises that a row's JSON is."""
_SESSIONS = (
    "set timezone = 'UTC'",
    "set timezone = 'Asia/Kathmandu'; set intervalstyle = 'sql_standard'; set datestyle = 'German'; set bytea_output = 'escape'",
    "set extra_float_digits = -15; set intervalstyle = 'iso_8601'; set datestyle = 'SQL, DMY'",
)
_ids = itertools.count(1)


class Pairs(tuple[tuple[str, Any], ...]):
    """A JSON object as it stands: each member, in order, also one that is there twice."""

    def get(self, name: str) -> Any:
        return dict(self)[name]


def exact(text: str | bytes) -> Any:
    """Reads JSON without losing anything of it: numbers are their text. Raises ValueError for what is none, as NaN is."""
    return json.loads(text, object_pairs_hook=Pairs, parse_int=_Number, parse_float=_Number, parse_constant=_refuse)


class _Number(str):
    """A number's text, which is no string's."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and str.__eq__(self, other)

    __hash__ = str.__hash__


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


class Listener:
    """Somebody who hears of every row in one format."""

    def __init__(self, port: int, format: str) -> None:
        connection = socket.create_connection(("127.0.0.1", port), 30)
        connection.sendall(request("GET", f"/streams/odd?format={format}", f"Authorization: Bearer {token(SENDER, ttl=86_400)}"))
        self._file = connection.makefile("rb")
        connection.close()
        while self._file.readline() != b"\r\n":
            pass
        self.next_data("ready")

    def next_data(self, name: str = "odd") -> str:
        """Returns the data of the next event of a name, passing over others; each is a chunk of its own, or of several."""
        while True:
            size = int(self._file.readline(), 16)
            assert size, "the stream has ended"
            chunk = self._file.read(size + 2).decode()
            for block in chunk.removesuffix("\r\n").split("\n\n"):
                lines = dict(line.partition(": ")[::2] for line in block.split("\n"))
                if lines.get("event") == name:
                    return lines["data"]

    def close(self) -> None:
        self._file.close()


class Rows:
    """A table that is published beside one that is not, a writer, and a listener for each format."""

    def __init__(self, ground: Ground) -> None:
        self._stack = ExitStack()
        url = ground.servers.database_url
        self._plain = self._stack.enter_context(psycopg.connect(url, autocommit=True))
        self._plain.execute(_RENDERING)
        self._writers = [self._stack.enter_context(psycopg.connect(url, autocommit=True)) for _ in _SESSIONS]
        for writer, settings in zip(self._writers, _SESSIONS, strict=True):
            writer.execute(settings)
        self.port = ground.port

    def listen(self) -> dict[str, Listener]:
        found = {format: Listener(self.port, format) for format in FORMATS}
        for each in found.values():
            self._stack.callback(each.close)
        return found

    def close(self) -> None:
        self._stack.close()

    def keep(self, number: int, row: Mapping[str, str]) -> None:
        """Writes a row where nobody listens: only what Postgres takes."""
        fine = {name: text for name, text in row.items() if self._takes(name, text)}
        self._plain.execute("delete from twin where id = %s", (number,))
        places = "".join(f", %s::text::{declared.TYPES[name]}" for name in fine)
        names = "".join(f', "{name}"' for name in fine)
        try:
            self._plain.execute(f"insert into twin (id{names}) values (%s{places})".encode(), (number, *fine.values()))
        except psycopg.Error:
            # The generated column has its own opinion of a number.
            self._plain.execute("insert into twin (id) values (%s)", (number,))

    def _takes(self, name: str, text: str) -> bool:
        try:
            self._plain.execute(f"select %s::text::{declared.TYPES[name]}".encode(), (text,))
        except psycopg.Error:
            return False
        return True

    def told(self, number: int) -> str:
        """Returns what Postgres says of the row, in a session that renders as is promised."""
        columns = ", ".join(f'"{name}"' for name in declared.COLUMNS)
        row = self._plain.execute(
            f"select row_to_json(t)::text from (select {columns} from twin where id = %s) t".encode(), (number,)
        ).fetchone()
        assert row is not None
        return str(row[0])

    def write(self, number: int, op: str, session: int) -> None:
        """Does it to the published table, with whatever the other one has: never fails."""
        columns = ", ".join(f'"{name}"' for name in declared.COLUMNS if name != "doubled")
        statement = {
            "INSERT": f"insert into odd ({columns}) select {columns} from twin where id = %s",
            "UPDATE": f"update odd set ({columns}) = (select {columns} from twin t where t.id = odd.id) where id = %s",
            "DELETE": "delete from odd where id = %s",
        }[op].encode()
        assert self._writers[session].execute(statement, (number,)).rowcount == 1


@pytest.fixture
def rows(field: Ground) -> Iterator[Rows]:
    made = Rows(field)
    yield made
    made.close()


def agree(data: Mapping[str, str], op: str, new: str | None, old: str | None) -> None:
    """Holds what each format says against the row after and before, as Postgres told them."""
    raw, diff, supabase, event = (exact(data[format]) for format in FORMATS)
    after, before = (exact(text) if text is not None else None for text in (new, old))
    if "truncated" in dict(raw):
        assert max(len(new or ""), len(old or "")) > MAX_BYTES // 2, "it was not too large"
        return
    assert (raw.get("type"), raw.get("record"), raw.get("old_record")) == (op, after, before)
    assert [dict(column)["name"] for column in raw.get("columns")] == list(declared.COLUMNS)
    assert (supabase.get("eventType"), supabase.get("new"), supabase.get("old")) == (op, after or Pairs(), before or Pairs())
    assert (event.get("type"), event.get("data")) == (f"rowcast.odd.{op.lower()}", raw)
    assert diff.get("type") == op
    row = after or before
    assert row is not None
    assert diff.get("id") == row.get("id")
    if op == "INSERT":
        assert {name: each for name, each in diff if name in declared.COLUMNS} == dict(row)
    if op == "UPDATE":
        assert after is not None
        assert before is not None
        texts = [formats.members(text or "") for text in (new, old)]
        assert {name: dict(each) for name, each in diff.get("changes")} == {
            name: {"old": before.get(name), "new": each} for name, each in after if texts[0][name] != texts[1][name]
        }


def tell(rows: Rows, count: int, most: int = 8, shrink: bool = True) -> None:
    """Writes any rows, and hears of them in each format."""
    listeners = rows.listen()

    @examples(count, shrink)
    @given(value.rows(most), value.rows(most), st.integers(0, len(_SESSIONS) - 1))
    def write(first: dict[str, str], second: dict[str, str], session: int) -> None:
        number = next(_ids)
        states: list[str | None] = [None]
        for op, row in (("INSERT", first), ("UPDATE", second), ("DELETE", None)):
            if row is not None:
                rows.keep(number, row)
            states.append(rows.told(number) if row is not None else None)
            rows.write(number, op, session)
            data = {format: listener.next_data() for format, listener in listeners.items()}
            agree(data, op, states[-1], states[-2])

    write()


@few_or_many(15, 300)
def test_any_row(rows: Rows, count: int) -> None:
    """A row of any values arrives in each format as Postgres would write it, whatever the writer's session."""
    tell(rows, count)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_any_whole_row(rows: Rows) -> None:
    """Rows of which every column has a value arrive so too."""
    tell(rows, 60, most=len(value.VALUES))


def test_control_a_digit_is_seen(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were a number only as good as a float, it would be found out."""
    told = Rows.told
    monkeypatch.setattr(Rows, "told", lambda self, number: json.dumps(json.loads(told(self, number), parse_int=float)))
    with pytest.raises(AssertionError):
        tell(rows, 20, shrink=False)
