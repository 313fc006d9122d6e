"""Holds what the gateway says against its own document, as any client may: JSON Schema 2020-12."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]  # it ships no types
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from gateway.http.event_schema import CHANGES, CONTROL
from gateway.http.openapi import DOCUMENT

_HERE = "urn:rowcast"


@cache
def validator(name: str) -> Any:
    """Returns what holds a value against a schema of the document."""
    registry: Registry[Any] = Registry().with_resource(_HERE, DRAFT202012.create_resource(DOCUMENT))
    return Draft202012Validator({"$ref": f"{_HERE}#/components/schemas/{name}"}, registry=registry)


def check(schema: Mapping[str, Any]) -> None:
    """Sees that a schema is one. Raises SchemaError."""
    Draft202012Validator.check_schema(schema)


def schema_of(event: str, format: str) -> str:
    """Names the schema of an event's data."""
    return CONTROL.get(event) or CHANGES[format]


def wrong(name: str, value: Any) -> list[str]:
    """Returns what is wrong with a value, by a schema."""
    return [f"{error.json_path}: {error.message}"[:300] for error in validator(name).iter_errors(value)]


def without(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {each: value for each, value in data.items() if each != name}
