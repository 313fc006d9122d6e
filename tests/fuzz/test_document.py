"""`/openapi.json` is true: each route is in it and nothing else, its schemas are schemas, and it tells nobody's secrets."""

from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from gateway.fanout.meter import ENDINGS
from gateway.http import openapi
from gateway.http.app import create
from gateway.http.event_schema import CHANGES, CONTROL
from gateway.http.openapi import DOCUMENT
from streams.catalog import Catalog
from streams.stream import FORMATS, Stream
from tests.fuzz.schema import check
from tests.support import sse
from tests.support.gateway import settings, web
from tests.support.servers import Servers

_SCHEMAS = DOCUMENT["components"]["schemas"]
_FOR_PEOPLE = {"/console", "/console/{name}"}
_SECRET = Stream(name="salaries-of-all", table="hidden.salaries", columns=("id", "amount"), channel="salaries", roles=frozenset({"admin"}))


def routed(app: Starlette) -> set[tuple[str, str]]:
    """Returns what an application answers, but HEAD, which goes with GET."""
    routes = [route for route in app.routes if isinstance(route, Route) and route.path not in _FOR_PEOPLE]
    return {(route.path, method) for route in routes for method in (route.methods or {"GET"}) if method != "HEAD"}


def documented() -> set[tuple[str, str]]:
    return {(path, method.upper()) for path, item in DOCUMENT["paths"].items() for method in item}


def _made() -> Starlette:
    return create(settings(Servers("postgresql://nowhere", "redis://nowhere")), Catalog([_SECRET]))


def test_each_route_is_documented() -> None:
    """What is answered is in the document, and nothing else is."""
    assert routed(_made()) == documented()


def test_control_a_route_that_is_not_documented() -> None:
    """One route more is found."""
    app = _made()
    app.router.routes.append(Route("/more", openapi.document))
    assert routed(app) - documented() == {("/more", "GET")}


def test_schemas_are_schemas() -> None:
    """Each is one of 2020-12; each that is named exists, and each that exists is named."""
    for schema in _SCHEMAS.values():
        check(schema)
    named = set(_references(DOCUMENT))
    assert named == {f"#/components/schemas/{name}" for name in _SCHEMAS} | {
        f"#/components/responses/{name}" for name in DOCUMENT["components"]["responses"]
    }


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [each for value in part.values() for each in _references(value)]
    return [each for value in part for each in _references(value)] if isinstance(part, list) else []


def test_closed_lists_are_whole() -> None:
    """Each control event, each format and each ending has its place."""
    assert set(CONTROL) == sse.CONTROL
    assert set(CHANGES) == FORMATS
    said = [_SCHEMAS[name]["properties"]["reason"]["enum"] for name in ("Reconnect", "Closed")]
    assert {reason for reasons in said for reason in reasons} == {*ENDINGS, "overload"} - {"gone"}


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_anybody_may_read_it(site: Servers, method: str) -> None:
    """It asks for no token, may be kept for a while, and names no stream of this gateway."""
    async with web(site, Catalog([_SECRET])) as gateway:
        answer = await gateway.request(openapi.PATH, method=method)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert b"salaries" not in answer.body
        assert (b'"/streams/{names}"' in answer.body) is (method == "GET")
