"""Tokens: whom they speak for, and why not. Nothing of a token is ever in an error."""

import math
import re
import time
from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.key import Key, public_key, shared_secret
from auth.principal import Principal
from auth.token import LEEWAY_SECONDS, TokenError, TokenExpired, TokenMissing, Verifier, principal_of, sign
from tests.auth.pem import forge, part, private_key, public_pem

SECRET = "kK9-canary-of-the-secret-" * 3
VERIFIER = Verifier(shared_secret(SECRET), max_lifetime_seconds=math.inf)
SUBJECT = "canary-subject"


def claims(**more: Any) -> dict[str, Any]:
    """Returns good claims with changes; `...` takes one away."""
    given = {"sub": SUBJECT, "exp": int(time.time()) + 3600} | more
    return {name: value for name, value in given.items() if value is not ...}


def verify(verifier: Verifier = VERIFIER, **more: Any) -> Principal:
    return verifier.verify(jwt.encode(claims(**more), SECRET, "HS256"))


def refusal(token: str, verifier: Verifier = VERIFIER) -> str:
    """Returns why a token is refused, having seen that nothing of it is in the reason."""
    with pytest.raises(TokenError) as refused:
        verifier.verify(token)
    text = str(refused.value)
    told = {"the", "token", "token's", "has", "is", "wrong", "sub", "exp", "nbf", "iat", "provider_id", "roles", "name", "names"}
    for piece in (*token.split("."), SUBJECT, SECRET):
        assert len(piece) < 4 or piece in told or piece not in text
    return text


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_hmac_round_trip(algorithm: str) -> None:
    """A token of each HMAC algorithm is verified with the shared secret."""
    token = jwt.encode(claims(), SECRET, algorithm)
    assert VERIFIER.verify(token).subject == SUBJECT


@pytest.mark.parametrize(("kind", "algorithm"), [("rsa", "RS256"), ("p256", "ES256"), ("ed25519", "EdDSA")])
def test_public_key_round_trip(kind: str, algorithm: str) -> None:
    """A token signed with a private key is verified with its public key, and not with another's."""
    token = jwt.encode(claims(), private_key(kind), algorithm)
    assert Verifier(public_key(public_pem(kind))).verify(token).subject == SUBJECT
    other = "p256" if kind == "rsa" else "rsa"
    assert refusal(token, Verifier(public_key(public_pem(other)))) == "the token's algorithm is not accepted"


def test_signed_is_verified() -> None:
    """What `sign` makes is verified, with every claim that was given."""
    principal = VERIFIER.verify(sign(shared_secret(SECRET), claims(role="provider", provider_id="7", exp=2_000_000_000)))
    assert principal == Principal(SUBJECT, frozenset({"provider"}), "7", 2_000_000_000.0)


def test_public_key_does_not_sign() -> None:
    """With only a public key nothing can be signed, and the error says so."""
    with pytest.raises(TokenError, match="only a public key"):
        sign(public_key(public_pem("rsa")), claims())


@pytest.mark.parametrize("kind", ["rsa", "p256", "ed25519"])
def test_algorithm_confusion(kind: str) -> None:
    """A token signed with the text of the public key as an HMAC secret is refused."""
    pem = public_pem(kind)
    token = forge({"alg": "HS256", "typ": "JWT"}, claims(), pem.encode())
    assert refusal(token, Verifier(public_key(pem))) == "the token's algorithm is not accepted"


def test_algorithm_confusion_negative_control() -> None:
    """The same forged token is a good one for a verifier that takes its key and algorithm from it."""
    pem = public_pem("rsa")
    key = public_key(pem)
    careless = Key(part(pem.encode()), (*key.algorithms, "HS256"))
    token = forge({"alg": "HS256", "typ": "JWT"}, claims(), part(pem.encode()).encode())
    assert Verifier(careless).verify(token).subject == SUBJECT


@pytest.mark.parametrize("algorithm", ["none", "None", "RS256", "ES256", "EdDSA", "HS1", "", None, [], ["HS256"], {}, 256])
def test_foreign_algorithm_is_refused(algorithm: Any) -> None:
    """No header talks the verifier into an algorithm that is not its key's, although the signature fits HS256."""
    token = forge({"alg": algorithm, "typ": "JWT"}, claims(), SECRET.encode())
    assert refusal(token) == "the token's algorithm is not accepted"


def test_unsigned_is_refused() -> None:
    """A token without a signature is refused."""
    assert refusal(f"{part({'alg': 'none'})}.{part(claims())}.") == "the token's algorithm is not accepted"


