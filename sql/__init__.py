"""Everything that runs inside Postgres, as text: migrations, functions, the trigger's template, named statements.

- `sql` knows nobody: it hands out text and renders templates from plain values.
- A statement is found by its name, so that a traceback and `pg_stat_statements` lead to the same line.
"""

import re
from functools import cache
from importlib.resources import files

LOCK_CLASS = 0x726F77  # "row": the class of every advisory lock of Rowcast
LEASE_LOCK = 1
AWAKE_LOCK = 2
SEQUENCER_LOCK = 3
MIGRATE_LOCK = 4
BELL = "rowcast"
LANE_BITS = 16  # 65,536 ids, then the other lane
SEPARATOR = "\x1f"  # between the channels of a row's several owners

# A full queue of notifications fails whoever rings: where somebody listens inside a transaction it fills, and nobody rings from half on.
# The bridge's tick does without.
_NOTIFY = f"if pg_notification_queue_usage() < 0.5 then perform pg_notify('{BELL}', ''); end if;"
_RING = {
    "always": _NOTIFY,
    "armed": (
        f"if pg_try_advisory_lock_shared({LOCK_CLASS}, {AWAKE_LOCK}) then\n"
        f"        perform pg_advisory_unlock_shared({LOCK_CLASS}, {AWAKE_LOCK});\n"
        f"        {_NOTIFY}\n"
        "    end if;"
    ),
    "never": "null;",
}


def text(name: str) -> str:
    """Returns one file of this package, for instance `capture.sql`."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _statements() -> dict[str, str]:
    parts = re.split(r"(?m)^-- name: (\w+)$", text("queries.sql"))
    return dict(zip(parts[1::2], (body.strip().rstrip(";") for body in parts[2::2]), strict=True))


def statement(name: str) -> str:
    """Returns the named statement of queries.sql, comment included. Raises KeyError for a name that is not there."""
    return f"-- {name}\n{_statements()[name]}"


def migrations() -> list[tuple[int, str, str]]:
    """Returns the numbered migrations in order, as (number, file name, text)."""
    found = (entry.name for entry in files(__package__).joinpath("migrations").iterdir())
    return [(int(name[:4]), name, text(f"migrations/{name}")) for name in sorted(found) if name.endswith(".sql")]


def functions() -> str:
    """Returns functions.sql, filled in."""
    return text("functions.sql").format(
        lock_class=LOCK_CLASS, sequencer_lock=SEQUENCER_LOCK, lane_bits=LANE_BITS, separator=literal(SEPARATOR)
    )


def ring(notify: str) -> str:
    """Returns the statements of a trigger that wake a sleeping bridge: `notify` is always, armed or never."""
    return _RING[notify]


def identifier(name: str) -> str:
    """Quotes one SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """Quotes one SQL string, whatever standard_conforming_strings says."""
    quoted = value.replace("'", "''")
    return f"E'{quoted.replace(chr(92), chr(92) * 2)}'" if "\\" in value else f"'{quoted}'"
