"""What can go wrong and which tests make it happen: faults.toml, and its table in docs/reliability.md.

`python -m tests.reliability.catalogue --write` writes the table; without `--write` it is printed.
"""

import ast
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.process import ROOT

CATALOGUE = Path(__file__).with_name("faults.toml")
PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"
FAULTS = 45
PROMISES = frozenset(f"P{number}" for number in range(1, 8))


@dataclass(frozen=True)
class Fault:
    """One fault; `tests` and `controls` are `path::name`, `without` says why there are none."""

    name: str
    title: str
    promise: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    without: str = ""


def read(text: str) -> list[Fault]:
    """Reads the catalogue, in its order. Raises TypeError for a field that no fault has."""
    return [Fault(name, **{field: _value(value) for field, value in fields.items()}) for name, fields in tomllib.loads(text).items()]


def _value(value: str | list[str]) -> Any:
    return tuple(value) if isinstance(value, list) else value


def flaws(faults: Iterable[Fault]) -> Iterator[str]:
    """Says what a catalogue lacks, and what it names that is not there; nothing is right."""
    given = list(faults)
    expected = [f"F{number}" for number in range(1, FAULTS + 1)]
    if [fault.name for fault in given] != expected:
        yield f"not F1 to F{FAULTS}, each once and in order"
    for fault in given:
        if fault.without:
            continue
        if not fault.tests or not fault.controls:
            yield f"{fault.name} has no {'tests' if not fault.tests else 'controls'}, and no word why"
        if not fault.promise or not PROMISES.issuperset(fault.promise):
            yield f"{fault.name} concerns none of the promises"
    for fault in given:
        for test in (*fault.tests, *fault.controls):
            path, _, name = test.partition("::")
            if name not in tests_in(path):
                yield f"{fault.name} names {test}, which is not there"


@cache
def tests_in(path: str) -> frozenset[str]:
    """Returns the names of a file's tests; none where there is no such file."""
    file = ROOT / path
    if not file.is_file():
        return frozenset()
    defined = (each for each in ast.parse(file.read_text(encoding="utf-8")).body)
    return frozenset(
        each.name for each in defined if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) and each.name.startswith("test_")
    )


def table(faults: Iterable[Fault]) -> str:
    """Returns the table of the page."""
    lines = ["| | what goes wrong | promises | tests | with the protection switched off |", "|---|---|---|---|---|"]
    for fault in faults:
        tests, controls = _links(fault.tests), _links(fault.controls)
        if fault.without:
            tests, controls = (f"{tests}; {fault.without}", controls) if tests else (fault.without, controls)
        lines.append(f"| {fault.name} | {fault.title} | {', '.join(fault.promise)} | {tests} | {controls} |")
    return "\n".join(lines)


def _links(tests: Iterable[str]) -> str:
    by_file: dict[str, list[str]] = {}
    for test in tests:
        path, _, name = test.partition("::")
        by_file.setdefault(path, []).append(name.removeprefix("test_").replace("_", " "))
    return "; ".join(f"[{path.removeprefix('tests/')}](../{path}): {', '.join(names)}" for path, names in by_file.items())


def written(page: str, faults: Iterable[Fault]) -> str:
    """Returns a page with the table of now between its marks. Raises ValueError for a page without them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} … {END} in the page")
    return f"{before}{begin}\n{table(faults)}\n{end}{after}"


def numbers(faults: Iterable[Fault]) -> Mapping[str, int]:
    """Returns how many faults, tests and controls there are, each test once."""
    given = list(faults)
    tests, controls = ({each for fault in given for each in getattr(fault, field)} for field in ("tests", "controls"))
    return {"faults": len(given), "tests": len(tests), "controls": len(controls)}


if __name__ == "__main__":
    catalogue = read(CATALOGUE.read_text(encoding="utf-8"))
    if sys.argv[1:] == ["--write"]:
        PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), catalogue), encoding="utf-8")
    else:
        sys.stdout.write(f"{table(catalogue)}\n")
    for flaw in flaws(catalogue):
        sys.stderr.write(f"{flaw}\n")
    sys.stderr.write(f"{numbers(catalogue)}\n")
