"""Whatever a request is made of, it is answered as the laws say, and nobody else notices."""

import json
import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import wire
from tests.fuzz import condition, head, law
from tests.fuzz.answer import Answer, Exchange
from tests.fuzz.condition import Asked
from tests.fuzz.conftest import examples, few_or_many
from tests.fuzz.credential import JSON
from tests.fuzz.ground import SENDER, Ground
from tests.support.gateway import token

CUSTOMER = f"Authorization: Bearer {token(SENDER, ttl=86_400)}"
ADMIN = f"Authorization: Bearer {token('fuzz-admin', 'admin', ttl=86_400)}"
_ID = re.compile(r"[0-9a-z]{4,16}-[0-9]{1,18}(-[a-z][a-z-]{0,30})?")


def answer_of(made: Exchange) -> Answer:
    """Returns the one answer, which must be there at once or later."""
    made.listen(30)
    (answer,) = made.answers
    return answer


@few_or_many(80, 2000)
def test_any_bytes(field: Ground, count: int) -> None:
    """Bytes that are a request, or nearly one, or none, break no law."""

    @examples(count)
    @given(head.heads())
    def send(data: bytes) -> None:
        field.send(data, *head.methods(data))

    send()


@few_or_many(20, 500)
def test_requests_in_a_row(field: Ground, count: int) -> None:
    """Requests that come one behind the other are answered one behind the other, each as if it were alone."""

    @examples(count)
    @given(head.rows(), st.integers(1, 400))
    def send(row: list[tuple[bytes, tuple[str, int]]], size: int) -> None:
        made = field.send(b"".join(data for data, _ in row), *(method for _, (method, _) in row))
        made.listen(30)
        assert [answer.status for answer in made.answers] == [status for _, (_, status) in row]

    send()


@few_or_many(30, 800)
def test_any_id(field: Ground, count: int) -> None:
    """Whatever a client takes for its last id, in the header or the address, is where it goes on from, or a reset that says why."""
    texts = (
        st.text(max_size=40) | st.from_regex(_ID, fullmatch=True) | st.sampled_from(["earliest", "none-0", "x" * 7000, "abcd-" + "9" * 18])
    )

    @examples(count)
    @given(
        texts, st.sampled_from(["header", "lastEventId", "last_event_id"]), st.sampled_from(["bookings", "services,bookings", "properties"])
    )
    def send(text: str, where: str, streams: str) -> None:
        if where == "header":
            text = re.sub("[\x00-\x08\x0a-\x1f\x7f]", "", text)
            sent = text.encode("utf-8", "surrogatepass").strip(b" \t").decode("latin-1")
            made = field.ask("GET", f"/streams/{streams}", CUSTOMER, b"Last-Event-ID: " + text.encode("utf-8", "surrogatepass"))
        else:
            sent = text.encode("utf-8", "surrogatepass").decode("utf-8", "replace")
            made = field.ask("GET", f"/streams/{streams}?{where}={quote(text, safe='', errors='surrogatepass')}", CUSTOMER)
        answer = answer_of(made)
        assert (answer.status, answer.stream) == (200, True), answer
        status = re.findall(rb'"status":"(\w+)"', answer.body)[0].decode()
        assert status in ({"fresh"} if not sent else {"resumed"} if sent == "earliest" else {"resumed", "reset"})
        if sent and sent != "earliest" and _ID.fullmatch(sent) is None:
            assert b'"reason":"unknown-id"' in answer.body

    send()


def filters(ground: Ground, count: int, shrink: bool = True) -> None:
    """Sends any filter; what is good opens a stream, and what is not names what is wrong."""

    @examples(count, shrink)
    @given(condition.asked())
    def send(asked: Asked) -> None:
        answer = answer_of(ground.ask("GET", asked.path, CUSTOMER))
        assert answer.status == 200 if asked.good else answer.status in (200, 400, 414), (asked, answer)
        if answer.status == 400:
            assert law.naming(answer, *asked.words), (asked, answer)

    send()


