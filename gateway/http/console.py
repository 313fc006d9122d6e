"""⑨ `/console`: the page for people who debug.

- It is the same for everybody and has no secret in it: what it shows it asks for with the token that is pasted there.
- Where it is switched off it is not there, as any address that nobody has; but it is for an admin's session.
- A file is found by its name among those that were read: no path of a request reaches the disk.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import Response

from auth.jwks import Jwks, JwksUnavailable, UnknownKey
from auth.revocation import Revocations
from auth.token import TokenError, Verifier
from gateway.http import error
from gateway.http.credentials import SESSION
from gateway.http.gate import Gate
from gateway.settings import Settings

PAGE = "index.html"
_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript", ".svg": "image/svg+xml"}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": _POLICY,
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


async def page(request: Request) -> Response:
    """GET /console."""
    return await _serve(request, PAGE)


async def part(request: Request) -> Response:
    """GET /console/{name}: what the page is made of. The page itself has one address only, for the others are relative to it."""
    name = request.path_params["name"]
    return await _serve(request, name if name != PAGE else "")


async def _serve(request: Request, name: str) -> Response:
    settings: Settings = request.app.state.settings
    if not settings.console and not await _is_for_admin(request):
        raise error.NotFound
    content = _files().get(name)
    if content is None:
        raise error.NotFound
    kind = _TYPES[name[name.rindex(".") :]]
    return Response(content, headers=_HEADERS, media_type=f"{kind}; charset=utf-8")


@cache
def _files() -> Mapping[str, bytes]:
    """Returns what the page is made of, by name."""
    there = files(__package__).joinpath("page").iterdir()
    return {file.name: file.read_bytes() for file in there if file.name.endswith(tuple(_TYPES))}


async def _is_for_admin(request: Request) -> bool:
    """Whether a request carries an admin's session. Its origin is not asked for: a typed address has none, and nothing is secret here."""
    session = request.cookies.get(SESSION)
    if not session:
        return False
    gate: Gate = request.app.state.gate
    await gate.attempt(request)
    verifier: Verifier = request.app.state.verifier
    revocations: Revocations = request.app.state.revocations
    try:
        try:
            principal = verifier.verify(session)
        except UnknownKey:
            assert isinstance(verifier.keys, Jwks)
            await verifier.keys.refresh()
            principal = verifier.verify(session)
    except (TokenError, UnknownKey, JwksUnavailable):
        return False
    return "admin" in principal.roles and not revocations.revoked(principal)
