"""⑨ `/auth/…`, and newer tokens for open streams: what clients do about access."""

import re
import time

import structlog
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from auth.ticket import TICKET_SECONDS, Tickets
from gateway.fanout.control import Renewal
from gateway.fanout.hub import Hub
from gateway.http import error
from gateway.http.credentials import SESSION, bearer, check_origin, comparable_origin, cookie
from gateway.http.gate import Gate

_COOKIE_BYTES = 3800
"""A browser keeps 4,096 bytes, with name and attributes."""
_CONNECTION = re.compile("[0-9a-f]{16}")
_CONSOLE = "/console"
_AWAY = {"Retry-After": "5"}
_NO_STORE = {"Cache-Control": "no-store"}

log = structlog.get_logger()


async def open_session(request: Request) -> Response:
    """POST /auth/session with a Bearer token: keeps it in a cookie that scripts cannot read, for as long as it is valid."""
    check_origin(request, required=False)
    await _attempt(request)
    principal = await bearer(request)
    token = request.headers["authorization"].partition(" ")[2].strip()
    if len(token) > _COOKIE_BYTES:
        raise error.Malformed(f"a cookie has no room for a token of {len(token)} bytes")
    log.info("session opened", subject=principal.subject)
    return _with_session(request, token, _left(principal.expires_at), "admin" in principal.roles)


async def close_session(request: Request) -> Response:
    """DELETE /auth/session: forgets the cookie. The token in it lives on, unless it is revoked."""
    check_origin(request, required=False)
    return _with_session(request, "", 0, False)


def _with_session(request: Request, token: str, seconds: int, of_admin: bool) -> Response:
    """Sets the cookie for the streams, and an admin's for the console; what another user has left there is forgotten."""
    response = Response(status_code=204, headers=_NO_STORE)
    given = (token, seconds) if of_admin else ("", 0)
    response.headers.append("Set-Cookie", cookie(request, SESSION, *given, _CONSOLE))
    response.headers.append("Set-Cookie", cookie(request, SESSION, token, seconds))
    return response


async def issue_ticket(request: Request) -> Response:
    """POST /auth/ticket with a Bearer token: a ticket for one EventSource, of the page's origin."""
    await _attempt(request)
    principal = await bearer(request, keep_claims=True)
    tickets: Tickets = request.app.state.tickets
    try:
        ticket = await tickets.issue(principal, comparable_origin(request))
    except (RedisError, OSError) as away:
        raise error.Unavailable("tickets cannot be issued now", _AWAY) from away
    log.info("ticket issued", subject=principal.subject)
    return JSONResponse({"ticket": ticket, "expires_in": TICKET_SECONDS}, headers=_NO_STORE)


async def renew_token(request: Request) -> Response:
    """POST /streams/connections/{connection}/token with the newer token as Bearer."""
    await _attempt(request)
    principal = await bearer(request, keep_claims=True)
    hub: Hub = request.app.state.hub
    connection = request.path_params["connection"]
    if _CONNECTION.fullmatch(connection) is None:
        raise error.NotFound("there is no such open stream")
    try:
        renewal = await hub.controls.renew(connection, principal)
    except (RedisError, OSError) as away:
        raise error.Unavailable("the stream's process cannot be asked now", _AWAY) from away
    if renewal is Renewal.UNKNOWN:
        raise error.NotFound("there is no such open stream")
    if renewal is Renewal.ANOTHERS:
        raise error.Forbidden("the stream is another user's")
    return Response(status_code=204, headers=_NO_STORE)


async def _attempt(request: Request) -> None:
    gate: Gate = request.app.state.gate
    await gate.attempt(request)


def _left(expires_at: float) -> int:
    return max(1, int(expires_at - time.time()))
