"""A data directory of the test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import embedded


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory that does not exist yet, and in which nothing runs afterwards."""
    path = tmp_path / "a project" / ".rowcast"
    yield path
    embedded.stop_left_over(path)
