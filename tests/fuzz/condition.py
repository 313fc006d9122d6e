"""What stands behind the `?`: PostgREST's syntax, and what a hand or an attacker makes of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from hypothesis import strategies as st

from streams.catalog import load

_CATALOG = load("streams")
_OPEN = ["bookings", "services", "properties", "notifications", "payments", "property-alerts", "system"]
_OPERATORS = ["eq", "neq", "gt", "gte", "lt", "lte", "in", "like", "ilike", "is"]
_GOOD = {
    "numeric": ["0", "-1", "1.50", "9007199254740993", "NaN", "-Infinity", "1e3", "0" * 400],
    "text": ["confirmed", "", "a,b", "Ä", "x" * 1500, "(", '"', "%", "\u2028", "null", "\U0001f600"],
    "bool": ["true", "FALSE"],
    "uuid": ["123e4567-e89b-12d3-a456-426614174000"],
    "date": ["2026-05-04", "infinity"],
    "timestamptz": ["2026-05-04", "2026-05-04T10:00:00Z", "2026-05-04 10:00:00+02", "-infinity"],
}
_ODD = [
    "",
    ".",
    "(",
    ")",
    "()",
    "(,)",
    '("a","b\\"c")',
    '("a)',
    "not.",
    "null",
    "1e9999",
    "1_0",
    "٣",
    "\x00",
    "\x00\x01\x7f",
    "\ud800",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "20260504",
    "2026-W01-1",
    "%" * 201,
    "*a" * 99,
    "\\",
    "a\\",
    "(" + ",".join("1" for _ in range(101)) + ")",
    "x" * 2001,
    "'; drop table bookings; --",
    "-0",
    "1" * 401,
    "{123e4567-e89b-12d3-a456-426614174000}",
]
_NAMES = [
    "format",
    "snapshot",
    "lastEventId",
    "last_event_id",
    "ticket",
    "access_token",
    "select",
    "order",
    "limit",
    "or",
    "and",
    "",
    "é",
    "a.b.c",
    "__proto__",
    "\x00",
]
_TEXT = st.text(max_size=20) | st.sampled_from(_ODD)


@dataclass(frozen=True)
class Asked:
    """A request for streams: `good` if nothing in it is wrong; `words` are what a refusal may name."""

    path: str
    good: bool
    words: Sequence[str]


@st.composite
def _condition(draw: st.DrawFn, stream: str) -> tuple[str, str, bool]:
    filters = _CATALOG[stream].filters
    column = draw(st.sampled_from(sorted(filters)))
    kind = filters[column]
    fitting = [each for each in _OPERATORS if kind not in ("bool", "uuid") or each in ("eq", "neq", "in", "is")]
    fitting = [each for each in fitting if kind == "text" or each not in ("like", "ilike")]
    operator, good = draw(st.sampled_from(fitting)), True
    if operator == "is":
        value = draw(st.sampled_from(["null", "not_null", "NULL"]))
    elif operator == "in":
        values = draw(st.lists(st.sampled_from(_GOOD[kind]).filter(lambda each: len(each) < 500), min_size=1, max_size=4))
        value = "({})".format(",".join('"{}"'.format(each.replace("\\", "\\\\").replace('"', '\\"')) for each in values))
    elif operator in ("like", "ilike"):
        value = draw(st.sampled_from(["*", "a*b_%", "", r"\%", "ü*"]))
    else:
        value = draw(st.sampled_from(_GOOD[kind]))
    match draw(st.integers(0, 9)):
        case 0:
            value, good = draw(_TEXT), False
        case 1:
            operator, good = draw(st.sampled_from(_OPERATORS) | st.text(max_size=8)), False
        case 2:
            column, good = draw(st.sampled_from(_NAMES) | st.text(max_size=12)), False
    return column, f"{draw(st.sampled_from(['', '', 'not.']))}{operator}.{value}", good


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """A request for one stream or several, with conditions and other parameters."""
    streams = draw(st.lists(st.sampled_from(_OPEN), min_size=1, max_size=3, unique=True))
    pairs: list[tuple[str, str]] = []
    good = True
    for stream in streams:
        for column, text, fine in draw(st.lists(_condition(stream), max_size=3)):
            pairs.append((f"{stream}.{column}" if len(streams) > 1 or draw(st.booleans()) else column, text))
            good = good and fine
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from(["format", "snapshot", "lastEventId"]))
        fit = {"format": ["raw", "diff", "supabase", "cloudevents"], "snapshot": ["0", "1"], "lastEventId": ["earliest", "abcd-1", "x"]}[
            name
        ]
        if any(name == known for known, _ in pairs):
            continue
        pairs.append((name, draw(st.sampled_from(fit))))
    if draw(st.integers(0, 7)) == 0:
        pairs.append((draw(st.sampled_from(_NAMES) | st.text(max_size=8)), draw(_TEXT)))
        good = False
    query = "&".join(f"{_written(name)}={_written(value)}" for name, value in pairs)
    if draw(st.integers(0, 7)) == 0:
        query += draw(st.sampled_from(["&", "&&", "&=", "=", "&%", "&%zz=1", "&a%00b", ";x=1", "+", "&+=+", "?"]))
        good = False
    if len(query) > 15_000:
        good = False
    words = [
        *streams,
        *(name for name, _ in pairs),
        *(name.partition(".")[2] for name, _ in pairs),
        "column",
        "parameter",
        "condition",
        "character",
    ]
    return Asked(f"/streams/{','.join(streams)}" + (f"?{query}" if query else ""), good, words)


def _written(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")
