"""The catalogue of faults is whole, names tests that exist, and is what docs/reliability.md says."""

from dataclasses import replace

import pytest

from tests.reliability import catalogue
from tests.reliability.catalogue import Fault, flaws, read, table, written

FAULTS = read(catalogue.CATALOGUE.read_text(encoding="utf-8"))
MINE = "tests/reliability/test_catalogue.py"


def test_catalogue_is_whole() -> None:
    """Each fault is there once, with tests and controls that exist, or with a word why there are none."""
    assert list(flaws(FAULTS)) == []


def test_page_is_up_to_date() -> None:
    """The table in docs/reliability.md is what the catalogue says."""
    page = catalogue.PAGE.read_text(encoding="utf-8")
    assert page == written(page, FAULTS), "python -m tests.reliability.catalogue --write"


WHOLE = Fault("F1", "one", ("P1",), (f"{MINE}::test_catalogue_is_whole",), (f"{MINE}::test_flaws_are_seen",))


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (replace(WHOLE, tests=()), "F1 has no tests"),
        (replace(WHOLE, controls=()), "F1 has no controls"),
        (replace(WHOLE, promise=()), "none of the promises"),
        (replace(WHOLE, promise=("P8",)), "none of the promises"),
        (replace(WHOLE, tests=(f"{MINE}::test_nonesuch",)), "test_nonesuch, which is not there"),
        (replace(WHOLE, controls=("tests/nonesuch.py::test_catalogue_is_whole",)), "nonesuch.py::test_catalogue_is_whole, which"),
        (replace(WHOLE, without="it cannot be", controls=(f"{MINE}::WHOLE",)), "::WHOLE, which is not there"),
        (replace(WHOLE, name="F2"), "each once and in order"),
    ],
)
def test_flaws_are_seen(monkeypatch: pytest.MonkeyPatch, fault: Fault, says: str) -> None:
    """What a catalogue lacks, or names without its being there, is said; a whole one is not complained of."""
    monkeypatch.setattr(catalogue, "FAULTS", 1)
    assert list(flaws([WHOLE])) == []
    (flaw,) = flaws([fault])
    assert says in flaw


def test_page_without_marks() -> None:
    """A page in which the table has no place is an error, and one with an older table is another page."""
    assert written("a\n<!-- faults -->\nold\n<!-- /faults -->\nb", [WHOLE]) == f"a\n<!-- faults -->\n{table([WHOLE])}\n<!-- /faults -->\nb"
    with pytest.raises(ValueError, match="faults"):
        written("a page", [WHOLE])
