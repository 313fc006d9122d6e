"""Whatever is shown as a credential, only an honest issuer's opens anything, and what is refused says so and no more."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz import credential
from tests.fuzz.answer import Answer
from tests.fuzz.conftest import examples, few_or_many
from tests.fuzz.credential import Shown
from tests.fuzz.ground import SENDER, Ground
from tests.fuzz.test_request import answer_of
from tests.support.gateway import token

_DOORS = [("GET", "/streams"), ("GET", "/streams/bookings"), ("POST", "/auth/ticket"), ("POST", "/auth/session"), ("GET", "/admin/state")]
COOKIE = "__Secure-rowcast"


def let_in(answer: Answer) -> bool:
    """Whether somebody was known: also one who may not do this."""
    return answer.status in (200, 204, 403) or (answer.status == 400 and b"cookie has no room" in answer.body)


def tokens(ground: Ground, count: int, shrink: bool = True) -> None:
    """Shows any token at any door; one that is let in has an honest signature."""

    @examples(count, shrink)
    @given(credential.shown(), st.sampled_from(_DOORS))
    def send(shown: Shown, door: tuple[str, str]) -> None:
        answer = answer_of(ground.ask(*door, f"Authorization: Bearer {shown.text}"))
        assert answer.status in (200, 204, 400, 401, 403, 431), answer
        assert shown.signed or not let_in(answer), (shown, answer)
        signature = shown.text.rpartition(".")[2].encode("utf-8", "surrogateescape")
        assert len(signature) < 20 or signature not in answer.body, answer

    send()


@few_or_many(60, 2000)
def test_any_token(field: Ground, count: int) -> None:
    """Header, claims, signature and text may each be anything: who is let in was signed for."""
    tokens(field, count)


def test_control_a_token_is_let_in_that_nobody_signed(field: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """If good signatures counted as forged, the same law would find those who are let in."""
    monkeypatch.setattr(Shown, "signed", False, raising=False)
    monkeypatch.setattr(Shown, "__init__", lambda self, text, signed: object.__setattr__(self, "text", text))
    with pytest.raises(AssertionError, match="Shown"):
        tokens(field, 200, shrink=False)


@few_or_many(25, 600)
def test_any_cookie(field: Ground, count: int) -> None:
    """A cookie's token is held to the same, whatever stands around it."""
    around = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\x00"), max_size=12)

    @examples(count)
    @given(credential.shown(), around, around, st.sampled_from(["http://rowcast", "https://evil.example", None]))
    def send(shown: Shown, before: str, behind: str, origin: str | None) -> None:
        lines = [f"Cookie: {before};{COOKIE}={shown.text};{behind}".encode("latin-1", "replace")]
        answer = answer_of(field.ask("GET", "/streams", *lines, *([f"Origin: {origin}"] if origin else [])))
        assert answer.status in (200, 400, 401, 403), answer
        assert answer.status != 200 or (shown.signed and origin == "http://rowcast"), (shown, answer)

    send()


@few_or_many(15, 400)
def test_any_ticket(field: Ground, count: int) -> None:
    """A ticket that nobody has issued opens nothing, and one that was opens once, whatever else comes with it."""
    issued = f"Authorization: Bearer {token(SENDER, ttl=86_400)}"
    texts = st.text(max_size=60) | st.text("abcXYZ09-_", min_size=43, max_size=43) | credential.shown().map(lambda shown: shown.text)

    @examples(count)
    @given(texts, st.booleans(), st.sampled_from(["", "a=b", f"{COOKIE}-0123456789ab=x"]))
    def send(text: str, real: bool, cookie: str) -> None:
        lines = [f"Cookie: {cookie}"] if cookie else []
        shown = str(answer_of(field.ask("POST", "/auth/ticket", issued)).json["ticket"]) if real else text
        path = f"/streams/bookings?ticket={quote(shown, safe='', errors='surrogatepass')}"
        statuses = [answer_of(field.ask("GET", path, *lines)).status for _ in range(2)]
        assert statuses == ([200, 401] if real else [401, 401]), statuses

    send()
