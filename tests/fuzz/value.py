"""Values of every type, as a client writes them: what is usual, what is at the edge, and what is neither."""

import json
from collections.abc import Mapping

from hypothesis import strategies as st

from tests.fuzz.credential import JSON

_TEXT = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40) | st.sampled_from(
    [
        "",
        "null",
        "NULL",
        "'",
        '"',
        "\\",
        "\\u0000",
        "\n\r\t",
        "data: x\n\nevent: y",
        "\x01\x1f\x7f\x85\u2028\u2029\ufeff",
        "x" * 5000,
        "{}",
        "]]>",
    ]
)
_INTEGERS = st.integers(-(2**63), 2**63 - 1).map(str)
_NUMBERS = (
    st.decimals(allow_nan=False, allow_infinity=False).map(str)
    | _INTEGERS
    | st.sampled_from(
        [
            "NaN",
            "Infinity",
            "-Infinity",
            "-0",
            "0.10",
            "1e1000",
            "1e-1000",
            "9" * 3000 + "." + "1" * 3000,
            "0." + "0" * 400 + "1",
            "1e131071",
        ]
    )
)
_FLOATS = st.floats(width=64).map(repr) | st.sampled_from(["1e400", "5e-324", "1.7976931348623157e308", "-0", "0.1", "16777217"])
_DAYS = (
    st.dates().map(str)
    | st.tuples(st.integers(1, 4713), st.integers(1, 12), st.integers(1, 28)).map(lambda d: f"{d[0]:04}-{d[1]:02}-{d[2]:02} BC")
    | st.sampled_from(["infinity", "-infinity", "5874897-12-31", "4713-11-24 BC", "2026-02-29"])
)
_HOURS = st.times().map(str) | st.sampled_from(["24:00:00", "00:00:00.000001", "23:59:60"])
_ZONES = st.sampled_from(["Z", "+00", "+05:45", "-15:59:59", " Asia/Kathmandu"])
_MOMENTS = st.tuples(_DAYS, _HOURS).map(lambda m: f"{m[0].removesuffix(' BC')} {m[1]}{' BC' * m[0].endswith(' BC')}") | st.sampled_from(
    ["infinity", "-infinity", "294276-12-31 23:59:59.999999", "4713-11-24 00:00:00 BC", "epoch"]
)
_INTERVALS = st.sampled_from(["0", "1 year 2 days 03:04:05", "-178000000 years", "infinity", "-1 day +00:00:00.000001", "P1Y2M3DT4H5M6.7S"])
# What Postgres' json takes as it stands: no NaN, but zeros and halves of characters as escapes, and numbers of any size.
_DOCS = JSON.map(json.dumps) | st.sampled_from(
    [
        r'"\u0000"',
        r'{"\u0000": "\ud800"}',
        r'["\udc00\ud800", "\uD834\uDD1E"]',
        '{"a": 1, "a": 2.00}',
        "1e1000",
        "-0",
        "1" * 5000,
        '{\n  "a": [1,\r\n\t2]\n}',
        "[" * 900 + "]" * 900,
        '"\u2028"',
        ' "x" ',
    ]
)
_BITS = st.text("01", min_size=3, max_size=3)
_HOSTS = st.ip_addresses().map(str) | st.sampled_from(["10.0.0.1/8", "::/0", "::ffff:1.2.3.4"])
_MOODS = st.sampled_from(["happy", "so-so", 'it\'s "odd", \\ really'])


def _array(of: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def written(values: list[str | None]) -> str:
        return "{" + ",".join("null" if v is None else '"{}"'.format(v.replace("\\", "\\\\").replace('"', '\\"')) for v in values) + "}"

    return st.lists(st.none() | of, max_size=4).map(written) | st.sampled_from(["{}", "{{},{}}", "[0:1]={1,2}", "{{1,2},{3,4}}"])


VALUES: Mapping[str, st.SearchStrategy[str]] = {
    "flag": st.sampled_from(["t", "false", "on"]),
    "small": st.integers(-(2**15), 2**15 - 1).map(str),
    "whole": st.integers(-(2**31), 2**31 - 1).map(str),
    "long": _INTEGERS,
    "object": st.integers(0, 2**32 - 1).map(str),
    "exact": _NUMBERS,
    "fixed": st.decimals(-(10**14), 10**14, places=5).map(str) | st.just("NaN"),
    "single": _FLOATS,
    "double": _FLOATS,
    "letters": _TEXT,
    "some": _TEXT.map(lambda text: text[:20]),
    "padded": st.sampled_from(["", "a", "ab  ", "ünï"]),
    "label": _TEXT,
    "bytes": st.binary(max_size=60).map(lambda data: "\\x" + data.hex()),
    "day": _DAYS,
    "hour": _HOURS,
    "hour_there": st.tuples(_HOURS, _ZONES).map("".join),
    "moment": _MOMENTS,
    "moment_there": st.tuples(_MOMENTS, _ZONES).map("".join) | _MOMENTS,
    "lasting": _INTERVALS,
    "identity": st.uuids().map(str),
    "doc": _DOCS,
    "packed": _DOCS,
    "host": _HOSTS,
    "net": st.sampled_from(["10.0.0.0/8", "::/0", "192.168.1.1"]),
    "card": st.sampled_from(["08:00:2b:01:02:03", "FFFFFFFFFFFF"]),
    "bits": _BITS,
    "more_bits": st.text("01", max_size=20),
    "cash": st.sampled_from(["$1,000.00", "-92233720368547758.08", "0"]),
    "place": st.sampled_from(["(1,2)", "(NaN,Infinity)", "(1e-300,-0)"]),
    "words": st.sampled_from(["'a':1A 'b\"c':2", "", "'it''s'"]),
    "span": st.sampled_from(["[1,5)", "empty", "(,)", "(,2147483647]"]),
    "stay": st.sampled_from(["[2026-05-04 03:02+02,)", "empty", "[-infinity,infinity]"]),
    "stays": st.sampled_from(["{[1,2),[5,9)}", "{}"]),
    "texts": _array(_TEXT),
    "wholes": _array(st.integers(-5, 5).map(str)),
    "exacts": _array(_NUMBERS),
    "docs": _array(_DOCS),
    "moments": _array(_MOMENTS),
    "moods": _array(_MOODS),
    "mood": _MOODS,
    "positive": st.sampled_from(["7.10", "1e1000", "NaN", "Infinity", "0"]),
    "address": st.sampled_from(['("Main St",12.50)', "(,)", '("a ""b"" \\\\",NaN)', '("x\ny",-0)']),
}
"""By column of `declared.TYPES`. What Postgres does not take is no row."""


def rows(most: int = 8) -> st.SearchStrategy[dict[str, str]]:
    """A row: some of its columns; the others are null."""
    some = st.lists(st.sampled_from(sorted(VALUES)), max_size=most, unique=True)
    return some.flatmap(lambda names: st.fixed_dictionaries({name: VALUES[name] for name in names}))
