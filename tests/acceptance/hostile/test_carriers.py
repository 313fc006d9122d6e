"""A good token opens a stream where it belongs, and nothing from where it does not."""

from collections.abc import Mapping

import pytest

from tests.acceptance.hostile.carriers import CARRIERS
from tests.acceptance.hostile.client import APP, COOKIE, ask, bearer, blaming, escaped, issue, opened, refused
from tests.acceptance.hostile.maker import hs
from tests.acceptance.hostile.tokens import BROKEN, FORGED, PAYLOADS
from tests.support.gateway import Web

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]


@pytest.mark.parametrize("name", CARRIERS)
async def test_odd_carrier(gate: Web, name: str) -> None:
    """A good token in the wrong place is none, and where two could be meant nobody guesses."""
    make, statuses = CARRIERS[name]
    lines = make()
    refused(
        await ask(gate, "/streams/bookings", *lines),
        *statuses,
        secrets=tuple(word for line in lines for word in line.split() if "eyJ" in word),
    )


async def test_each_legitimate_carrier_opens_a_stream(gate: Web) -> None:
    """Bearer, cookie, ticket and a ticket's reconnect open a stream: the refusals are not refusals of everything."""
    own = f"http://127.0.0.1:{gate.port}"
    session = await ask(gate, "/auth/session", bearer(hs()), f"Origin: {APP}", method="POST")
    cookie = session.headers["set-cookie"].split(";")[0]
    assert cookie.startswith(f"{COOKIE}=")
    path = f"/streams/bookings?ticket={await issue(gate)}"
    for address, headers in (
        ("/streams/bookings", {"Authorization": f"Bearer {hs()}"}),
        ("/streams/bookings", {"Authorization": f"bearer {hs()}"}),
        ("/streams/bookings", {"Authorization": f"Bearer {hs()}", "Cookie": f"{COOKIE}={hs()}", "Origin": APP}),
        ("/streams/bookings", {"Cookie": cookie, "Origin": APP}),
        ("/streams/bookings", {"Cookie": f"a=b; {cookie}; c=d", "Origin": own}),
        (path, {"Origin": APP}),
    ):
        async with opened(gate, address, headers) as stream:
            assert (await stream.next()).name == "ready"
            again = stream.headers.get("set-cookie", "").split(";")[0]
    for _ in range(3):
        async with opened(gate, path, {"Origin": APP, "Cookie": again}) as stream:
            assert (await stream.next()).name == "ready"
            again = stream.headers.get("set-cookie", again).split(";")[0]
    refused(await ask(gate, path, f"Origin: {APP}"), 401)


async def test_access_token_switched_off(gate: Web) -> None:
    """A token in the address opens nothing unless that is switched on, alone or beside a good one."""
    token = hs()
    refused(await ask(gate, f"/streams/bookings?access_token={token}"), 400, 401, secrets=(token,))
    refused(await ask(gate, f"/streams/bookings?access_token={token}", bearer(hs())), 400, secrets=(token,))
    refused(await ask(gate, f"/streams/bookings?token={token}"), 400, 401, secrets=(token,))


async def test_access_token_switched_on(gates: Mapping[str, Web]) -> None:
    """Where it is switched on a token in the address opens a stream, and two of them, or one that is bad, nothing."""
    gate, token, wrong = gates["query"], hs(), dict[str, str]()
    async with opened(gate, f"/streams/bookings?access_token={token}", {}) as stream:
        assert (await stream.next()).name == "ready"
    refused(await ask(gate, f"/streams/bookings?access_token={token}&access_token={hs(sub='2')}"), 400, secrets=(token,))
    refused(await ask(gate, f"/streams/bookings?access_token={token}", bearer(hs(sub="2"))), 400, secrets=(token,))
    for name, make in {**FORGED, **BROKEN, **PAYLOADS}.items():
        token = make()
        if len(token) < 8000:
            answer = await ask(gate, f"/streams/bookings?access_token={escaped(token)}")
            with blaming(wrong, name):
                refused(answer, 400, 401, secrets=(token,))
    assert not wrong
