"""Whatever others publish on the channels of the gateway, it goes on: open streams get their events, in order, and no process dies."""

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from gateway import wire
from tests.fuzz.conftest import examples, few_or_many
from tests.fuzz.credential import JSON
from tests.fuzz.ground import NEIGHBOUR, Ground
from tests.fuzz.test_parser import PARSERS, messages
from tests.fuzz.test_request import ADMIN, answer_of

_CHANNEL = f"bookings-changes-{NEIGHBOUR}"


@pytest.fixture
def redis(field: Ground) -> Iterator["Redis"]:
    with Redis.from_url(field.servers.redis_url) as each:
        yield each


def _odd_beats(field: Ground) -> st.SearchStrategy[bytes]:
    """Beats of this very life of the log, in which a number is none."""
    words = orjson.loads(field.beat())
    not_a_number = JSON.filter(lambda value: not isinstance(value, int | float))
    rest = st.tuples(not_a_number, st.integers(0, 9) | not_a_number, st.integers(0, 9) | not_a_number)
    return rest.map(lambda numbers: json.dumps([*words, *numbers]).encode())


def _no_entry(data: bytes) -> bool:
    """Whether nobody can take it for an event: what anybody may forge who may write to Redis is not at issue."""
    try:
        wire.decode_published(_CHANNEL, data)
    except ValueError:
        return True
    return False


@few_or_many(15, 300)
def test_any_word(field: Ground, redis: "Redis", count: int) -> None:
    """What is no beat, no entry and no message of a process is left, whatever it is."""
    good: list[Any] = [each for name in ("beat", "control") for each in PARSERS[name][1]]
    words = st.tuples(
        st.sampled_from([wire.HEAD, wire.CONTROL, _CHANNEL, "bookings-changes"]),
        st.one_of(messages(good), st.binary(max_size=60), _odd_beats(field)),
    ).filter(lambda word: word[0] in (wire.HEAD, wire.CONTROL) or _no_entry(word[1]))

    @examples(count)
    @given(st.lists(words, min_size=1, max_size=10))
    def publish(several: list[tuple[str, bytes]]) -> None:
        for channel, data in several:
            assert redis.publish(channel, data) >= 0
        field.check()

    publish()


@few_or_many(10, 100)
def test_any_revocation_in_the_list(field: Ground, redis: "Redis", count: int) -> None:
    """What somebody else has put among the revocations is left there, and nobody's stream ends of it."""

    @examples(count)
    @given(messages(PARSERS["revocation"][1]))
    def put(data: bytes) -> None:
        redis.zadd("rowcast:{0}:revocations", {data: 2**33})
        field.check()

    try:
        put()
    finally:
        redis.delete("rowcast:{0}:revocations")


def test_census_with_answers_that_are_none(field: Ground, redis: "Redis") -> None:
    """An admin is told what the others say, whatever somebody else answers."""
    pubsub = redis.pubsub()  # type: ignore[no-untyped-call]  # redis-py's
    pubsub.subscribe(wire.CONTROL)
    assert pubsub.get_message(timeout=10) is not None
    made = field.ask("GET", "/admin/connections", ADMIN)
    question = next(each for each in pubsub.listen() if each["type"] == "message" and b"census" in each["data"])
    key = "rowcast:{0}:census:" + orjson.loads(question["data"])["reply"]
    for total in (2**64 - 1, "9" * 100, -1, 1.5, None):
        redis.rpush(key, json.dumps({"total": total, "streams": {"x": total}, "connections": []}))
    redis.publish(wire.CONTROL, json.dumps({"counted": json.loads(question["data"])["reply"]}))
    pubsub.close()
    answer = answer_of(made)
    assert answer.status == 200
    assert str(NEIGHBOUR) in [each["subject"] for each in answer.json["connections"]]
