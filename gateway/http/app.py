"""The web process: routes, what they share, and how it starts and ends."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route

from auth.jwks import Jwks
from auth.revocation import Revocations
from auth.ticket import Tickets
from gateway import garbage, sentinel, wire
from gateway.fanout.admission import Admission
from gateway.fanout.archive import Archive
from gateway.fanout.backlog import Backlog
from gateway.fanout.control import Control
from gateway.fanout.hub import Hub
from gateway.fanout.inquiry import Inquiry
from gateway.fanout.judge import Judge
from gateway.fanout.look import Looks
from gateway.fanout.meter import Meter
from gateway.fanout.snapshot import Snapshots
from gateway.fanout.vitals import Vitals
from gateway.http import access, admin, console, error, health, openapi, stream
from gateway.http.gate import Gate
from gateway.http.protocol import Heads
from gateway.settings import Settings, SettingsError
from gateway.task import ended
from streams.catalog import Catalog, load

_REDIS_CONNECTIONS = 32
_PASS_SHARE, _PASS_SECONDS = 1.1, 300
"""A pass outlives the oldest stream, and some minutes without the network."""
_DRAIN_SHARE = 0.8
"""Endings are spread over this share of the drain window; the rest is for their bytes to leave."""


def create(settings: Settings, catalog: Catalog | None = None) -> Starlette:
    """Builds the application. Raises SettingsError for a missing key or address, DeclarationError for wrong declarations."""
    if not settings.redis_url or not settings.database_url:
        raise SettingsError("DATABASE_URL and REDIS_URL are not set, and no `rowcast run` with embedded servers is running here")
    verifier = settings.verifier()
    # Reading is repeatable, so here a retry does no harm.
    # A storm of readers waits for a connection: an error would look as if Redis were away, and send them all to Postgres.
    pool = sentinel.pool(
        settings.redis_url,
        BlockingConnectionPool,
        max_connections=_REDIS_CONNECTIONS,
        timeout=10,
        protocol=3,
        socket_timeout=5,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 2),
    )
    redis = Redis.from_pool(pool)
    # Counting, tickets and messages are not repeatable: a retry would count twice, or find a ticket spent by itself.
    once = Redis.from_pool(
        sentinel.pool(
            settings.redis_url,
            BlockingConnectionPool,
            max_connections=_REDIS_CONNECTIONS,
            timeout=2,
            protocol=3,
            socket_timeout=2,
            socket_connect_timeout=2,
            retry=Retry(NoBackoff(), 0),
        )
    )
    archive = Archive(settings.database_url)
    judge = Judge(settings.database_url, settings.rls_role)
    meter = Meter()
    revocations = Revocations(once, wire.CONTROL)
    admission = Admission(once, settings.connections_per_user, settings.connections_per_address)
    hub = Hub(
        settings.redis_url,
        Backlog(redis, archive),
        Snapshots(settings.database_url, settings.rls_role),
        judge,
        meter,
        partial(Control, once, revocations),
        heartbeat_seconds=settings.heartbeat.total_seconds(),
        max_age_seconds=settings.max_age.total_seconds(),
    )

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[Mapping[str, Any]]:
        work = (hub.run(), admission.run(), sentinel.follow_on(pool, once.connection_pool), garbage.collect_now_and_then())
        running = [asyncio.create_task(each) for each in work]
        for task in running:
            task.add_done_callback(_end_loudly)
        draining: list[asyncio.Task[None]] = []

        def drain() -> None:
            if not draining:
                draining.append(asyncio.create_task(hub.drain(settings.drain.total_seconds() * _DRAIN_SHARE)))

        yield {"drain": drain, "heads": Heads()}
        await ended([*running, *draining])
        # Before what it asks is closed.
        await admission.finish()
        await archive.close()
        await judge.close()
        if isinstance(verifier.keys, Jwks):
            await verifier.keys.close()
        for each in (redis, once):
            await sentinel.close(each)

    app = Starlette(
        routes=[
            # First, for it is what nearly all come for.
            Route("/streams/{names}", stream.OpenStream(), methods=["GET"]),
            Route("/streams", stream.list_streams),
            Route("/streams/connections/{connection}/token", access.renew_token, methods=["POST"]),
            Route("/auth/session", access.open_session, methods=["POST"]),
            Route("/auth/session", access.close_session, methods=["DELETE"]),
            Route("/auth/ticket", access.issue_ticket, methods=["POST"]),
            Route("/admin/revocations", admin.revoke, methods=["POST"]),
            Route("/admin/connections", admin.list_connections),
            Route("/admin/connections/{connection}", admin.end_connection, methods=["DELETE"]),
            Route("/admin/explain", admin.explain),
            Route("/admin/state", admin.tell_state),
            Route("/livez", health.livez),
            Route("/readyz", health.readyz),
            Route("/metrics", health.metrics),
            Route(openapi.PATH, openapi.document),
            Route("/console", console.page),
            Route("/console/{name}", console.part),
        ],
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "HEAD", "POST", "DELETE"],
                allow_headers=["Authorization", "Last-Event-ID", "Cache-Control", "Content-Type"],
                expose_headers=["Retry-After"],
                # Any origin, with cookies, would be every page that the user looks at.
                allow_credentials="*" not in settings.cors_origins,
            )
        ]
        if settings.cors_origins
        else [],
        exception_handlers={error.Problem: error.handle, HTTPException: error.handle_http, Exception: error.handle_crash},
        lifespan=lifespan,
    )
    # A redirect would name a host that the client chose.
    app.router.redirect_slashes = False
    app.state.settings = settings
    app.state.catalog = catalog if catalog is not None else load(settings.streams)
    app.state.verifier = verifier
    app.state.revocations = revocations
    app.state.tickets = Tickets(once, _PASS_SHARE * settings.max_age.total_seconds() + _PASS_SECONDS)
    app.state.gate = Gate(once, settings.attempts_per_minute, admission)
    app.state.hub = hub
    app.state.looks = Looks()
    app.state.meter = meter
    app.state.inquiry = Inquiry(archive, judge, hub.controls.census)
    app.state.vitals = Vitals(hub, archive, once)
    return app


def _end_loudly(task: asyncio.Task[None]) -> None:
    """A hub that has died is no web process: it ends, and whoever supervises it starts another."""
    if not task.cancelled() and task.exception() is not None:
        asyncio.get_running_loop().call_exception_handler({"message": "the hub has died", "exception": task.exception(), "task": task})
        raise SystemExit(1) from task.exception()
