"""⑨ `/admin/…`: what is open where, why somebody got an event or not, how the whole is; and what admins end and revoke.

- An attempt is counted, and the caller known for an admin, before anything else of a request is looked at.
- A Bearer token alone is taken: a cookie is sent whoever wrote the page, and every page that may listen would see all connections.
- Each look at other people's connections is written down with who has looked.
"""

import asyncio
import re
import time
from typing import Any

import orjson
import structlog
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response

from auth.principal import Principal
from auth.revocation import Revocation, RevocationError
from auth.token import ROLES, TokenError, principal_of
from gateway.fanout.archive import ArchiveUnavailable
from gateway.fanout.hub import Hub
from gateway.fanout.inquiry import Inquiry, Question
from gateway.fanout.snapshot import SnapshotUnavailable
from gateway.fanout.vitals import Vitals
from gateway.http import error
from gateway.http.credentials import bearer
from gateway.http.gate import Gate
from gateway.settings import Settings
from streams.catalog import Catalog
from streams.filter import Filter, FilterError, parse
from streams.stream import Stream

_CONNECTION = re.compile("[0-9a-f]{16}")
_BODY_BYTES = 16_384
_BODY_SECONDS = 10.0
_AWAY = {"Retry-After": "5"}
_NO_STORE = {"Cache-Control": "no-store"}

log = structlog.get_logger()


async def list_connections(request: Request) -> Response:
    """GET /admin/connections: the open streams of all web processes, or with `sub` those of one user."""
    admin = await _admin(request)
    subject = _parameters(request, optional=("sub",)).get("sub")
    hub: Hub = request.app.state.hub
    try:
        count = await hub.controls.census.ask(subject)
    except (RedisError, OSError) as away:
        raise error.Unavailable("the web processes cannot be asked now", _AWAY) from away
    log.info("connections listed", by=admin.subject, subject=subject or "", told=len(count.connections))
    return _json(
        {
            "connections": count.connections,
            "total": count.total,
            "truncated": count.total > len(count.connections),
            "processes": count.processes,
            "complete": count.complete,
        }
    )


async def end_connection(request: Request) -> Response:
    """DELETE /admin/connections/{connection}: ends an open stream, in whatever process it is. Its client may come back."""
    admin = await _admin(request)
    hub: Hub = request.app.state.hub
    connection = request.path_params["connection"]
    if _CONNECTION.fullmatch(connection) is None:
        raise error.NotFound("there is no such open stream")
    try:
        ended = await hub.controls.disconnect(connection)
    except (RedisError, OSError) as away:
        raise error.Unavailable("the stream's process cannot be asked now", _AWAY) from away
    if not ended:
        raise error.NotFound("there is no such open stream, or its process does not answer")
    log.warning("disconnected", by=admin.subject, connection=connection)
    return Response(status_code=204, headers=_NO_STORE)


async def explain(request: Request) -> Response:
    """GET /admin/explain?sub=…&stream=…&id=…: why a user did, or did not, get an event."""
    admin = await _admin(request)
    question = _question(request)
    inquiry: Inquiry = request.app.state.inquiry
    try:
        verdict = await inquiry.explain(question)
    except (ArchiveUnavailable, SnapshotUnavailable) as away:
        raise error.Unavailable("the log cannot be read while Postgres is away", _AWAY) from away
    log.info("explained", by=admin.subject, subject=question.principal.subject, stream=question.stream.name, verdict=verdict.verdict)
    return _json(verdict)


async def tell_state(request: Request) -> Response:
    """GET /admin/state: bridge, outbox, Redis, Postgres, and how many streams are open; also while something of it is away."""
    await _admin(request)
    _parameters(request)
    vitals: Vitals = request.app.state.vitals
    return _json(await vitals.look())


async def revoke(request: Request) -> Response:
    """POST /admin/revocations: `{"sub": …}`, `{"jti": …}` or `{"sub": …, "issued_before": …}`."""
    admin = await _admin(request)
    settings: Settings = request.app.state.settings
    try:
        revocation = Revocation.read(await _body(request), settings.max_token_lifetime.total_seconds())
    except RevocationError as wrong:
        raise error.Malformed(str(wrong)) from wrong
    hub: Hub = request.app.state.hub
    try:
        await hub.controls.revoke(revocation)
    except (RedisError, OSError) as away:
        raise error.Unavailable("revoked in this process; the others cannot be told now: send it again", _AWAY) from away
    log.warning("revoked", by=admin.subject, subject=revocation.subject, token_id=revocation.token_id, before=revocation.before)
    return Response(status_code=204, headers=_NO_STORE)


# Who is asking


async def _admin(request: Request) -> Principal:
    gate: Gate = request.app.state.gate
    await gate.attempt(request)
    principal = await bearer(request)
    if "admin" not in principal.roles:
        raise error.Forbidden("this is for admins")
    return principal


# What is asked for


def _parameters(
    request: Request, required: tuple[str, ...] = (), optional: tuple[str, ...] = (), many: tuple[str, ...] = ()
) -> dict[str, str]:
    """Returns the parameters, each of which is there once, but `many`, which are only allowed here. Raises Malformed."""
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name in many:
            continue
        if name not in required + optional:
            known = ", ".join(required + optional + many) or "none"
            raise error.Malformed(f"unknown parameter {name[:40]!r}: there is {known}")
        if name in found:
            raise error.Malformed(f"{name} is there several times")
        if not value:
            raise error.Malformed(f"{name} is empty")
        found[name] = value
    if missing := [name for name in required if name not in found]:
        raise error.Malformed(f"name {' and '.join(missing)}")
    return found


def _question(request: Request) -> Question:
    given = _parameters(request, ("sub", "stream", "id"), ("provider_id",), ("role", "filter"))
    catalog: Catalog = request.app.state.catalog
    stream = catalog.get(given["stream"])
    if stream is None:
        raise error.NotFound(f"there is no stream {given['stream'][:40]!r}")
    return Question(_whom(request, given), stream, given["id"], _filter(request, stream))


def _whom(request: Request, given: dict[str, str]) -> Principal:
    """Returns the user who is asked about, with every role unless some are named."""
    roles = {role for value in request.query_params.getlist("role") for role in value.split(",")} or ROLES
    if unknown := sorted(roles - ROLES):
        raise error.Malformed(f"there is no role {unknown[0][:40]!r}: {', '.join(sorted(ROLES))}")
    claims: dict[str, Any] = {"sub": given["sub"], "roles": sorted(roles), "exp": int(time.time()) + 60}
    if "provider_id" in given:
        claims["provider_id"] = given["provider_id"]
    try:
        return principal_of(claims, keep_claims=True)
    except TokenError as wrong:
        raise error.Malformed("sub and provider_id are identifiers, as they are in a token") from wrong


def _filter(request: Request, stream: Stream) -> Filter | None:
    """Returns the filter of `filter=status=eq.confirmed`, which may be there several times."""
    conditions = [condition.partition("=")[::2] for condition in request.query_params.getlist("filter")]
    try:
        return parse(conditions, stream.filters) if conditions else None
    except FilterError as wrong:
        raise error.Malformed(f"filter: {wrong}") from wrong


async def _body(request: Request) -> Any:
    body = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _BODY_BYTES:
                    raise error.TooLarge(f"a body of more than {_BODY_BYTES} bytes is too large")
        return orjson.loads(body)
    except TimeoutError as late:
        raise error.Malformed("the body takes too long") from late
    except ValueError as invalid:
        raise error.Malformed("the body is no JSON") from invalid


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), headers=_NO_STORE, media_type="application/json")
