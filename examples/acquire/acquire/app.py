"""The site: listings that anybody may change, and each visitor's saved searches. Nothing here knows that somebody listens.

A visitor is a random cookie, whose hash is their number: there is no sign-in to get in the way.
"""

import hashlib
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import UUID

import asyncpg
import jwt
from pydantic import AfterValidator, BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

_PAGE = Path(__file__).parents[1] / "web" / "dist"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' {rowcast};"
    " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_COOKIE = "visitor"


def _without_zero(text: str) -> str:
    if "\x00" in text:
        raise ValueError("no text has a zero character in Postgres")
    return text


Text = Annotated[str, AfterValidator(_without_zero)]


class Listing(BaseModel):
    name: Text = Field(min_length=1, max_length=100)
    city: Text = Field(min_length=1, max_length=60)
    state: Text = Field(min_length=2, max_length=2)
    price: int = Field(ge=0, lt=2**62)
    units: int = Field(ge=0, lt=2**31)


class Change(BaseModel):
    price: int | None = Field(None, ge=0, lt=2**62)
    status: Literal["available", "pending", "sold"] | None = None


class Search(BaseModel):
    city: Text | None = Field(None, max_length=60)
    state: Text | None = Field(None, max_length=2)
    min_price: int | None = Field(None, ge=0, lt=2**62)
    max_price: int | None = Field(None, ge=0, lt=2**62)
    min_units: int | None = Field(None, ge=0, lt=2**31)
    max_units: int | None = Field(None, ge=0, lt=2**31)


async def page(request: Request) -> Response:
    """Serves what `npm run build` has written, the same for everybody."""
    try:
        text = (_PAGE / "index.html").read_text(encoding="utf-8")
    except FileNotFoundError:
        return PlainTextResponse("The page is not built: run `python examples/build.py`.\n", 503)
    return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY.format(rowcast=_rowcast())})


async def visitor(request: Request) -> Response:
    """Says who the visitor is, and makes a visitor of who is none; where to listen, and where there are listings."""
    cookie = request.cookies.get(_COOKIE) or secrets.token_urlsafe(24)
    places = await request.app.state.pool.fetch("select distinct city, state from properties order by city, state")
    response = JSONResponse({"id": str(_number(cookie)), "rowcast": _rowcast(), "places": [dict(place) for place in places]})
    response.set_cookie(_COOKIE, cookie, max_age=30 * 86_400, httponly=True, samesite="lax")
    return response


async def add(request: Request) -> Response:
    listing = await _body(request, Listing)
    number = await request.app.state.pool.fetchval(
        "insert into properties (name, city, state, price, units) values ($1, $2, $3, $4, $5) returning id",
        *(listing.name, listing.city, listing.state, listing.price, listing.units),
    )
    return JSONResponse({"id": str(number)}, 201)


async def change(request: Request) -> Response:
    change = await _body(request, Change)
    return _found(
        await request.app.state.pool.execute(
            "update properties set price = coalesce($2, price), status = coalesce($3, status) where id = $1",
            *(_id(request), change.price, change.status),
        )
    )


async def remove(request: Request) -> Response:
    return _found(await request.app.state.pool.execute("delete from properties where id = $1", _id(request)))


async def searches(request: Request) -> Response:
    rows = await request.app.state.pool.fetch(
        "select id, city, state, min_price, max_price, min_units, max_units from saved_searches where user_id = $1 order by id",
        _visitor(request),
    )
    return JSONResponse([dict(row) for row in rows])


async def save_search(request: Request) -> Response:
    search = await _body(request, Search)
    await request.app.state.pool.execute(
        "insert into saved_searches (user_id, city, state, min_price, max_price, min_units, max_units) values ($1, $2, $3, $4, $5, $6, $7)",
        *(_visitor(request), search.city, search.state, search.min_price, search.max_price, search.min_units, search.max_units),
    )
    return Response(status_code=201)


async def forget_search(request: Request) -> Response:
    number = request.path_params["number"]
    if not number.isalnum():
        return Response(status_code=404)
    return _found(
        await request.app.state.pool.execute("delete from saved_searches where id::text = $1 and user_id = $2", number, _visitor(request))
    )


async def token(request: Request) -> Response:
    """Signs who the visitor is, for as long as it takes to ask for the next one."""
    seconds = int(os.environ.get("TOKEN_SECONDS", "600"))
    claims = {"sub": str(_visitor(request)), "exp": int(time.time()) + seconds}
    signed = jwt.encode(claims, os.environ["ROWCAST_JWT_SECRET"], algorithm="HS256")
    return JSONResponse({"id": claims["sub"], "token": signed, "expires_in": seconds}, headers={"Cache-Control": "no-store"})


def _rowcast() -> str:
    return os.environ.get("ROWCAST_URL", "http://127.0.0.1:8000")


def _visitor(request: Request) -> int:
    if _COOKIE not in request.cookies:
        raise HTTPException(401, "open the page first: it gives you a cookie")
    return _number(request.cookies[_COOKIE])


def _number(cookie: str) -> int:
    """Returns a visitor's number, of 18 digits at most."""
    return int.from_bytes(hashlib.sha256(cookie.encode()).digest()) % 10**18


async def _body(request: Request, model: type[BaseModel]) -> Any:
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        raise HTTPException(400, f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}") from error


def _id(request: Request) -> UUID:
    number: UUID = request.path_params["id"]
    return number


def _found(done: str) -> Response:
    """Answers 204: what has changed comes by the stream, as it does to everybody else."""
    return Response(status_code=404 if done.endswith(" 0") else 204)


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"], min_size=1, max_size=4) as pool:
        app.state.pool = pool
        yield


app = Starlette(
    routes=[
        Route("/", page),
        Route("/api/visitor", visitor),
        Route("/api/listings", add, methods=["POST"]),
        Route("/api/listings/{id:uuid}", change, methods=["PATCH"]),
        Route("/api/listings/{id:uuid}", remove, methods=["DELETE"]),
        Route("/api/searches", searches),
        Route("/api/searches", save_search, methods=["POST"]),
        Route("/api/searches/{number}", forget_search, methods=["DELETE"]),
        Route("/api/token", token, methods=["POST"]),
        Mount("/static", StaticFiles(directory=_PAGE, check_dir=False)),
    ],
    lifespan=_lifespan,
)
