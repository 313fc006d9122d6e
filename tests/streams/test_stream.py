"""Declarations: valid by construction, and every error names the stream and the thing."""

from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import pytest

from auth.principal import Principal
from streams.stream import DeclarationError, Stream

GOOD = MappingProxyType(
    {
        "name": "orders",
        "table": "shop.orders",
        "columns": ("id", "buyer", "total"),
        "channel": "orders-changes-{user_id}",
        "owner": "buyer",
    }
)


def declared(**changes: Any) -> Stream:
    return Stream(**{**GOOD, **changes})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"name": ""}, "name"),
        ({"name": "Orders"}, "Orders"),
        ({"name": "1orders"}, "1orders"),
        ({"name": "or ders"}, "or ders"),
        ({"name": "orders\n"}, "name"),
        ({"name": "a" * 32}, "name"),
        ({"name": "ördérs"}, "name"),
        ({"table": "orders"}, "table"),
        ({"table": ".orders"}, "table"),
        ({"table": "shop."}, "table"),
        ({"table": ""}, "table"),
        ({"channel": ""}, "channel"),
        ({"channel": "Orders-{user_id}"}, "channel"),
        ({"channel": "orders-{customer_id}"}, "channel"),
        ({"channel": "orders{user_id}"}, "channel"),
        ({"channel": "{user_id}"}, "channel"),
        ({"channel": "orders-{user_id}-x"}, "channel"),
        ({"channel": "orders-{user_id}-{provider_id}"}, "channel"),
        ({"channel": "orders-*"}, "channel"),
        ({"channel": "orders-"}, "channel"),
        ({"channel": "orders-changes-{user_id}\n"}, "channel"),
        ({"channel": "orders-changes"}, "owner"),
        ({"owner": None}, "owner"),
        ({"columns": ()}, "columns"),
        ({"columns": ("id", "buyer", "id")}, "columns"),
        ({"key": ()}, "key"),
        ({"key": ("id", "id")}, "key"),
        ({"key": ("uuid",)}, "uuid"),
        ({"columns": ("buyer", "total")}, "key id"),
        ({"components": {"disk": True}}, "disk"),
    ],
)
def test_wrong_declarations_are_refused(changes: dict[str, Any], named: str) -> None:
    """A declaration that cannot work is refused when it is made, naming the stream and what is wrong with it."""
    with pytest.raises(DeclarationError) as refused:
        declared(**changes)
    assert named in str(refused.value)
    assert str(refused.value).startswith("stream ")
    assert repr(changes["name"]) in str(refused.value) if "name" in changes else "stream orders:" in str(refused.value)


@pytest.mark.parametrize(
    "name", ["error", "open", "close", "end", "message", "ready", "reset", "snapshot", "checkpoint", "auth-expiring", "reconnect", "closed"]
)
def test_reserved_names_are_refused(name: str) -> None:
    """A stream is not called like a control event, nor like what EventSource fires by itself."""
    with pytest.raises(DeclarationError, match=f"'{name}'.*control event"):
        declared(name=name)


def test_a_stream_cannot_be_changed() -> None:
    """What is valid stays valid: a declaration is frozen."""
    with pytest.raises(AttributeError):
        declared().name = "other"  # type: ignore[misc]  # what is refused is the point
    with pytest.raises(DeclarationError):
        replace(declared(), columns=())


def test_table_is_split_at_the_first_dot() -> None:
    """Schema and table are told apart; a dot in the table's name is its own."""
    stream = declared(table="shop.old.orders")
    assert (stream.schema, stream.table_name) == ("shop", "old.orders")


def test_channel_is_split() -> None:
    """A channel's template gives the name that concerns all, and the claim that makes it somebody's."""
    assert (declared().broadcast, declared().claim) == ("orders-changes", "user_id")
    plain = declared(channel="orders-changes", owner=None)
    assert (plain.broadcast, plain.claim) == ("orders-changes", None)


@dataclass(frozen=True)
class Somebody:
    """Whoever has the attributes of an owner."""

    user_id: str = "1"
    provider_id: str = "9"
    roles: frozenset[str] = frozenset()


def test_channels() -> None:
    """A listener gets their own channel by the claim, and the one for what concerns all; of a plain stream only the latter."""
    assert declared().channels(Somebody()) == ("orders-changes-1", "orders-changes")
    assert declared(channel="orders-{provider_id}").channels(Somebody()) == ("orders-9", "orders")
    assert declared(channel="orders", owner=None).channels(Somebody()) == ("orders",)
    assert declared().channels(Principal("7", frozenset(), "7", 0.0)) == ("orders-changes-7", "orders-changes")


def test_no_subject_reaches_the_common_channel() -> None:
    """No subject, however chosen, makes a private channel of the common one or of another's."""
    stream = declared()
    subjects = ("", "-", "1", "2", "1-", "-1", "*", "{user_id}", "changes")
    private = [stream.channels(Somebody(user_id=subject))[0] for subject in subjects]
    assert len(set(private)) == len(subjects)
    assert stream.broadcast not in private


@pytest.mark.parametrize(
    ("wanted", "has", "may"),
    [
        (set(), set(), True),
        (set(), {"customer"}, True),
        ({"customer"}, {"customer"}, True),
        ({"customer", "admin"}, {"admin"}, True),
        ({"customer"}, set(), False),
        ({"customer"}, {"provider", "admin"}, False),
    ],
)
def test_open_to(wanted: set[str], has: set[str], may: bool) -> None:
    """Any of the stream's roles is enough, and a stream without roles is open to every user."""
    assert declared(roles=frozenset(wanted)).open_to(Somebody(roles=frozenset(has))) is may
