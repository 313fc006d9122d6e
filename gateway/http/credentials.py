"""⑨ Who is asking, by which carrier: Bearer token, session cookie, one-time ticket, or a token in the query where that is switched on.

- A cookie is sent whoever wrote the page: so the origin of each request that carries one is checked.
- Two carriers that speak of different users are a mistake or an attack, and never one of the two.
- Nothing of a credential appears in an error.
"""

import asyncio
from dataclasses import dataclass

from redis.exceptions import RedisError
from starlette.requests import Request

from auth.jwks import Jwks, JwksUnavailable, UnknownKey
from auth.principal import Principal
from auth.revocation import Revocations
from auth.ticket import Tickets, cookie_of
from auth.token import TokenError, Verifier
from gateway.http import error
from gateway.settings import Settings

SESSION = "__Secure-rowcast"
_AWAY = {"Retry-After": "5"}
_background: set[asyncio.Task[None]] = set()


@dataclass(frozen=True)
class Caller:
    """Who asks, and a cookie that the answer is to set, if any."""

    principal: Principal
    carrier: str
    cookie: str = ""


async def identify(request: Request, keep_claims: bool = False) -> Caller:
    """Returns who asks. Raises InvalidRequest, Unauthenticated, InvalidToken, Forbidden for a wrong origin, Unavailable."""
    # One look at the headers: each of Starlette's costs 4 µs, and a connect 500.
    names = {name for name, _ in request.scope["headers"]}
    session = _cookie(request, SESSION) if b"cookie" in names else None
    if b"authorization" in names:
        if request.scope["query_string"] and "access_token" in request.query_params and request.app.state.settings.query_tokens:
            raise error.InvalidRequest("there is a token in the header, and another in the address")
        principal = await bearer(request, keep_claims)
        if session:
            _agree(request, principal, session)
        return Caller(principal, "bearer")
    if session:
        check_origin(request)
        return Caller(await _verified(request, session, keep_claims), "cookie")
    query = request.query_params if request.scope["query_string"] else {}
    if "ticket" in query:
        return await _by_ticket(request)
    if "access_token" in query:
        settings: Settings = request.app.state.settings
        if not settings.query_tokens:
            raise error.Unauthenticated("tokens in the address are switched off: send it as `Authorization: Bearer …`, or get a ticket")
        return Caller(await _verified(request, _only(request, "access_token"), keep_claims), "query")
    raise error.Unauthenticated("send a token as `Authorization: Bearer …`")


async def bearer(request: Request, keep_claims: bool = False) -> Principal:
    """Returns whom the Bearer token speaks for, and takes nothing else."""
    values = request.headers.getlist("authorization")
    if not values:
        raise error.Unauthenticated("send a token as `Authorization: Bearer …`")
    if len(values) > 1:
        raise error.InvalidRequest("there are several Authorization headers")
    scheme, _, token = values[0].partition(" ")
    if scheme.lower() != "bearer":
        raise error.Unauthenticated("send a token as `Authorization: Bearer …`")
    if not token.strip():
        raise error.InvalidToken("there is no token behind `Bearer`")
    return await _verified(request, token.strip(), keep_claims)


def origin_of(request: Request) -> str:
    """Returns the origin that a browser says its page has; empty where it says nothing, as other clients do."""
    if origins := request.headers.getlist("origin"):
        if len(origins) > 1:
            raise error.InvalidRequest("there are several Origin headers")
        return origins[0]
    if request.headers.get("sec-fetch-site") == "same-origin":
        # A browser leaves Origin out of a GET to where the page is from.
        return f"{request.scope['scheme']}://{request.headers.get('host', '')}"
    if referer := request.headers.get("referer"):
        scheme, _, rest = referer.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"
    return ""


def _own(request: Request, origin: str) -> bool:
    """Whether an origin is where the request went to. A proxy that speaks TLS hides from us that it was https."""
    scheme, _, host = origin.partition("://")
    return scheme in ("https", request.scope["scheme"]) and bool(host) and host == request.headers.get("host")


