"""The declared streams of one module, checked against each other."""

import importlib
import pkgutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType

from streams.stream import EVERY_TABLE, DeclarationError, Stream


class Catalog(Mapping[str, Stream]):
    """Streams by name, in alphabetical order. Raises DeclarationError where two contradict each other."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._streams: dict[str, Stream] = {}
        broadcasts: dict[str, str] = {}
        streams = list(streams)
        keys = {stream.table: stream.key for stream in streams if stream.table != EVERY_TABLE}
        for stream in sorted(streams, key=lambda each: each.name):
            if stream.name in self._streams:
                raise DeclarationError(f"stream {stream.name} is declared twice")
            for other in self._streams.values():
                if other.table == stream.table != EVERY_TABLE and other.key != stream.key:
                    raise DeclarationError(f"streams {other.name} and {stream.name} name different keys of {stream.table}")
            # A channel prefix that continues another's would let an owner's value reach into it: a-b-{x} and a-{x} with x = b-1.
            for broadcast, name in broadcasts.items():
                if f"{stream.broadcast}-".startswith(f"{broadcast}-") or f"{broadcast}-".startswith(f"{stream.broadcast}-"):
                    raise DeclarationError(f"streams {name} and {stream.name}: channel {broadcast} and {stream.broadcast} overlap")
            self._streams[stream.name] = replace(stream, keys=keys) if stream.table == EVERY_TABLE else stream
            broadcasts[stream.broadcast] = stream.name

    def __getitem__(self, name: str) -> Stream:
        return self._streams[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._streams)

    def __len__(self) -> int:
        return len(self._streams)

    def by_table(self) -> dict[str, list[Stream]]:
        """Returns the streams of each table, both in alphabetical order. A stream of every table is among those of each."""
        tables: dict[str, list[Stream]] = {}
        for stream in self._streams.values():
            tables.setdefault(stream.table, []).append(stream)
        every = tables.pop(EVERY_TABLE, [])
        for table, streams in tables.items():
            columns = tuple(dict.fromkeys(column for stream in streams for column in stream.columns))
            streams += [stream.of_table(table, columns, streams[0].key) for stream in every]
            streams.sort(key=lambda stream: stream.name)
        return dict(sorted(tables.items()))


def load(module_name: str) -> Catalog:
    """Imports a module, and if it is a package its modules, and returns every Stream found at their top level.

    Raises DeclarationError if it cannot be imported, declares nothing, or contradicts itself.
    """
    try:
        module = importlib.import_module(module_name)
        modules = [module, *_submodules(module)]
    except DeclarationError:
        raise
    except Exception as error:
        raise DeclarationError(f"ROWCAST_STREAMS={module_name} cannot be imported: {type(error).__name__}: {error}") from error
    found = {id(value): value for each in modules for value in vars(each).values() if isinstance(value, Stream)}
    if not found:
        raise DeclarationError(f"ROWCAST_STREAMS={module_name} declares no Stream")
    return Catalog(found.values())


def _submodules(package: ModuleType) -> list[ModuleType]:
    paths = getattr(package, "__path__", None)
    if paths is None:
        return []
    return [importlib.import_module(f"{package.__name__}.{info.name}") for info in pkgutil.iter_modules(paths)]
