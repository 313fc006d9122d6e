"""schemathesis asks a real gateway what its document allows, and some of what it does not; each answer is one that it names."""

import copy
from collections.abc import Callable
from typing import Any

import orjson
import pytest
import schemathesis
from hypothesis import given
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.http.openapi import DOCUMENT
from tests.fuzz.conftest import examples, few_or_many
from tests.fuzz.ground import Ground
from tests.fuzz.test_request import ADMIN

_ENDLESS = ("get", "/streams/{names}")
"""An open stream never ends: `test_request.py` asks for those."""
_CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
OPERATIONS = [(method, path) for path, item in DOCUMENT["paths"].items() for method in item if (method, path) != _ENDLESS]
"""What is asked."""


def asking(ground: Ground, method: str, path: str, count: int, document: Any = DOCUMENT) -> None:
    """Asks for one thing in many ways, as an admin and as nobody, and holds each answer against the document."""
    schema = schemathesis.openapi.from_dict(orjson.loads(orjson.dumps(document)))
    operation = schema[path][method.upper()]
    headers = dict([ADMIN.split(": ", 1)])

    @examples(count)
    @given(operation.as_strategy())
    def ask(case: Any) -> None:
        ground.sent += 1
        for more in (headers, {}):
            case.call_and_validate(f"http://127.0.0.1:{ground.port}", headers=more, checks=_CHECKS, timeout=30)

    ask()


@few_or_many(6, 60)
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_any_call(field: Ground, method: str, path: str, count: int) -> None:
    """What is answered is in the document: its status, its type, its headers, and what stands in it."""
    asking(field, method, path, count)


def _without(part: str) -> Callable[[Any], Any]:
    def document(given: Any) -> Any:
        changed = copy.deepcopy(given)
        if part == "status":
            del changed["paths"]["/admin/state"]["get"]["responses"]["401"]
        elif part == "member":
            del changed["components"]["schemas"]["State"]["properties"]["outbox"]
            changed["components"]["schemas"]["State"]["required"].remove("outbox")
        else:
            changed["paths"]["/admin/state"]["get"]["responses"]["200"]["content"] = {"text/plain": {"schema": {"type": "string"}}}
        return changed

    return document


@pytest.mark.parametrize("part", ["status", "member", "type"])
def test_control_a_document_that_is_not_true(field: Ground, part: str) -> None:
    """A document that lacks a status or a member, or names another type, is found out."""
    with pytest.raises(BaseExceptionGroup):
        asking(field, "get", "/admin/state", 3, _without(part)(DOCUMENT))
