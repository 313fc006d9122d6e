"""Catalogs: streams that do not contradict each other, found in a module."""

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.catalog import Catalog, load
from streams.stream import DeclarationError, Stream

Write = Callable[[str, str], None]
DECLARATION = """
    from streams.stream import Stream
    {name} = Stream(name="{name}", table="public.{name}", columns=("id",), channel="{name}")
"""


def stream(name: str, **changes: Any) -> Stream:
    given = {"table": f"public.{name}", "columns": ("id", "owner"), "channel": f"{name}-changes"} | changes
    return Stream(name=name, **given)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes modules to a directory on the path; what was imported of them is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def one(path: str, text: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        for name in (".".join(Path(path).with_suffix("").parts[: n + 1]) for n in range(len(Path(path).parts))):
            monkeypatch.delitem(sys.modules, name, raising=False)

    return one


def test_catalog_is_a_sorted_mapping() -> None:
    """Streams are found by name, in alphabetical order, whatever the order of their declaration."""
    catalog = Catalog([stream("payments"), stream("alerts"), stream("bookings")])
    assert list(catalog) == ["alerts", "bookings", "payments"]
    assert catalog["alerts"].table == "public.alerts"
    assert len(catalog) == 3
    assert "nonsense" not in catalog


def test_by_table() -> None:
    """Streams of one table stand together, tables and streams in alphabetical order."""
    catalog = Catalog([stream("z", table="b.t"), stream("a", table="b.t"), stream("m", table="a.t")])
    assert {table: [s.name for s in streams] for table, streams in catalog.by_table().items()} == {"a.t": ["m"], "b.t": ["a", "z"]}
    assert list(catalog.by_table()) == ["a.t", "b.t"]


def test_twice_the_same_name() -> None:
    """Two streams of one name are refused, naming it."""
    with pytest.raises(DeclarationError, match="alerts is declared twice"):
        Catalog([stream("alerts"), stream("alerts", channel="other")])


def test_two_keys_of_one_table() -> None:
    """Two streams of one table that name different keys are refused, naming both and the table."""
    with pytest.raises(DeclarationError, match=r"streams a and b name different keys of public\.t"):
        Catalog([stream("a", table="public.t"), stream("b", table="public.t", key=("owner",))])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("orders", "orders"),
        ("orders-{user_id}", "orders"),
        ("orders", "orders-late"),
        ("orders-{user_id}", "orders-late-{user_id}"),
        ("orders-late-{provider_id}", "orders"),
    ],
)
def test_overlapping_channels(one: str, other: str) -> None:
    """Channels of which one continues the other are refused: an owner's value would reach from one into the other."""
    owner = {True: "owner", False: None}
    with pytest.raises(DeclarationError, match=r"streams a and b.*overlap"):
        Catalog([stream("a", channel=one, owner=owner["{" in one]), stream("b", channel=other, owner=owner["{" in other])])


def test_channels_that_only_look_alike() -> None:
    """Channels that begin alike within a word do not overlap."""
    assert len(Catalog([stream("a", channel="orders"), stream("b", channel="ordersets-{user_id}", owner="owner")])) == 2


def test_load_finds_every_stream_of_a_package(write: Write) -> None:
    """The streams of a package and of its modules are found, each once, also where one is imported by another."""
    write("shop/__init__.py", DECLARATION.format(name="orders"))
    write("shop/refunds.py", DECLARATION.format(name="refunds") + "    from shop import orders\n    number = 1\n")
    assert list(load("shop")) == ["orders", "refunds"]


def test_load_finds_the_streams_of_a_module(write: Write) -> None:
    """A plain module will do: one file that declares one stream."""
    write("kiosk.py", DECLARATION.format(name="papers"))
    assert list(load("kiosk")) == ["papers"]


def test_own_declarations() -> None:
    """The streams that come with Rowcast are a catalog without contradictions."""
    catalog = load("streams")
    assert {"bookings", "provider-bookings", "services"} <= set(catalog)


def test_missing_module() -> None:
    """A module that is not there is an error that names it and the setting."""
    with pytest.raises(DeclarationError, match=r"ROWCAST_STREAMS=nonesuch\.streams cannot be imported"):
        load("nonesuch.streams")


@pytest.mark.parametrize("text", ["import nonesuch", "def broken(:", "1 / 0", "undefined"])
def test_module_that_does_not_import(write: Write, text: str) -> None:
    """A module that fails, whatever the reason, is an error that names it and the setting."""
    write("broken.py", text)
    with pytest.raises(DeclarationError, match="ROWCAST_STREAMS=broken"):
        load("broken")


def test_module_without_streams(write: Write) -> None:
    """A module that declares nothing is an error: it is not what was meant."""
    write("empty.py", "number = 1")
    with pytest.raises(DeclarationError, match="ROWCAST_STREAMS=empty declares no Stream"):
        load("empty")


def test_wrong_declaration_in_a_module(write: Write) -> None:
    """A wrong declaration in a module is reported as it is, naming the stream."""
    write("wrong.py", DECLARATION.format(name="orders").replace('("id",)', "()"))
    with pytest.raises(DeclarationError, match="stream orders: columns"):
        load("wrong")
