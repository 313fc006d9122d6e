"""All that is published in these tests, as a module of declarations."""

from streams.catalog import load
from tests.reliability.migrations.parcels import BOARD, LABELS, PARCELS

__all__ = ["BOARD", "LABELS", "PARCELS"]

vars().update({stream.name: stream for stream in load("streams").values()})
