"""The table of odd carriers."""

from collections.abc import Callable, Mapping

from tests.acceptance.hostile.client import APP, COOKIE, bearer
from tests.acceptance.hostile.maker import hs

CARRIERS: Mapping[str, tuple[Callable[[], tuple[str, ...]], tuple[int, ...]]] = {
    "none": (tuple, (401,)),
    "Basic": (lambda: ("Authorization: Basic Y2FuYXJ5OmNhbmFyeQ==",), (401,)),
    "Basic with a token": (lambda: (f"Authorization: Basic {hs()}",), (401,)),
    "Token": (lambda: (f"Authorization: Token {hs()}",), (401,)),
    "no scheme": (lambda: (f"Authorization: {hs()}",), (401,)),
    "Bearer": (lambda: ("Authorization: Bearer",), (400, 401)),
    "Bearer and a blank": (lambda: ("Authorization: Bearer ",), (400, 401)),
    "Bearer and blanks": (lambda: ("Authorization: Bearer \t ",), (400, 401)),
    "Bearer without a blank": (lambda: (f"Authorization: Bearer{hs()}",), (401,)),
    "Bearer with a colon": (lambda: (f"Authorization: Bearer: {hs()}",), (401,)),
    "Bearer with a tab": (lambda: (f"Authorization: Bearer\t{hs()}",), (400, 401)),
    "Bearer token=": (lambda: (f"Authorization: Bearer token={hs()}",), (401,)),
    "empty": (lambda: ("Authorization:",), (400, 401)),
    "two headers": (lambda: (bearer(hs()), bearer(hs(sub="2"))), (400,)),
    "two equal headers": (lambda: (bearer(hs()),) * 2, (400,)),
    "two headers, one Basic": (lambda: (bearer(hs()), "Authorization: Basic Y2FuYXJ5"), (400,)),
    "a hundred headers": (lambda: (bearer(hs()),) * 100, (400,)),
    "Proxy-Authorization": (lambda: (f"Proxy-Authorization: Bearer {hs()}",), (401,)),
    "X-Access-Token": (lambda: (f"X-Access-Token: {hs()}", f"X-Authorization: Bearer {hs()}"), (401,)),
    "cookie of another name": (lambda: (f"Cookie: rowcast={hs()}; access_token={hs()}", f"Origin: {APP}"), (401,)),
    "cookie in other letters": (lambda: (f"Cookie: __secure-rowcast={hs()}", f"Origin: {APP}"), (401,)),
    "cookie empty": (lambda: (f"Cookie: {COOKIE}=", f"Origin: {APP}"), (401,)),
    "two cookies": (lambda: (f"Cookie: {COOKIE}={hs()}; {COOKIE}={hs(sub='2')}", f"Origin: {APP}"), (400,)),
    "two cookies in two headers": (lambda: (f"Cookie: {COOKIE}={hs()}", f"Cookie: {COOKIE}={hs(sub='2')}", f"Origin: {APP}"), (400,)),
    "two cookies, one bad": (lambda: (f"Cookie: {COOKIE}=canary; {COOKIE}={hs()}", f"Origin: {APP}"), (400,)),
    "header and cookie of two users": (lambda: (bearer(hs()), f"Cookie: {COOKIE}={hs(sub='2')}", f"Origin: {APP}"), (400,)),
    "bad header, good cookie": (lambda: (bearer(hs(exp=1)), f"Cookie: {COOKIE}={hs()}", f"Origin: {APP}"), (401,)),
    "Basic, good cookie of a foreign page": (
        lambda: ("Authorization: Basic Y2FuYXJ5", f"Cookie: {COOKIE}={hs()}", "Origin: https://canary.example"),
        (401, 403),
    ),
}
"""Odd ways to carry good tokens."""
