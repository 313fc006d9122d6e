"""What every answer must be, whatever was sent: the laws, and what breaks them.

- Each request is answered, or its connection closed. No answer is a 500, and none a 503 while nothing is away.
- What is refused says why: problem+json that names something, and a challenge where a token is at fault.
- A stream begins with `ready`, or says when to come back, and what is no id of ours is a `reset`.
- Nothing of another user is in any of it.
"""

import re

import orjson

from tests.fuzz.answer import Answer, Exchange, Garbled
from tests.support import sse

CANARY = "canary-of-another"
"""Occurs in what the neighbour gets, and must not in anything else."""
_TITLES = {
    400: "Bad request",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    413: "Content too large",
    414: "URI too long",
    429: "Too many requests",
    431: "Request header fields too large",
}
_TRACE = re.compile(r"Traceback \(most recent call last\)|\"level\": ?\"(?:error|critical)\"|^ERROR:|never retrieved", re.MULTILINE)


def broken(exchange: Exchange) -> list[str]:
    """Names the laws that an exchange breaks, which is over or has been waited for."""
    if CANARY.encode() in exchange.received:
        return ["another's row"]
    if not exchange.settled:
        return ["neither answered nor closed"]
    try:
        answers = exchange.answers
    except Garbled as garbled:
        return [f"garbled: {garbled}"]
    return [wrong for method, answer in zip(exchange.methods, answers, strict=False) for wrong in _of_answer(answer, method)]


def _of_answer(answer: Answer, method: str) -> list[str]:
    if answer.status >= 500:
        return [f"status {answer.status}"]
    if answer.status >= 400:
        return _of_problem(answer, method)
    if answer.stream and method != "HEAD":
        return _of_stream(answer)
    return []


def _of_problem(answer: Answer, method: str) -> list[str]:
    wrong = []
    if answer.headers.get("content-type") != "application/problem+json":
        wrong.append("a problem that is no problem+json")
    if answer.headers.get("cache-control") != "no-store":
        wrong.append("a problem that may be stored")
    if answer.status == 401 and not answer.headers.get("www-authenticate", "").startswith("Bearer"):
        wrong.append("no challenge")
    if "set-cookie" in answer.headers:
        wrong.append("a problem that sets a cookie")
    if method == "HEAD" or wrong:
        return wrong
    try:
        problem = answer.json
    except orjson.JSONDecodeError:
        return ["a problem that is no JSON"]
    if set(problem) != {"type", "title", "status", "detail"} or problem["status"] != answer.status or not problem["detail"]:
        wrong.append("a problem that is not whole")
    elif _TITLES.get(answer.status, problem["title"]) != problem["title"]:
        wrong.append("a problem under another's title")
    return wrong


def _of_stream(answer: Answer) -> list[str]:
    events: list[sse.Event] = []
    rest = answer.body
    try:
        while b"\n\n" in rest:
            rest = rest.removeprefix(b":\n")
            block, _, rest = rest.partition(b"\n\n")
            events.append(sse.parse(block.lstrip(b":\n"), first=not events))
    except (AssertionError, ValueError) as error:
        return [f"a stream that is none: {error}"]
    if not events:
        return [] if answer.whole else ["a stream without a word"]
    if events[0].name not in ("ready", "reconnect", "closed"):
        return [f"a stream that begins with {events[0].name}"]
    if events[0].name == "ready" and events[0].data["status"] == "reset" and [each.name for each in events[1:2]] != ["reset"]:
        return ["a reset that does not say why"]
    return []


def told_of(log: str) -> list[str]:
    """Returns the lines of a log that tell of a crash."""
    return [log[max(0, match.start() - 200) : match.end() + 1500] for match in _TRACE.finditer(log)]


def naming(answer: Answer, *words: str) -> bool:
    """Whether a problem names one of these, as it is quoted there: in part, if it is long."""
    detail = str(answer.json["detail"])
    return any(word[:20] in detail or repr(word[:20])[1:-1] in detail for word in words if word)