def test_narrowed_algorithm_is_refused() -> None:
    """With ROWCAST_JWT_ALGORITHMS=HS512 a token of HS256 is refused, and one of HS512 is not."""
    key = shared_secret(SECRET, ("HS512",))
    narrow = Verifier(key)
    assert refusal(jwt.encode(claims(), SECRET, "HS256"), narrow) == "the token's algorithm is not accepted"
    assert narrow.verify(sign(key, claims())).subject == SUBJECT


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_secret_too_short_for_the_algorithm(algorithm: str) -> None:
    """A stronger HMAC than the secret is long enough for is a refused token, never a crash."""
    short = Verifier(shared_secret("s" * 40))
    assert "algorithm" in refusal(forge({"alg": algorithm}, claims(), b"s" * 40), short)


def test_wrong_signature_is_refused() -> None:
    """A token signed with another secret, or changed after it was signed, is refused."""
    assert refusal(jwt.encode(claims(), "x" * 64, "HS256")) == "the token's signature is wrong"
    header, _, signature = jwt.encode(claims(), SECRET, "HS256").split(".")
    assert refusal(f"{header}.{part(claims(sub='another'))}.{signature}") == "the token's signature is wrong"


@pytest.mark.parametrize("missing", ["exp", "sub"])
def test_required_claims(missing: str) -> None:
    """Without `exp` or `sub` a token is refused, naming which."""
    assert refusal(jwt.encode(claims(**{missing: ...}), SECRET, "HS256")) == f"the token has no {missing}"


def test_expired() -> None:
    """A token that expired longer ago than the leeway is refused as expired, and one within it is not."""
    now = int(time.time())
    with pytest.raises(TokenExpired):
        verify(exp=now - LEEWAY_SECONDS - 2)
    assert verify(exp=now - LEEWAY_SECONDS + 5).expires_at == now - LEEWAY_SECONDS + 5


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_not_yet_valid(name: str) -> None:
    """A token of the future is refused, and the reason says that it is not valid yet."""
    assert "not valid yet" in refusal(jwt.encode(claims(**{name: int(time.time()) + 600}), SECRET, "HS256"))


@pytest.mark.parametrize(
    "exp", ["2000000000", "soon", 2_000_000_000_000, 1e308, -1, 4_102_444_800, True, None, [], {}, [2_000_000_000], 10**30]
)
def test_odd_exp_is_refused(exp: Any) -> None:
    """An `exp` that is not a plain number of seconds in this century is refused: milliseconds never mean for ever."""
    refusal(jwt.encode(claims(exp=exp) | {"exp": exp}, SECRET, "HS256"))


@pytest.mark.parametrize("text", [b"NaN", b"Infinity", b"1e400", b"9" * 5000, b"-Infinity"])
def test_exp_that_is_no_json_number_is_refused(text: bytes) -> None:
    """An `exp` that Python reads and JSON does not know is refused."""
    refusal(forge({"alg": "HS256"}, b'{"sub":"%b","exp":%b}' % (SUBJECT.encode(), text), SECRET.encode()))


@pytest.mark.parametrize("exp", [2_000_000_000, 2_000_000_000.5])
def test_plain_exp_is_taken(exp: float) -> None:
    """A number of seconds, whole or not, is when the principal expires."""
    assert verify(exp=exp).expires_at == exp


@pytest.mark.parametrize("sub", ["", " ", "a b", "a\nb", "a\x00", "\u2028", "x" * 129, 1.5, True, None, [], ["1"], {"id": 1}, 10**200])
def test_odd_sub_is_refused(sub: Any) -> None:
    """A `sub` that is not printable text of a sane length, or a whole number, is refused."""
    refusal(jwt.encode(claims() | {"sub": sub}, SECRET, "HS256"))


@pytest.mark.parametrize("sub", ["1", "0", "-1", "user@example.com", "7b1c…", "ünï", "x" * 128, "a-b_c.d:e/f"])
def test_sub_is_taken_as_it_is(sub: str) -> None:
    """Printable text without blanks is a subject, unchanged."""
    assert verify(sub=sub).subject == sub


def test_sub_may_be_a_number() -> None:
    """A whole number is the subject of the same digits: many issuers write a user's id so."""
    assert verify(sub=42).subject == verify(sub="42").subject == "42"


def test_provider_id() -> None:
    """A provider's id is the subject, unless the token says otherwise, as text or as a number."""
    assert verify().provider_id == SUBJECT
    assert verify(provider_id="9").provider_id == "9"
    assert verify(provider_id=9).provider_id == "9"
    for odd in ("", "a b", None, 1.5, True, [9]):
        assert "provider_id" in refusal(jwt.encode(claims(provider_id=odd), SECRET, "HS256"))


