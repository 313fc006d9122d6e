"""What can be wrong with a request, and how it is answered: RFC 9457 problems, RFC 6750 challenges.

Problem
├── Malformed        400
│   └── InvalidRequest
├── Unauthenticated  401
│   └── InvalidToken
├── Forbidden        403
├── NotFound         404
├── MethodNotAllowed 405
├── TooLarge         413
├── TooMany          429
└── Unavailable      503
"""

from collections.abc import Mapping
from typing import ClassVar

import orjson
import structlog
from starlette.requests import Request
from starlette.responses import Response

log = structlog.get_logger()


class Problem(Exception):
    """The request cannot be served."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    challenge: ClassVar[str | None] = None

    def __init__(self, detail: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.detail = detail or self.title
        self.headers = dict(headers or {})


class Malformed(Problem):
    """Something in the request is not understood; the detail names it."""

    status = 400
    title = "Bad request"


class InvalidRequest(Malformed):
    """The credentials are sent in a way that could mean several things (RFC 6750 §3.1)."""

    challenge = 'Bearer error="invalid_request"'


class Unauthenticated(Problem):
    """There is no token, or it is not valid."""

    status = 401
    title = "Not authenticated"
    challenge = "Bearer"


class InvalidToken(Unauthenticated):
    """There is a token, and it is not valid."""

    title = "Invalid token"
    challenge = 'Bearer error="invalid_token"'


class Forbidden(Problem):
    """The token is valid, and its roles do not allow this."""

    status = 403
    title = "Not allowed"
    challenge = 'Bearer error="insufficient_scope"'


class NotFound(Problem):
    """There is no such thing here."""

    status = 404
    title = "Not found"


class MethodNotAllowed(Problem):
    """This is read with GET."""

    status = 405
    title = "Method not allowed"


class TooLarge(Problem):
    """The body is too large."""

    status = 413
    title = "Content too large"


class TooMany(Problem):
    """Too many open streams, or too many requests; `Retry-After` says when to come back."""

    status = 429
    title = "Too many requests"


class Unavailable(Problem):
    """It would work at another time."""

    status = 503
    title = "Unavailable"


def response(problem: Problem) -> Response:
    """Returns the answer to a problem."""
    body = {"type": "about:blank", "title": problem.title, "status": problem.status, "detail": problem.detail}
    headers = {"Cache-Control": "no-store", **problem.headers}
    if problem.challenge:
        headers["WWW-Authenticate"] = problem.challenge
    return Response(orjson.dumps(body), problem.status, headers, media_type="application/problem+json")


async def handle(request: Request, error: Exception) -> Response:
    """Starlette's handler for every Problem; the one place where an error becomes a status."""
    assert isinstance(error, Problem)
    note(request, error)
    return response(error)


def note(request: Request, problem: Problem) -> None:
    """Counts a refusal, and writes it down."""
    request.app.state.meter.refused(problem.status)
    log.info(
        "refused",
        status=problem.status,
        reason=problem.detail,
        subject=getattr(request.state, "subject", ""),
        # The path alone: a query may have a secret in it.
        path=request.scope["path"][:200],
        address=address_of(request),
    )


def address_of(request: Request) -> str:
    """Returns where a request comes from: what a proxy says only where that proxy is trusted, which is the server's to know."""
    return request.client.host if request.client else ""


async def handle_http(request: Request, error: Exception) -> Response:
    """Starlette's own 404 and 405 in our form."""
    status = getattr(error, "status_code", 500)
    headers: dict[str, str] = dict(getattr(error, "headers", None) or {})
    kind = {404: NotFound, 405: MethodNotAllowed}.get(status, Problem)
    return await handle(request, kind(headers=headers))


async def handle_crash(request: Request, error: Exception) -> Response:
    """Anything unforeseen: no detail leaves the process."""
    return response(Problem())
