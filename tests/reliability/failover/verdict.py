"""What clients must have received when one server's history ended and another's went on."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress

from tests.support.gateway import until
from tests.support.ledger import Ledger, Line, Reader, _sequenced
from tests.support.servers import Servers


async def present(servers: Servers) -> Ledger:
    """Returns what the present epoch's log has: positions begin anew behind all that was ever told of the one before."""
    connection = await servers.connect()
    after = await connection.fetchval("select after_position from rowcast.epoch order by number desc limit 1")
    await connection.close()
    return await Ledger.read(servers, max(after, 0))


async def settled(servers: Servers, readers: Collection[Reader], within: float = 30) -> Ledger:
    """Waits until all that is committed has a position, and everybody has the last event that is for them, if that ever comes."""
    connection = await servers.connect()
    await until(lambda: _sequenced(connection), within)
    await connection.close()
    ledger = await present(servers)
    last = {reader: [line.id for line in ledger.lines(reader.channels)[-1:]] for reader in readers}
    with suppress(TimeoutError):
        await until(lambda: all([reader.last_id] == ids or not ids for reader, ids in last.items()), within)
    return ledger


def twice(readers: Iterable[Reader]) -> list[str]:
    """Returns the ids that came with two contents to one user, over whichever connections; a row that moves is something else to each."""
    contents: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for reader in readers:
        for life in reader.lives:
            for line in life.lines:
                contents[line.id, line.stream, reader.sub].add(line.data)
    return [id for (id, _, _), datas in contents.items() if len(datas) > 1]


def faults(readers: Collection[Reader], *ledgers: Ledger) -> list[str]:
    """Says what is wrong with what was received: an epoch's events in order and without a hole, those of the last one up to its end."""
    found = [f"{id} has two contents" for id in twice(readers)]
    for reader in readers:
        for number, life in enumerate(reader.lives):
            last = number == len(reader.lives) - 1
            epochs = {line.id.split("-")[0] for line in life.lines}
            if len(epochs) > 1:
                found.append(f"{reader} has events of {sorted(epochs)} in one life")
                continue
            if not epochs and not last:
                continue
            ledger = ledgers[-1] if last else next((each for each in ledgers if each.epoch in epochs), None)
            if ledger is None:
                found.append(f"{reader} has events of {epochs}, which nobody's log has")
                continue
            expected = ledger.lines(reader.channels, life.after)
            if not last:
                expected = expected[: len(life.lines)]
            if life.lines != expected:
                found.append(f"{reader}, after {life.after} of {ledger.epoch}: {_missing(life.lines, expected)}")
    return found


def _missing(received: list[Line], expected: list[Line]) -> str:
    lacks = [line.id for line in expected if line not in set(received)]
    strange = [line.id for line in received if line not in set(expected)]
    return f"{len(expected)} expected, {len(received)} received; missing {lacks[:9]}, strange {strange[:9]}"
