"""The console, against a real gateway and a real Postgres: what somebody sees who debugs."""

import asyncio
import json
import re
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, expect

from tests.browser.console import REFUSED, WITHIN_MS, Console, base_of, change, console, note, watching
from tests.support.gateway import Web, gateway, token, until
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="package")

NASTY = 'O\'Brien "x" $HOME `id` \\ {a,b} [1-3] ü → & #'

_BREAK = """() => {
  document.head.append(Object.assign(document.createElement("script"), {textContent: "window.ran = true"}));
  document.body.append(Object.assign(new Image(), {src: "http://evil.example/x.png"}));
}"""


@pytest_asyncio.fixture(loop_scope="package")
async def web(servers: Servers) -> AsyncIterator[Web]:
    """A bridge and a web process with the console."""
    async with gateway(servers, console=True) as each:
        yield each


async def customer(each: Console, *streams: str) -> None:
    """Uses a token of customer 1, and chooses streams."""
    await each.use(token())
    await each.choose(*streams)


async def test_a_change(servers: Servers, web: Web, profile: BrowserContext) -> None:
    """A change that is made in Postgres appears, with what was before and after, its JSON, and its bytes as they came."""
    async with console(profile, base_of(web.port)) as each, web.stream() as beside:
        await customer(each, "bookings")
        await expect(each.page.locator("#streams input")).to_have_count(7)
        await each.connect()
        await note(servers, NASTY)
        (event,) = await beside.events(1)
        row = await each.row("UPDATE")
        assert await row.get_attribute("data-id") == event.id
        await row.click()
        diff = await each.diff()
        assert diff["notes"] == ("changed", "Ring twice", NASTY)
        assert diff["id"] == ("same", "1", "1")
        assert next(iter(diff)) in ("notes", "updated_at")
        await each.page.get_by_role("tab", name="JSON").click()
        assert orjson.loads(await each.page.locator("#json-panel pre").inner_text()) == event.data
        await each.page.get_by_role("tab", name="Raw bytes").click()
        raw = await each.page.locator("#raw-panel pre").evaluate("pre => [...pre.childNodes].map(each => each.textContent)")
        assert "".join(raw) == f"id: {event.id}\\n\nevent: bookings\\n\ndata: {event.raw}\\n\n\\n\n"
        await expect(each.part("last-id")).to_have_text(event.id)


async def test_what_is_told_meanwhile(servers: Servers, profile: BrowserContext) -> None:
    """Events and heartbeats are counted, and each event's delay is in the chart."""
    async with gateway(servers, console=True, heartbeat="1s") as each, console(profile, base_of(each.port)) as seen:
        await customer(seen, "bookings")
        await seen.connect()
        await note(servers, "one")
        await seen.row("one")
        await expect(seen.part("events")).to_have_text("2")
        await expect(seen.part("beats")).not_to_have_text("0", timeout=WITHIN_MS)
        label = re.compile("^Delay of the 1 events of the last two minutes: median")
        await expect(seen.part("chart")).to_have_attribute("aria-label", label)
        await expect(seen.page.locator("#chart .dots")).to_have_count(1)
        await expect(seen.part("median")).to_contain_text("s")
        await expect(seen.part("clock")).to_contain_text("clock")


async def test_claims(web: Web, profile: BrowserContext) -> None:
    """A token is decoded in the page, with the time that is left; a curl line that is pasted has its token taken out."""
    async with console(profile, base_of(web.port)) as each:
        given = token("1", "customer", tenant="Zoë", big=12345678901234567890)
        await each.use(f"curl -N -H 'Authorization: Bearer {given}' http://127.0.0.1:8000/streams/bookings")
        assert await each.part("token").input_value() == given
        lines = await each.page.locator("#claims dl > div").all()
        shown = {await line.locator("dt").inner_text(): await line.locator("dd").inner_text() for line in lines}
        assert (shown["sub"], shown["role"], shown["tenant"], shown["big"]) == ("1", "customer", "Zoë", "12345678901234567890")
        await expect(each.part("expiry")).to_contain_text("Expires in 00:59:")
        assert not [address for address in each.watch.addresses if given in address or "eyJ" in address]


