"""What a client has done, in the words of the table."""

from collections.abc import Sequence

from tests.clients.run import Heard, Run
from tests.support.sse import CONTROL

WORDS = {
    "reads": "every event is there once, in order, with the id, the name and the text that were sent, and nothing else is, in one request",
    "comes and goes": "as *reads*, but it takes the silence between two heartbeats for the end, and comes back with the last id",
    "told": "it gets `reset` with its reason, and then what is live",
    "resumes": "it comes back by itself with the last id: nothing is missing, and nothing comes twice",
    "returns": "its loop ends as if all were said: you go round it, with the last id as `Last-Event-ID`",
    "raises": "its loop ends with an error: you catch it and go round, with the last id as `Last-Event-ID`",
    "closed": "it fires `error`, and never comes back: you make another",
    "stays away": "it fires `error`, is not closed, and never comes back: you make another",
    "told to come back": "it gets 200 and `reconnect`, with a `retry` that it heeds",
    "comes back for ever": "it asks again and again, whatever the answer: you close it",
}
"""And `401, then …`: it comes back with the token that has expired, and gets that."""
MARKS = ("before", "meanwhile", "after")
"""The notes of the bookings that a client is to get where its gateway goes away between the first two."""


def reading(run: Run, answers: Sequence[int], wanted: Sequence[Heard]) -> str:
    """Says whether a client has exactly these events, after `ready`."""
    if [event.name for event in run.events[:1]] != ["ready"]:
        return f"begins with {run.events[:1]}: {run.end or 'no end'}, {run.errors}"
    again = run.named("ready")[1:]
    # Checkpoints come on a machine that is so slow that it takes minutes.
    found = [event for event in run.events[1:] if event.name != "checkpoint" and event not in again]
    if found != list(wanted):
        here = next(
            (number for number, (has, was) in enumerate(zip(found, wanted, strict=False)) if has != was), min(len(found), len(wanted))
        )
        return f"has {len(found)} of {len(wanted)} events, and differs at {here}: {str(found[here : here + 1])[:200]}"
    if again and not run.end and {ready.value["status"] for ready in again} == {"resumed"}:
        return "comes and goes"
    return f"{run.end or 'errors'}: {run.errors}, {answers}" if run.end or run.errors or len(answers) > 1 else "reads"


def resetting(run: Run) -> str:
    """Says whether a client that came with an id of nobody's was told so, and got what came then."""
    names = [event.name for event in run.events if event.name != "checkpoint"]
    if names != ["ready", "reset", "bookings"]:
        return f"has {names}, {run.end or 'no end'}: {run.errors}"
    ready, reset = run.events[:2]
    return "told" if (ready.value["status"], reset.value["reason"]) == ("reset", "unknown-id") else f"{ready.data}, {reset.data}"


def coming_back(run: Run) -> str:
    """Says what a client does whose gateway goes away and comes back."""
    readies = [ready.value["status"] for ready in run.named("ready")]
    notes = notes_of(run)
    rows = [event for event in run.events if event.name not in CONTROL]
    if len({event.id for event in rows}) < len(rows):
        return f"gets events twice: {notes}"
    if readies[:1] != ["fresh"] or notes[:1] != ["before"]:
        return f"has begun with {readies}, {notes}: {run.errors}"
    if len(readies) == 1 and notes == ["before"]:
        return run.end or "stays away"
    if notes == list(MARKS) and set(readies[1:]) == {"resumed"} and not run.end:
        return "resumes"
    if notes == ["before", "after"] and set(readies[1:]) == {"fresh"} and not run.end:
        return "starts anew"
    return f"has {notes}, {readies}, {run.end or 'no end'}: {run.errors}"


def draining(run: Run) -> str:
    """Says the same of a gateway that has said goodbye."""
    if "shutdown" not in [event.value["reason"] for event in run.named("reconnect")]:
        return f"is not told to come back: {[event.name for event in run.events]}"
    return coming_back(run)


def expiring(run: Run, answers: Sequence[int]) -> str:
    """Says what a client does whose token expires."""
    if not [event for event in run.named("closed") if event.value["reason"] == "expired"]:
        return f"is not told that its token has expired: {[event.name for event in run.events]}, {run.end}"
    refused = refusing(run, answers, 401)
    return refused if len(answers) < 2 or refused not in ("returns", "raises", "closed") else f"401, then {refused}"


def refusing(run: Run, answers: Sequence[int], status: int) -> str:
    """Says what a client does that is refused with a status."""
    refused = answers.count(status)
    if refused > 1 and not run.end:
        return "comes back for ever"
    told = {event.value["reason"] for event in run.named("reconnect")}
    if told == {"overload"} and not run.end and set(run.errors) == {"it comes back"}:
        return "told to come back"
    if refused > 1:
        return f"{run.end} after {answers}"
    return run.end or ("stays away" if refused else "waits")


def notes_of(run: Run) -> list[str]:
    """Returns the notes of the bookings that a client has got."""
    return [event.value["record"]["notes"] for event in run.named("bookings")]