@few_or_many(60, 1500)
def test_any_filter(field: Ground, count: int) -> None:
    """A filter is understood or refused by name, whatever its text."""
    filters(field, count)


@few_or_many(30, 600)
def test_any_body(field: Ground, count: int) -> None:
    """A body is what it should be or is refused, also where none is read."""
    revocations = st.fixed_dictionaries({}, optional={"sub": JSON, "jti": JSON, "issued_before": JSON, "extra": JSON})
    bodies = st.binary(max_size=60) | (JSON | revocations).map(_json) | st.just(b"x" * 20_000) | st.just(b"[" * 16_000)
    paths = st.sampled_from(
        [("POST", "/admin/revocations"), ("POST", "/auth/session"), ("POST", "/auth/ticket"), ("DELETE", "/auth/session")]
    )

    @examples(count)
    @given(paths, bodies)
    def send(path: tuple[str, str], body: bytes) -> None:
        answer = answer_of(field.ask(*path, ADMIN, body=body))
        assert answer.status in ((204, 400, 413) if "admin" in path[1] else (200, 204)), answer

    send()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


@few_or_many(30, 600)
def test_any_question(field: Ground, count: int) -> None:
    """What admins ask is answered or refused by name, whatever stands in it."""
    values = st.text(max_size=12) | st.sampled_from(
        ["", "1", "bookings", "changes", "abcd-1", "none-0", "admin,x", "status=eq.x", "x" * 3000, "0-0"]
    )
    names = ["sub", "stream", "id", "role", "provider_id", "filter", "x", ""]
    pairs = st.lists(st.tuples(st.sampled_from(names), values), max_size=7)

    @examples(count)
    @given(st.sampled_from(["/admin/explain", "/admin/connections", "/admin/state", "/streams"]), pairs, st.booleans())
    def send(path: str, given: list[tuple[str, str]], whole: bool) -> None:
        if whole and path == "/admin/explain":
            given = [
                ("sub", "1"),
                ("stream", "bookings"),
                ("id", "abcd-1"),
                *(each for each in given if each[0] not in ("sub", "stream", "id")),
            ]
        query = "&".join(f"{quote(name)}={quote(value, safe='', errors='surrogatepass')}" for name, value in given)
        answer = answer_of(field.ask("GET", f"{path}?{query}", ADMIN))
        assert answer.status in (200, 400, 404), answer

    send()


def test_control_the_grammar_finds_a_crash(damaged: Ground) -> None:
    """A filter that crashes the gateway is found by the filters that are made up, without being told of."""
    with pytest.raises(AssertionError, match="status 500"):
        filters(damaged, 300, shrink=False)


BREAKERS: dict[str, tuple[str, Callable[[Ground], object]]] = {
    "a crash": ("status 500", lambda ground: ground.ask("GET", "/streams/bookings?status=ilike.x", CUSTOMER)),
    "plain text": ("no problem[+]json", lambda ground: ground.ask("POST", "/livez")),
    "another's row": ("another's row", lambda ground: ground.ask("GET", "/nonsense")),
    "silence": ("neither answered nor closed", lambda ground: ground.ask("GET", "/metrics")),
    "a neighbour's end": ("the neighbour hears", lambda ground: ground.ask("GET", "/streams/availability", CUSTOMER)),
    "its own end": ("the neighbour hears nothing", lambda ground: ground.publish(wire.HEAD, ground.beat("odd", 1, 0))),
}
"""What the damaged gateway does, and a request that makes it do so."""


@pytest.mark.parametrize("what", BREAKERS)
def test_control_laws_are_seen_broken(damaged: Ground, what: str) -> None:
    """A gateway that breaks a law is found out by one request."""
    said, ask = BREAKERS[what]
    with pytest.raises(AssertionError, match=said):
        _see(damaged, ask)


def _see(ground: Ground, ask: Callable[[Ground], object]) -> None:
    ask(ground)
    ground.settle(2)
    ground.check()
