"""The text that runs inside Postgres: quoted so that it says what was meant, and every statement known to the server."""

import re

import pytest

import sql
from tests.sql.published import publishing
from tests.support.servers import Servers

ODD = [
    "plain",
    "Upper",
    "two words",
    "'",
    '"',
    "''",
    '""',
    "\\",
    "\\'",
    "a\\nb",
    "a\nb",
    "$capture$",
    "{shape}",
    "%s",
    "ünï",
    ";--",
    "select",
    " ",
]


async def test_identifiers_and_literals(servers: Servers) -> None:
    """A quoted identifier or literal means exactly its text, whatever standard_conforming_strings says."""
    async with publishing(servers, "") as published:
        for standard in ("on", "off"):
            await published.execute(f"set standard_conforming_strings = {standard}; set escape_string_warning = off")
            for text in ODD:
                row = await published.connection.fetchrow(f"select {sql.literal(text)} as {sql.identifier(text)}")
                assert row is not None
                assert dict(row) == {text: text}


async def test_statements_are_known(servers: Servers) -> None:
    """Every named statement can be prepared, begins with its name, and has a line of purpose."""
    async with publishing(servers, "") as published:
        names = re.findall(r"(?m)^-- name: (\w+)$", sql.text("queries.sql"))
        assert len(names) == len(set(names)) > 10
        for name in names:
            text = sql.statement(name)
            assert text.startswith(f"-- {name}\n-- purpose: ")
            await published.connection.prepare(text)


def test_unknown_statement() -> None:
    """A statement that is not there is a KeyError."""
    with pytest.raises(KeyError):
        sql.statement("nonsense")


def test_migrations_are_numbered() -> None:
    """Migrations are numbered from one without a gap, in the order of their files."""
    found = sql.migrations()
    assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
    assert all(name.startswith(f"{number:04}_") and text.strip() for number, name, text in found)


async def test_functions_are_sealed(servers: Servers) -> None:
    """Every function of ours has a fixed search path that ends in pg_temp, and only the trigger's run as their owner."""
    async with publishing(servers, "") as published:
        rows = await published.connection.fetch(
            "select proname, prosecdef, proconfig, prorettype = 'trigger'::regtype as trigger"
            " from pg_proc where pronamespace = 'rowcast'::regnamespace"
        )
        assert len(rows) > 5
        for row in rows:
            assert "search_path=pg_catalog, pg_temp" in (row["proconfig"] or [])
            assert row["prosecdef"] == row["trigger"], row["proname"]