def check_origin(request: Request, required: bool = True) -> None:
    """Refuses requests of other pages than ours and those that are configured; and, if one is required, those that say no origin."""
    origin = origin_of(request)
    if not origin and not required:
        return
    settings: Settings = request.app.state.settings
    if not _own(request, origin) and origin not in settings.cors_origins:
        raise error.Forbidden("this origin may not use the cookie: see ROWCAST_CORS_ORIGINS")


async def _by_ticket(request: Request) -> Caller:
    tickets: Tickets = request.app.state.tickets
    ticket = _only(request, "ticket")
    name = cookie_of(ticket)
    verifier: Verifier = request.app.state.verifier
    password, path = _cookie(request, name) or "", request.scope["path"]
    try:
        redeemed = await tickets.redeem(verifier, ticket, password, comparable_origin(request), path)
    except TokenError as invalid:
        raise error.InvalidToken(str(invalid) or str(type(invalid).__doc__)) from invalid
    except (RedisError, OSError) as away:
        raise error.Unavailable("tickets cannot be checked now", _AWAY) from away
    _check_revoked(request, redeemed.principal)
    return Caller(redeemed.principal, "ticket", cookie(request, name, redeemed.password, redeemed.seconds))


def comparable_origin(request: Request) -> str:
    """Returns the request's origin to compare with another one's, without the scheme where it is our own."""
    origin = origin_of(request)
    return request.headers["host"] if _own(request, origin) else origin


def cookie(request: Request, name: str, value: str, seconds: int, path: str = "/streams") -> str:
    """Returns the header that sets a cookie for a path; with 0 seconds it is forgotten."""
    settings: Settings = request.app.state.settings
    same_site = settings.cookie_samesite.capitalize()
    # Of another site browsers keep only those that belong to that site's page alone (CHIPS).
    same_site += "; Partitioned" if settings.cookie_samesite == "none" else ""
    return f"{name}={value}; Max-Age={seconds}; Path={path}; Secure; HttpOnly; SameSite={same_site}"


def _agree(request: Request, principal: Principal, session: str) -> None:
    verifier: Verifier = request.app.state.verifier
    try:
        other = verifier.verify(session)
    except (TokenError, UnknownKey):
        # An old cookie beside a new token is no contradiction.
        return
    if other.subject != principal.subject:
        raise error.InvalidRequest("the Authorization header and the cookie are of different users")


async def _verified(request: Request, token: str, keep_claims: bool) -> Principal:
    verifier: Verifier = request.app.state.verifier
    try:
        try:
            principal = verifier.verify(token, keep_claims)
        except UnknownKey:
            assert isinstance(verifier.keys, Jwks)
            await verifier.keys.refresh()
            principal = verifier.verify(token, keep_claims)
    except UnknownKey as unknown:
        raise error.InvalidToken("the token's key is not known") from unknown
    except JwksUnavailable as away:
        raise error.Unavailable("tokens cannot be verified now: ROWCAST_JWKS_URL does not answer", _AWAY) from away
    except TokenError as invalid:
        raise error.InvalidToken(str(invalid) or str(type(invalid).__doc__)) from invalid
    if isinstance(verifier.keys, Jwks) and verifier.keys.stale and not _background:
        # The old keys serve meanwhile.
        task = asyncio.create_task(verifier.keys.refresh())
        _background.add(task)
        task.add_done_callback(_background.discard)
    _check_revoked(request, principal)
    return principal


def _check_revoked(request: Request, principal: Principal) -> None:
    # For the log, whatever becomes of the request.
    request.state.subject = principal.subject
    revocations: Revocations = request.app.state.revocations
    if revocations.revoked(principal):
        raise error.InvalidToken("the token is revoked")


def _cookie(request: Request, name: str) -> str | None:
    values = set()
    for header in request.headers.getlist("cookie"):
        for pair in header.split(";"):
            key, _, value = pair.partition("=")
            if key.strip() == name:
                values.add(value.strip())
    if len(values) > 1:
        raise error.InvalidRequest(f"there are several cookies {name}")
    return values.pop() if values else None


def _only(request: Request, name: str) -> str:
    values = request.query_params.getlist(name)
    if len(values) > 1:
        raise error.InvalidRequest(f"{name} is there several times")
    return values[0]
