"""The console with what is odd: columns called as the gateway's words, data that means nothing, endless notes, strange waits."""

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Route, expect

from tests.browser.console import WITHIN_MS, Console, base_of, change, console
from tests.support.gateway import gateway, token
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="package")

_CREATED = {"version": 1, "property_id": 1, "created_at": "2026-05-04T13:27:01Z"}
_MANY = 200_000
_SHOWN = 20_000
_LISTEN = """() => {
  const why = document.getElementById("why");
  new MutationObserver(() => (window.said = `${window.said} ${why.textContent}`)).observe(why, {childList: true});
}"""


@pytest_asyncio.fixture(loop_scope="package")
async def each(servers: Servers, profile: BrowserContext) -> AsyncIterator[Console]:
    """An open console of a gateway that runs."""
    async with gateway(servers, console=True) as web, console(profile, base_of(web.port)) as seen:
        yield seen


async def told(each: Console, *events: tuple[str, Any]) -> None:
    """Lets the page open a stream that tells events, and then not to come back."""
    known = [("ready", {"connection": "0" * 16, "status": "fresh", "heartbeat": 10}), *events]
    blocks = [f"id: a-{number}\nevent: {name}\ndata: {json.dumps(data)}\n\n" for number, (name, data) in enumerate(known, 1)]
    answers = [("".join(blocks), 200)]

    async def answer(route: Route) -> None:
        body, status = answers.pop() if answers else ("", 204)
        await route.fulfill(status=status, content_type="text/event-stream", body=body)

    await each.page.route("**/streams/properties", answer)
    await each.use(token())
    await each.choose("properties")
    await each.button("Connect").click()


@pytest.mark.parametrize(
    ("columns", "type_", "diff"),
    [
        ({"type": 7}, "INSERT", {"type": ("added", "", "7")}),
        ({"type": "flat"}, "INSERT", {"type": ("added", "", "flat")}),
        ({"type": None, "updated_at": 5, "deleted_at": None}, "INSERT", {"deleted_at": ("added", "", "null")}),
        ({"record": "r", "old_record": None, "new": {}, "name": "x"}, "INSERT", {"record": ("added", "", "r"), "name": ("added", "", "x")}),
        ({"changes": 3, "left": False, "table": "oak"}, "INSERT", {"changes": ("added", "", "3"), "table": ("added", "", "oak")}),
        ({"changes": {"any": "json"}}, "INSERT", {"changes": ("added", "", '{"any":"json"}')}),
        ({"specversion": "2", "data": {"a": 1}, "type": "x"}, "INSERT", {"data": ("added", "", '{"a":1}')}),
        ({"type": "STATUS"}, "INSERT", {}),
    ],
    ids=["a number", "a text", "null", "rows", "changes", "json", "an envelope", "a status"],
)
async def test_columns(each: Console, columns: dict[str, Any], type_: str, diff: Mapping[str, tuple[str, str, str]]) -> None:
    """In `diff` columns that are called as the gateway's own words are columns, and what comes after is there too."""
    await told(each, ("property-created", _CREATED | columns), ("property-created", _CREATED | {"name": "the next"}))
    await each.row("the next")
    row = each.page.locator('#rows tr[data-id="a-2"]')
    await expect(row.locator(".type")).to_have_text(type_)
    await row.click()
    found = await each.diff()
    assert {name: found.get(name) for name in diff} == diff
    assert found["property_id"] == ("added", "", "1")


@pytest.mark.parametrize(("name", "data"), [("snapshot", None), ("reset", {"streams": "x"}), ("ready", None), ("reconnect", None)])
async def test_what_cannot_be_shown(each: Console, name: str, data: Any) -> None:
    """An event that nothing can be made of is a row that says so, with its bytes, and the events after it come."""
    await told(each, (name, data), ("property-created", _CREATED | {"name": "the next"}))
    await each.row("the next")
    await (await each.row("It cannot be shown")).click()
    await expect(each.part("detail-title")).to_have_text(name)
    await expect(each.part("diff-panel")).to_contain_text("Nothing can be made of the data")
    await each.page.get_by_role("tab", name="Raw bytes").click()
    await expect(each.part("raw-panel")).to_contain_text(f"event: {name}")


async def test_endless_notes(servers: Servers, each: Console) -> None:
    """Of what is endless each view shows the beginning, and says how much more there is."""
    await each.use(token())
    await each.choose("bookings")
    await each.connect()
    await change(servers, "update bookings set notes = repeat(chr(127), $1) where id = 1", _MANY)
    await (await each.row("UPDATE")).click()
    more = f"… {_MANY - _SHOWN:,} more"
    notes = each.page.locator("#diff-panel tr", has_text="notes").locator("td.new")
    await expect(notes).to_contain_text(more, timeout=WITHIN_MS)
    await expect(notes.locator(".mark")).to_have_count(_SHOWN)
    for view, panel in (("JSON", "json-panel"), ("Raw bytes", "raw-panel")):
        await each.page.get_by_role("tab", name=view).click()
        shown = await each.part(panel).locator("pre").inner_text()
        assert shown.rstrip().endswith(" more"), shown[-40:]
        assert "Ring twice" not in shown
        assert ("bookings" in shown) is True
    assert await each.page.locator("#raw-panel .mark").count() < _SHOWN


@pytest.mark.parametrize(
    ("asked", "waited"), [("0", 500), ("-7", 500), ("1500", 1500), ("1e12", 3_600_000), ("undefined", None), ("NaN", None), ("'x'", None)]
)
async def test_bounds(each: Console, asked: str, waited: int | None) -> None:
    """What a gateway may ask to wait has bounds, below and above."""
    found = await each.page.evaluate(f"import('/console/connection.js').then(({{bounded}}) => bounded({asked}) ?? null)")
    assert found == waited


@pytest.mark.parametrize(("retry", "words"), [(10**12, "60 min"), (0, "500 ms")])
async def test_a_strange_wait(each: Console, retry: int, words: str) -> None:
    """A stream that is told to come back at once, or never, comes back in good time."""
    await each.page.evaluate(_LISTEN)
    await told(each, ("reconnect", {"reason": "slow", "retry": retry}))
    await each.page.wait_for_function("words => window.said?.includes(`Comes back in ${words}.`)", arg=words)
