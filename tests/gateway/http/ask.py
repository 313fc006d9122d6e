"""What an admin asks."""

from typing import Any

import orjson

from tests.support import sse
from tests.support.gateway import Web, token


async def ask(web: Web, path: str, given: str | None = token(13, "admin"), method: str = "GET", **headers: str) -> sse.Stream:
    """Makes a request as an admin, or as somebody else."""
    lines = ({"Authorization": f"Bearer {given}"} if given else {}) | {name.replace("_", "-"): value for name, value in headers.items()}
    body = b'{"sub": "no such user"}' if method == "POST" else b""
    answer = await sse.request(web.host, web.port, path, lines, method=method, body=body)
    await answer.close()
    return answer


async def told(web: Web, path: str) -> Any:
    """Returns what an admin is told."""
    answer = await ask(web, path)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json"), answer.body
    assert answer.headers["cache-control"] == "no-store"
    return orjson.loads(answer.body)
