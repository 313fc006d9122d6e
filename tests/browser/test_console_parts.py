"""Parts of the console, in the page that they belong to: reading a stream, showing bytes, quoting, keeping digits, bounds, the keyboard."""

import asyncio
import itertools
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, expect

from tests.browser.console import Console, base_of, change, console, note
from tests.support.gateway import gateway, token
from tests.support.servers import Servers

pytestmark = pytest.mark.asyncio(loop_scope="package")

_READ = """async ([bytes, cuts]) => {
  const {Parser} = await import("/console/sse.js");
  const parser = new Parser(), found = [];
  for (const [from, to] of cuts) found.push(...parser.push(Uint8Array.from(bytes.slice(from, to))));
  return found.map(({raw, ...each}) => ({...each, ...(raw && {raw: [...raw]})}));
}"""
_PIECES = """async bytes => {
  const {pieces} = await import("/console/raw.js");
  return pieces(Uint8Array.from(bytes)).map(each => each.mark ? `[${each.mark}]` : each.text).join("");
}"""
_OUTLINE = "(({outlineStyle, outlineWidth}) => [outlineStyle, outlineWidth])(getComputedStyle(document.activeElement))"


@pytest_asyncio.fixture(loop_scope="package")
async def each(servers: Servers, profile: BrowserContext) -> AsyncIterator[Console]:
    """An open console of a gateway that runs."""
    async with gateway(servers, console=True) as web, console(profile, base_of(web.port)) as seen:
        yield seen


async def read(each: Console, data: bytes, *cuts: int) -> list[dict[str, Any]]:
    """Lets the page read bytes that come in pieces."""
    edges = [0, *cuts, len(data)]
    found: list[dict[str, Any]] = await each.page.evaluate(_READ, [list(data), list(itertools.pairwise(edges))])
    return found


async def test_reading(each: Console) -> None:
    """A stream reads the same however it is cut, with each event's bytes, and each heartbeat by itself."""
    blocks = [
        b"retry: 3000\nid: k3f9-1\nevent: ready\ndata: {}\n\n",
        b":\n",
        'id: k3f9-2\nevent: bookings\ndata: {"notes":"ü → 🚀"}\n\n'.encode(),
        b"id: k3f9-3\r\n: inside\r\ndata: one\r\ndata:two\r\ndata\r\n\r\n",
        b"id: bad\0id\ndata: the id before holds\n\n",
        b"event: nothing\n\n",
        b"data: cut off",
    ]
    data = b"\xef\xbb\xbf" + b"".join(blocks)
    whole = await read(each, data)
    assert [(event.get("name"), event.get("id"), event.get("data")) for event in whole if "beat" not in event] == [
        ("ready", "k3f9-1", "{}"),
        ("bookings", "k3f9-2", '{"notes":"ü → 🚀"}'),
        ("message", "k3f9-3", "one\ntwo\n"),
        ("message", "k3f9-3", "the id before holds"),
    ]
    assert [bytes(event["raw"]) for event in whole if "raw" in event] == [blocks[0], blocks[2], blocks[3], blocks[4]]
    assert whole[0]["retry"] == 3000
    assert sum("beat" in event for event in whole) == 2
    assert await read(each, data, *range(1, len(data))) == whole
    for cut in range(1, len(data), 7):
        assert await read(each, data, cut) == whole


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"plain", "plain"),
        (b"a\nb\r\n", "a[\\n]\nb[\\r][\\n]\n"),
        (b"\t\x00\x1b\x7f", "[\\t][\\0][\\x1b][\\x7f]"),
        ("a\u200bb\u202ec\u0085".encode(), "a[U+200B]b[U+202E]c[U+0085]"),
        (b"\xffa\xc3\xbc\xe2\x82", "[\\xff]aü[\\xe2][\\x82]"),
        ("<b>ü 🚀</b>".encode(), "<b>ü 🚀</b>"),
    ],
)
async def test_bytes(each: Console, data: bytes, shown: str) -> None:
    """Bytes are shown as text in which nothing hides."""
    assert await each.page.evaluate(_PIECES, list(data)) == shown


@pytest.mark.parametrize("word", ["plain", "O'Brien", "'''", '$HOME `id` \\ "x" !! *', "-n", "a\tb", "ü → 🚀", "{a,b}[1-3]"])
async def test_quoting(each: Console, word: str) -> None:
    """A quoted word is one word to a shell, as it was."""
    quoted = await each.page.evaluate("async word => (await import('/console/request.js')).quoted(word)", word)
    for shell in ("bash", "sh"):
        process = await asyncio.create_subprocess_exec(shell, "-c", f"printf %s {quoted}", stdout=PIPE)
        assert (await process.communicate())[0].decode() == word


