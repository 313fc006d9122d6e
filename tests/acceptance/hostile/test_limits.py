"""Limits count who is there, whatever address is claimed, and not what was refused."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.acceptance.hostile.client import ask, auth, bearer, blaming, opened, process, refused, request
from tests.acceptance.hostile.maker import hs
from tests.support.gateway import Web, until, web
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]

FORGERIES = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "True-Client-IP", "CF-Connecting-IP", "X-Client-IP", "X-Cluster-Client-IP", "Via")
"""Headers in which a client says that it is somebody else."""


async def test_forged_address_counts_as_oneself(site: Servers, tmp_path: Path) -> None:
    """An address that a client claims changes nothing for it: the second stream is one too many, whatever it says, in either process."""
    limit, wrong = {"ROWCAST_CONNECTIONS_PER_ADDRESS": "1"}, dict[str, str]()
    async with process(site, tmp_path, **limit) as (one, _), process(site, tmp_path, **limit) as (two, _), opened(one, leave=False):
        for n, name in enumerate(FORGERIES):
            for value in (f"203.0.113.{n}", f"for=203.0.113.{n}", f"203.0.113.{n}, 127.0.0.1", "", "canary"):
                for each in (one, two):
                    answer = await ask(each, "/streams/bookings", bearer(hs(sub="2")), f"{name}: {value}")
                    with blaming(wrong, f"{name}: {value}"):
                        refused(answer, 429)
                        assert int(answer.headers["retry-after"]) > 0
    assert not wrong


async def test_forged_address_behind_a_proxy(site: Servers, tmp_path: Path) -> None:
    """Behind a trusted proxy what counts is the address that the proxy has seen, and not what the client wrote before it."""
    settings = {"ROWCAST_CONNECTIONS_PER_ADDRESS": "1", "ROWCAST_TRUSTED_PROXIES": "127.0.0.1"}
    async with process(site, tmp_path, **settings) as (each, _):
        async with opened(each, headers={**auth(hs()), "X-Forwarded-For": "198.51.100.1, 203.0.113.7"}, leave=False):
            for forged in ("198.51.100.2, 203.0.113.7", "203.0.113.7", "127.0.0.1, 203.0.113.7", "canary, 203.0.113.7", ",,203.0.113.7"):
                refused(await ask(each, "/streams/bookings", bearer(hs(sub="2")), f"X-Forwarded-For: {forged}"), 429)
            two = ("X-Forwarded-For: 198.51.100.9", "X-Forwarded-For: 203.0.113.7")
            refused(await ask(each, "/streams/bookings", bearer(hs(sub="2")), *two), 429)
            other = await ask(each, "/streams/bookings", bearer(hs(sub="2")), "X-Forwarded-For: 203.0.113.8")
            assert other.status == 200, other.body
        for odd in ("canary", "", "203.0.113.7:99999", "[::1", "::ffff:203.0.113.7", "1" * 5000, "203.0.113.7\x1b[31m", ", ,"):
            answer = await ask(each, "/streams", bearer(hs()), f"X-Forwarded-For: {odd}")
            assert answer.status in (200, 400), (odd, answer.raw)


async def test_forged_address_does_not_buy_attempts(site: Servers, tmp_path: Path) -> None:
    """Who guesses is stopped, counted before a token is verified, whatever address and however many users it claims."""
    async with process(site, tmp_path, ROWCAST_ATTEMPTS_PER_MINUTE="5") as (each, _):
        guesses = [hs(sub=str(n), secret="x" * 40) for n in range(12)]
        answers = [
            await ask(each, "/streams/bookings", bearer(guess), f"X-Forwarded-For: 203.0.113.{n}") for n, guess in enumerate(guesses)
        ]
        assert {answer.status for answer in answers} == {401, 429}
        refused(answers[-1], 429)
        assert int(answers[-1].headers["retry-after"]) > 0
        assert (await ask(each, "/streams/bookings", bearer(hs()))).status == 429, "a good token is no way out for who guesses"


async def test_what_is_refused_holds_no_place(site: Servers) -> None:
    """A request that is refused late, is a HEAD, or is cut off at once takes no place from the user whose token it has."""
    async with web(site, connections_per_user=1, connections_per_address=1) as each:
        await until(lambda: not each.hub.roster.subscribers)
        for method, path in (
            ("HEAD", "/streams/bookings"),
            ("GET", "/streams/bookings?nonsense=1"),
            ("GET", "/streams/bookings?status=eq."),
            ("GET", "/streams/bookings?id=gt.x"),
            ("GET", "/streams/bookings,changes"),
            ("GET", "/streams/bookings,nonsense"),
            ("GET", "/streams/bookings?format=nonsense&snapshot=1"),
        ):
            for _ in range(5):
                assert (await ask(each, path, bearer(hs(sub="4")), method=method)).status != 429
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", each.port)
            writer.write(request(each.port, "/streams/bookings?snapshot=1", bearer(hs(sub="4"))))
            await writer.drain()
            writer.transport.abort()

        async def free() -> bool:
            return (await ask(each, "/streams/bookings", bearer(hs(sub="4")))).status == 200

        await until(free)


async def test_one_user_too_many_in_two_processes(gates: Mapping[str, Web], site: Servers) -> None:
    """Streams of one user are counted in all processes together, even when they come at once."""
    async with web(site, connections_per_user=3) as one, web(site, connections_per_user=3) as two:
        streams = await asyncio.gather(
            *((one, two)[n % 2].request("/streams/bookings", {"Authorization": f"Bearer {hs(sub='5')}"}) for n in range(16))
        )
        assert sorted(stream.status for stream in streams) == [200] * 3 + [429] * 13
        for stream in streams:
            await stream.close()