async def test_formats(servers: Servers, web: Web, profile: BrowserContext) -> None:
    """In each format the difference is the same."""
    async with console(profile, base_of(web.port)) as each:
        await customer(each, "bookings")
        for format in ("raw", "diff", "supabase", "cloudevents"):
            await each.part("format").select_option(format)
            await each.connect()
            await each.row("ready")
            await change(servers, "update bookings set notes = 'before' where id = 1")
            await change(servers, "update bookings set notes = $1 where id = 1", f"as {format}")
            await (await each.row(f"before → as {format}")).click()
            diff = await each.diff()
            assert diff["notes"] == ("changed", "before", f"as {format}")
            assert diff["id"][1:] == ("1", "1")
            await each.button("Disconnect").click()
            await each.button("Clear").click()


async def test_a_snapshot_and_filters(servers: Servers, web: Web, profile: BrowserContext) -> None:
    """With a snapshot the rows of now come first; a filter lets only what passes it come, and what no longer does has left."""
    async with console(profile, base_of(web.port)) as each:
        await customer(each, "services", "bookings")
        await each.filter("services", "id", "in", "2,3")
        await each.filter("services", "price", "not.gt", "200")
        await each.page.get_by_label("Snapshot first").check()
        await each.connect()
        await (await each.row("services: 2 rows, done")).click()
        await expect(each.page.locator("#diff-panel tbody tr")).to_have_count(2)
        await change(servers, "update services set price = 1 where id in (1, 2)")
        assert await (await each.row("→ 1.00")).locator("td").nth(5).inner_text() == "2"
        await change(servers, "update services set price = 300 where id = 2")
        await (await each.row("left")).click()
        await expect(each.part("diff-panel")).to_contain_text("passes the filter no more")


async def copied(each: Console) -> str:
    """Presses the button, and returns what is in the clipboard."""
    await each.button("Copy as curl").click()
    await expect(each.part("copied")).to_have_text("Copied")
    found: str = await each.page.evaluate("navigator.clipboard.readText()")
    return found


@pytest.mark.parametrize("named", [False, True], ids=["with the token", "with $TOKEN"])
async def test_the_curl_line(servers: Servers, web: Web, profile: BrowserContext, named: bool) -> None:
    """The line that is copied opens the same stream when bash runs it, whatever is in a filter."""
    async with console(profile, base_of(web.port)) as each:
        await profile.grant_permissions(["clipboard-read", "clipboard-write"])
        await customer(each, "services")
        await each.filter("services", "name", "eq", NASTY)
        await each.part("since").fill("earliest")
        await each.part("named").set_checked(named)
        line = await copied(each)
        assert (token_there := "eyJ" in line) is not named, line
        environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "HOME": "/nowhere"} | ({"TOKEN": token()} if named else {})
        bash = await asyncio.create_subprocess_exec("bash", "-c", f"exec {line} --silent", stdout=PIPE, stderr=DEVNULL, env=environment)
        assert bash.stdout is not None
        try:
            assert await asyncio.wait_for(bash.stdout.readuntil(b"event: ready\n"), 30)
            await change(servers, "update services set name = $1 where id = 1", NASTY)
            came = await asyncio.wait_for(bash.stdout.readuntil(b"event: services\n"), 30)
            data = json.loads((await bash.stdout.readline()).decode().removeprefix("data: "))
            assert (data["type"], data["record"]["name"]) == ("INSERT", NASTY), came
        finally:
            bash.terminate()
            await bash.wait()
        assert token_there or "$TOKEN" in line