async def test_digits(servers: Servers, each: Console) -> None:
    """Numbers keep their digits, beyond what the browser's numbers have and behind the point."""
    await each.use(token("13", "admin"))
    await each.choose("changes")
    await each.connect()
    # So many digits come nowhere in the examples: a numeric with a scale and an id beyond 2^53 do.
    await change(servers, "insert into notifications (id, user_id, kind, title) values (9007199254740993, 1, 'x', 'digits')")
    await (await each.row("title digits")).click()
    assert (await each.diff())["id"] == ("added", "", "9007199254740993")
    await each.page.get_by_role("tab", name="JSON").click()
    await expect(each.part("json-panel")).to_contain_text('"id": 9007199254740993')
    await change(servers, "update services set price = 70.10 where id = 1")
    await (await each.row("→ 70.10")).click()
    await expect(each.part("json-panel")).to_contain_text('"price": 70.10')


async def test_markup(servers: Servers, each: Console) -> None:
    """What comes is text: markup in a row is shown and never is any."""
    await each.use(token())
    await each.choose("bookings")
    await each.connect()
    markup = "<img src=x onerror='window.ran = true'><script>window.ran = true</script>"
    await note(servers, markup)
    row = await each.row("UPDATE")
    await expect(row).to_contain_text(markup)
    await row.click()
    assert (await each.diff())["notes"][2] == markup
    for view in ("JSON", "Raw bytes"):
        await each.page.get_by_role("tab", name=view).click()
    assert await each.page.evaluate("[window.ran === undefined, document.images.length]") == [True, 1]


async def test_many(servers: Servers, each: Console) -> None:
    """The table keeps the last 500; paused it stays as it is and counts what comes; a text leaves only what has it."""
    await each.use(token())
    await each.choose("bookings")
    await each.connect()
    await each.row("ready")
    many = "do $$ begin for i in 1..520 loop update bookings set notes = 'many ' || i where id = 1; end loop; end $$"
    await change(servers, many)
    await expect(each.rows("→ many 520")).to_have_count(1, timeout=30_000)
    await expect(each.rows()).to_have_count(500)
    await expect(each.rows("ready")).to_have_count(0)
    await each.button("Pause").click()
    await note(servers, "while paused")
    await expect(each.part("shown")).to_contain_text("1 more since the pause", timeout=30_000)
    await expect(each.rows("while paused")).to_have_count(0)
    await each.button("Go on").click()
    await expect(each.rows().first).to_contain_text("while paused")
    await each.part("search").fill("MANY 51")
    await expect(each.rows()).to_have_count(13)
    await each.part("search").fill("no such text")
    await expect(each.part("empty")).to_have_text("No event has this text.")
    await each.button("Clear").click()
    await expect(each.part("empty")).to_have_text("Nothing yet. Choose streams, and connect.")


async def press(each: Console, key: str, until: str, most: int = 80) -> None:
    """Presses a key until what has the focus fits a selector; where it has, that is seen."""
    for _ in range(most):
        await each.page.keyboard.press(key)
        if await each.page.evaluate("selector => document.activeElement.matches(selector)", until):
            outline = await each.page.evaluate(_OUTLINE)
            assert outline == ["solid", "2px"], f"that {until} has the focus is not seen"
            return
    raise AssertionError(f"{key} leads to no {until}")


async def test_by_keyboard(servers: Servers, each: Console) -> None:
    """Everything goes without a mouse, from the token to the event's bytes, and what has the focus is seen."""
    keyboard = each.page.keyboard
    await press(each, "Tab", "#token")
    await keyboard.insert_text(token())
    await press(each, "Tab", "#access button")
    await keyboard.press("Enter")
    await expect(each.page.locator("#stream-bookings")).to_be_visible()
    await press(each, "Tab", "#stream-bookings")
    await keyboard.press("Space")
    await press(each, "Tab", "#connect")
    await keyboard.press("Enter")
    await each.state("CONNECTED")
    for text in ("one", "two", "three"):
        await note(servers, text)
        await each.row(f"→ {text}")
    await press(each, "Tab", "#rows tr")
    await expect(each.part("detail")).to_be_visible()
    await expect(each.rows("→ three")).to_have_attribute("aria-selected", "true")
    await keyboard.press("ArrowDown")
    await expect(each.rows("→ two")).to_have_attribute("aria-selected", "true")
    await expect(each.rows("→ three")).to_have_attribute("aria-selected", "false")
    assert (await each.diff())["notes"] == ("changed", "one", "two")
    await note(servers, "four")
    await each.row("→ four")
    assert await each.page.evaluate("document.activeElement.textContent.includes('→ two')")
    await keyboard.press("Home")
    await expect(each.rows("→ four")).to_be_focused()
    await press(each, "Tab", "#view-diff")
    await keyboard.press("End")
    await expect(each.part("raw-panel")).to_be_visible()
    await keyboard.press("Tab")
    await expect(each.part("raw-panel")).to_be_focused()
    await press(each, "Shift+Tab", "#disconnect")
    await keyboard.press("Enter")
    await each.state("DISCONNECTED")
    await press(each, "Tab", "#resume")
    await keyboard.press("Enter")
    await each.state("CONNECTED")