@pytest.mark.parametrize(
    ("given", "roles"),
    [
        ({}, set()),
        ({"role": "customer"}, {"customer"}),
        ({"roles": ["customer", "admin"]}, {"customer", "admin"}),
        ({"roles": "provider"}, {"provider"}),
        ({"role": ["admin"]}, {"admin"}),
        ({"role": "customer", "roles": ["provider"]}, {"provider"}),
        ({"role": "admin", "roles": []}, set()),
        ({"role": "king"}, set()),
        ({"roles": ["king", "customer"]}, {"customer"}),
        ({"role": "Admin"}, set()),
        ({"role": "customer,admin"}, set()),
        ({"role": ""}, set()),
    ],
)
def test_roles(given: dict[str, Any], roles: set[str]) -> None:
    """`roles` wins over `role`; a name or a list of names; what is not a role of ours is none."""
    assert verify(**given).roles == roles


@pytest.mark.parametrize("roles", [None, 1, True, {}, {"admin": True}, [1], ["admin", None], [["admin"]]])
def test_odd_roles_are_refused(roles: Any) -> None:
    """Roles that are neither a name nor a list of names are refused, under either claim."""
    assert "roles" in refusal(jwt.encode(claims(roles=roles), SECRET, "HS256"))
    assert "roles" in refusal(jwt.encode(claims(role=roles), SECRET, "HS256"))


def test_issuer() -> None:
    """Where an issuer is configured, a token from another or from none is refused."""
    strict = Verifier(VERIFIER.keys, issuer="https://issuer.example")
    assert verify(strict, iss="https://issuer.example").subject == SUBJECT
    assert refusal(jwt.encode(claims(iss="https://other.example"), SECRET, "HS256"), strict) == "the token is from another issuer"
    assert refusal(jwt.encode(claims(), SECRET, "HS256"), strict) == "the token has no iss"
    assert verify(iss="anybody").subject == SUBJECT


def test_audience() -> None:
    """Where an audience is configured, a token for another or for none is refused; one for several fits if ours is among them."""
    strict = Verifier(VERIFIER.keys, audience="rowcast")
    assert verify(strict, aud="rowcast").subject == SUBJECT
    assert verify(strict, aud=["other", "rowcast"]).subject == SUBJECT
    assert refusal(jwt.encode(claims(aud="other"), SECRET, "HS256"), strict) == "the token is for another audience"
    assert refusal(jwt.encode(claims(), SECRET, "HS256"), strict) == "the token has no aud"
    assert verify(aud="anybody").subject == SUBJECT


@pytest.mark.parametrize(
    "token", ["", "a", "a.b", "a.b.c", ".", "..", "....", "ä.b.c", "\x00", " ", part([]) + ".e30.AA", part(b"[" * 5900) + ".e30.AA"]
)
def test_text_that_is_no_token(token: str) -> None:
    """Anything that is not a token is malformed, never a crash."""
    assert refusal(token) == "the token is malformed"


def test_oversized_token_is_refused() -> None:
    """A token of more than 8 KiB is refused before it is looked at, even a good one."""
    assert refusal(jwt.encode(claims(padding="x" * 8192), SECRET, "HS256")) == "the token is too large"


def test_missing_is_an_error_of_its_own() -> None:
    """No token and a bad token are told apart, and both are token errors."""
    assert issubclass(TokenMissing, TokenError)
    assert issubclass(TokenExpired, TokenError)
    assert not issubclass(TokenExpired, TokenMissing)


@given(st.text(alphabet=st.characters(max_codepoint=0x2FF), max_size=200), st.integers(0, 300), st.sampled_from(["insert", "cut", "flip"]))
def test_damaged_tokens_are_token_errors(noise: str, at: int, how: str) -> None:
    """However a token is damaged, it is refused with a reason of ours that contains no word of it."""
    good = jwt.encode({"sub": SUBJECT, "exp": 2_000_000_000}, SECRET, "HS256")
    at = min(at, len(good) - 2)
    damaged = {"insert": good[:at] + noise + good[at:], "cut": good[:at], "flip": good[:at] + noise[:1] + good[at + 1 :]}[how]
    text = ""
    try:
        assert VERIFIER.verify(damaged).subject == SUBJECT
    except TokenError as refused:
        text = str(refused)
    assert not [word for word in re.findall(r"[\w-]{12,}", damaged) if word in text]


@pytest.mark.parametrize("value", ["\ud800", {"deep": ["\udfff"]}, 10**400])
def test_claims_that_cannot_be_passed_on(value: object) -> None:
    """What no JSON can say is refused where claims are kept, and looked at by nobody where they are not."""
    given = claims(name=value)
    assert principal_of(given).subject == SUBJECT
    with pytest.raises(TokenError, match="passed on"):
        principal_of(given, keep_claims=True)