async def test_resume(servers: Servers, web: Web, profile: BrowserContext) -> None:
    """After a disconnect Resume brings what was missed, in order, and nothing twice."""
    async with console(profile, base_of(web.port)) as each:
        await customer(each, "bookings")
        await expect(each.button("Resume")).to_be_disabled()
        await each.connect()
        await note(servers, "one")
        await each.row("→ one")
        await each.button("Disconnect").click()
        await each.state("DISCONNECTED")
        for text in ("two", "three"):
            await note(servers, text)
        await each.button("Resume").click()
        await each.row("→ three")
        await expect(each.part("why")).to_have_text("Resumed: nothing is missing.")
        await note(servers, "four")
        await each.row("→ four")
        assert [text.rpartition(" → ")[2] for text in await each.notes()] == ["one", "two", "three", "four"]
        assert (ids := await each.ids()) == sorted(set(ids), key=lambda each: int(each.split("-")[1]))
        # What was committed before it was asked for tells nothing of the delay.
        await expect(each.rows("replayed")).to_have_count(2)


async def test_refusals(servers: Servers, profile: BrowserContext) -> None:
    """A refusal is told in words, with what the gateway says of it; what passes is waited for, what does not is not."""
    async with gateway(servers, console=True, connections_per_user=1) as web, console(profile, base_of(web.port), REFUSED) as each:
        problem = each.part("problem")
        await each.use(token()[:-6] + "AAAAAA")
        await expect(problem).to_contain_text("does not accept this token. the token's signature is wrong", ignore_case=True)
        await expect(each.button("Connect")).to_be_disabled()
        await each.use("no token")
        await expect(each.part("claims")).to_contain_text("This is no JWT")
        await customer(each, "services")
        await expect(problem).to_be_hidden()
        await each.filter("services", "price", "gt", "cheap")
        await each.button("Connect").click()
        await expect(problem).to_contain_text("does not understand this request")
        await expect(problem).to_contain_text("cheap")
        await each.state("DISCONNECTED")
        await each.button("Remove this filter").click()
        async with web.stream():
            await each.button("Connect").click()
            await expect(problem).to_contain_text("Too many at once")
            await each.state("RECONNECTING")
            await expect(each.part("why")).to_contain_text("Comes back in")

        async def admitted() -> bool:
            # The place is given back a moment after the stream is gone; it would be asked for again by itself, in a minute.
            await each.button("Connect").click()
            await expect(each.part("state")).to_have_text(re.compile("^(CONNECTED|RECONNECTING)$"))
            return await each.part("state").inner_text() == "CONNECTED"

        await until(admitted)
        await expect(problem).to_be_hidden()


async def test_the_fragment(servers: Servers, web: Web, profile: BrowserContext) -> None:
    """A link with a token and streams behind # connects at once; neither stays, and the token is kept only where that is asked for."""
    base = base_of(web.port)
    given = token()
    async with console(profile, base, fragment=f"#token={given}&streams=bookings,services") as each:
        await each.state("CONNECTED")
        assert each.page.url == f"{base}/console"
        await note(servers, "seen")
        await each.row("→ seen")
        assert not [address for address in each.watch.addresses[1:] if "eyJ" in address]
        await each.page.reload()
        assert await each.part("token").input_value() == ""
        await each.page.get_by_label("Remember in this tab").check()
        await each.use(given)
        await expect(each.part("expiry")).to_be_visible()
        await each.page.reload()
        await expect(each.part("expiry")).to_be_visible()
        other = await profile.new_page()
        await other.goto(f"{base}/console")
        assert await other.locator("#token").input_value() == ""
        await other.close()


async def test_control_what_is_watched(web: Web, profile: BrowserContext) -> None:
    """A page that loads from elsewhere, or has a script in it, is stopped by the policy, and the watch sees it."""

    async def break_it() -> None:
        async with watching(profile, base_of(web.port)):
            page = await profile.new_page()
            await page.goto(f"{base_of(web.port)}/console")
            await page.evaluate(_BREAK)
            await expect(page.locator("img")).to_have_count(2)
            assert await page.evaluate("window.ran") is None

    with pytest.raises(AssertionError, match=r"script-src.*img-src"):
        await break_it()
