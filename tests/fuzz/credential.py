"""Tokens as nobody should make them: header, payload and signature each good, odd or another's, and their text damaged."""

import base64
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.fuzz.ground import SENDER
from tests.support.gateway import SECRET

EXPIRES = int(time.time()) + 86_400
GOOD: Mapping[str, Any] = {"sub": str(SENDER), "role": "customer", "exp": EXPIRES}
_HEADER: Mapping[str, Any] = {"alg": "HS256", "typ": "JWT"}

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**40), 10**40)
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["", "1", "admin", "\ud800", "\x00", "x" * 200, "a b", "1\u00a0", "\u202e", float("nan"), float("inf"), 1e308, -0.0])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
"""Any JSON, and what Python writes besides: NaN, halves of characters, numbers without end."""
_CLAIMS = ["sub", "exp", "nbf", "iat", "role", "roles", "provider_id", "jti", "aud", "iss", "typ", "scope", "permissions"]
_HEADERS = ["alg", "typ", "kid", "jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "cty", "enc"]
_ALGORITHMS = ["HS256", "HS384", "HS512", "none", "None", "RS256", "ES256", "EdDSA", "hs256", "", "HS256 "]
_TIMES = [0, -1, 1, EXPIRES, EXPIRES - 90_000, EXPIRES * 1000, 1e308, str(EXPIRES), EXPIRES + 0.5, 2**63, 4_102_444_800]


@dataclass(frozen=True)
class Shown:
    """A token; `signed` if an honest issuer's signature is under what it says, and its text is whole."""

    text: str
    signed: bool


@st.composite
def shown(draw: st.DrawFn) -> Shown:
    """Any token."""
    header = draw(_object(_HEADER, _HEADERS, {"alg": st.sampled_from(_ALGORITHMS), "typ": st.sampled_from(["JWT", "at+jwt", "jwt", ""])}))
    times = st.sampled_from(_TIMES) | LEAVES
    roles = st.sampled_from(["customer", "provider", "nobody", ["customer"], ["customer", 1], [["customer"]], {}])
    payload = draw(
        _object(GOOD, _CLAIMS, {"exp": times, "nbf": times, "iat": times, "role": roles | JSON, "roles": roles | JSON, "sub": LEAVES})
    )
    secret, digest = SECRET.encode(), "sha256"
    how = draw(st.sampled_from(["honest"] * 8 + ["empty", "another", "cut", "noise", "sha512", "doubled"]))
    signed = f"{_part(header)}.{_part(payload)}"
    if how == "another":
        secret = draw(st.binary(max_size=40))
    if how == "sha512":
        digest = "sha512"
    signature = hmac.new(secret, signed.encode(), digest).digest()
    signature = {"empty": b"", "cut": signature[:-1], "doubled": signature * 2, "noise": draw(st.binary(max_size=40))}.get(how, signature)
    text = f"{signed}.{_part(signature)}"
    whole = True
    if draw(st.integers(0, 7)) == 0:
        damaged = draw(_damaged(text))
        # What stands around it is no part of it.
        whole, text = damaged.strip() == text, damaged
    return Shown(text, whole and how in ("honest", "sha512") and secret == SECRET.encode())


@st.composite
def _object(draw: st.DrawFn, good: Mapping[str, Any], names: list[str], fitting: Mapping[str, st.SearchStrategy[Any]]) -> bytes:
    """JSON of an object, mostly good; a member may be there twice, and the whole may be none at all."""
    if draw(st.integers(0, 15)) == 0:
        return draw(
            st.binary(max_size=40) | st.sampled_from([b"", b"null", b"[]", b"{", b"[" * 3000, b'{"a":' * 900, b"\xff", b"1" * 5000])
        )
    members = list(good.items())
    for _ in range(draw(st.integers(0, 3))):
        name = draw(st.sampled_from(names) | st.text(max_size=8))
        members = [each for each in members if each[0] != name or draw(st.integers(0, 4)) == 0]
        if draw(st.integers(0, 3)):
            members.append((name, draw(fitting.get(name, JSON))))
    ascii = draw(st.booleans())
    text = ",".join(f"{json.dumps(name)}:{json.dumps(value, ensure_ascii=ascii)}" for name, value in members)
    return ("{" + text + "}").encode("utf-8", "surrogatepass")


@st.composite
def _damaged(draw: st.DrawFn, text: str) -> str:
    at = draw(st.integers(0, len(text)))
    piece = draw(
        st.sampled_from([".", "=", "==", "+", "/", " ", "\t", "A", "é", "\xff", "..", "%2E"])
        | st.text(st.characters(codec="latin-1"), max_size=3)
    )
    piece = piece.replace("\r", "").replace("\n", "")
    return draw(st.sampled_from([text[:at] + piece + text[at:], text[:at] + piece + text[at + 1 :], text[:at], text[at:], text * 2]))


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
