"""Subjects and roles that an issuer did sign are nobody else's, and no more than what is literally there."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from tests.acceptance.hostile.client import INVALID, ask, bearer, opened, refused
from tests.acceptance.hostile.maker import ADMIN, hs, now
from tests.support import sse
from tests.support.blocking import query
from tests.support.gateway import Web, until
from tests.support.servers import Servers

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(300)]


async def test_subject_that_is_a_number(gates: Mapping[str, Web]) -> None:
    """A subject that is a number is refused (RFC 7519), or is the same user as its text, also for who is revoked."""
    gate = gates["secret"]
    for number, by in ((21, "21"), (22, 22), (-23, "-23"), (10**30, str(10**30))):
        as_number, as_text = hs(sub=number, iat=now(-60)), hs(sub=str(number), iat=now(-60))
        answer = await ask(gate, "/streams", bearer(as_number))
        assert answer.status in (200, 401), answer.body
        assert (await ask(gate, "/streams", bearer(as_text))).status == 200
        revoking = await ask(
            gate, "/admin/revocations", bearer(hs(None, **ADMIN)), method="POST", body=orjson.dumps({"sub": str(by) if number > 99 else by})
        )
        assert revoking.status == 204 or not isinstance(by, str)
        for token in (as_number, as_text) if revoking.status == 204 else ():
            refused(await ask(gate, "/streams", bearer(token)), 401, challenge=INVALID)


ROLES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "customer": ("changes", {}),
    "no role": ("changes", {"role": ...}),
    "role empty": ("changes", {"role": ""}),
    "role null": ("changes", {"role": None}),
    "unknown role": ("changes", {"role": "superuser"}),
    "Admin": ("changes", {"role": "Admin"}),
    "admin with a blank": ("changes", {"role": "admin "}),
    "admin with NUL": ("changes", {"role": "admin\0"}),
    "fullwidth admin": ("changes", {"role": "ａｄｍｉｎ"}),
    "with commas": ("changes", {"role": "customer,admin"}),
    "with blanks": ("changes", {"role": "customer admin"}),
    "list of lists": ("changes", {"roles": [["admin"]]}),
    "list of objects": ("changes", {"roles": [{"admin": True}]}),
    "an object": ("changes", {"roles": {"admin": True}}),
    "object with an iterator's look": ("changes", {"roles": {"0": "admin", "length": 1}}),
    "letters": ("changes", {"roles": ["a", "d", "m", "i", "n"]}),
    "JSON in text": ("changes", {"roles": '["admin"]'}),
    "is_admin": ("changes", {"is_admin": True, "admin": True}),
    "scope": ("changes", {"scope": "admin", "scp": ["admin"], "groups": ["admin"], "permissions": ["admin"]}),
    "Role": ("changes", {"Role": "admin", "ROLES": ["admin"]}),
    "nested in metadata": ("changes", {"app_metadata": {"roles": ["admin"]}, "user_metadata": {"role": "admin"}}),
    "__proto__": ("changes", {"__proto__": {"role": "admin"}}),
    "a customer's provider_id": ("provider-bookings", {"provider_id": "9"}),
    "a provider's bookings": ("bookings", {"role": "provider"}),
    "an unknown provider": ("provider-bookings", {"role": "Provider", "provider_id": "9"}),
    "one of several": ("bookings,changes", {}),
    "hidden in the list": ("services,changes,services", {}),
}
"""Claims that an issuer did sign, and the stream that they must not open."""


@pytest.mark.parametrize("name", ROLES)
async def test_role_is_not_widened(gate: Web, name: str) -> None:
    """Nobody has a role that is not literally there, and nothing falls back to more."""
    stream, changes = ROLES[name]
    answer = await ask(gate, f"/streams/{stream}", bearer(hs(None, **changes)))
    refused(answer, 401, 403, challenge=INVALID)
    if answer.status == 403:
        assert answer.headers["www-authenticate"].startswith('Bearer error="insufficient_scope"')
    listed = await ask(gate, "/streams", bearer(hs(None, **changes)))
    assert "changes" not in [each["name"] for each in listed.problem.get("streams", [])]


NEIGHBOURS: tuple[Mapping[str, str], ...] = (
    *({"sub": sub} for sub in ("1-2", "01", "1.0", "1e0", "+1", "-1", "0x1", "1*", "?", "*", "[1]", "{1}", "1,2", "1:1", "1/..", "%31")),
    *(
        {"sub": sub}
        for sub in ("１", "¹", "1\u0301", "1\u200b", "\u202e1", "\ufeff1", "1'or'1'='1", "$1", "1::text", "1--", "null", "bookings")
    ),
    *({"sub": sub} for sub in ("changes-1", "../1", "-changes-1", "1-bookings", "2-changes-1", "{user_id}")),
    *({"sub": "10", "provider_id": each} for each in ("9-changes", "09", "9*", "９", "9,10", "9\u200b", "{provider_id}", "9-9", "*")),
)
"""Subjects and providers that are nobody's, and look like those of customer 1 and provider 9."""


async def test_no_name_reaches_a_foreign_channel(gate: Web, site: Servers) -> None:
    """Whoever's name contains, continues or resembles another's gets none of their rows: not in a snapshot, and not as they change."""
    streams: list[sse.Stream] = []
    for each in NEIGHBOURS:
        mine = "provider-bookings" if "provider_id" in each else "bookings"
        token = hs(None, **dict(each), role="provider" if "provider_id" in each else "customer")
        stream = await gate.request(f"/streams/{mine},services?snapshot=1", {"Authorization": f"Bearer {token}"})
        assert stream.status in (200, 401), (each, stream.body)
        if stream.status == 200:
            streams.append(stream)
    async with opened(gate, leave=False) as legitimate:
        for stream in streams:
            pages: list[sse.Event] = []
            while not (pages and pages[-1].data["stream"] == "services" and pages[-1].data["done"]):
                pages.append(await stream.until("snapshot"))
            assert all(page.data["rows"] == [] for page in pages if page.data["stream"] != "services")
        await asyncio.to_thread(query, site.database_url, "update bookings set notes = 'canary' where customer_id = 1 or provider_id = 9")
        await asyncio.to_thread(query, site.database_url, "update services set description = 'the end' where id = 1")
        assert (await legitimate.until("bookings")).data["record"]["notes"] == "canary"
        for stream in streams:
            assert [event.name for event in await stream.events(1)] == ["services"]
    for stream in streams:
        await stream.close()
    await until(lambda: not gate.hub.roster.subscribers)
