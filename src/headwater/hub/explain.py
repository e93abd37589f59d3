"""Why somebody gets an event or does not: step by step, by the decisions that delivery itself makes.

Pure: facts in, verdict out. What is asked here of a principal (`may_subscribe`, `may_see`) and of a position is what
subscribing and the fan-out ask, so an explanation cannot say anything else than what happens. How the facts are found is
`facts`' business. Must not know tokens, HTTP or brokers.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

import msgspec

from headwater.channels import Principal, check_channel, matches
from headwater.errors import HeadwaterError, InvalidChannel
from headwater.event import ResetReason
from headwater.stream import State


class Answer(StrEnum):
    """What a step, or all of them together, says."""

    YES = "yes"
    NO = "no"
    LATER = "later"  # not yet, but nothing speaks against it
    UNKNOWN = "unknown"  # cannot be told, or was not asked


class Step(msgspec.Struct, frozen=True):
    """One decision.

    Attributes:
        name: which: token, channel, grant, event, permissions or position.
        answer: what came out.
        says: why, as a sentence.
        fix: what could be done about it, if anything.
    """

    name: str
    answer: Answer
    says: str
    fix: str | None = None


class Verdict(msgspec.Struct, frozen=True):
    """All decisions, in the order in which delivery makes them.

    Attributes:
        answer: whether the event gets there.
        says: in one sentence.
        steps: those that could be made.
    """

    answer: Answer
    says: str
    steps: list[Step]


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """The event that is asked about.

    Attributes:
        seq: its position; None for one that might be published now.
        permissions: those that it asks for; None if they are not known, because there is no such event any more, or ever.
        missing: why there is none, as a sentence; None if there is one.
        is_lost: it may have been there, and retention has removed it.
    """

    seq: int | None = None
    permissions: frozenset[str] | None = frozenset()
    missing: str | None = None
    is_lost: bool = False


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a stream is in the log, or would be.

    Attributes:
        began: the seq after which it gets events.
        reached: the seq up to which it has been given them.
        reset: why it is not where it asked to begin; None if it is.
        is_renewed: an open stream was given events before `began`, and then a reset.
        state: of an open stream; None for one that is only imagined.
        stream: its number; None likewise.
    """

    began: int
    reached: int
    reset: ResetReason | None = None
    is_renewed: bool = False
    state: State | None = None
    stream: int | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an explanation stands on.

    Attributes:
        who: the principal, or why there is none.
        channel: where the event is.
        event: which.
        place: None if there is no stream, and none could be.
    """

    who: Principal | HeadwaterError
    channel: str
    event: Sought = Sought()
    place: Place | None = None


def explain(facts: Facts) -> Verdict:
    """The verdict. It is `no` at the first step that says so; what cannot be told any further is left out."""
    steps = list(_steps(facts))
    last = steps[-1]
    refused = next((step for step in steps if step.answer is Answer.NO), None)
    if refused is not None:
        return Verdict(Answer.NO, f"It does not get there: {refused.says}", steps)
    if facts.event.missing is not None:
        return Verdict(Answer.UNKNOWN, f"It cannot be told any more. {facts.event.missing}", steps)
    if last.answer is Answer.UNKNOWN:
        return Verdict(Answer.UNKNOWN, f"It cannot be told any more. {last.says}", steps)
    if last.answer is Answer.LATER:
        return Verdict(Answer.LATER, f"Not yet: {last.says}", steps)
    if facts.event.seq is None:
        return Verdict(Answer.YES, "It would get there, from the moment it is published.", steps)
    is_real = facts.place is not None and facts.place.stream is not None
    return Verdict(Answer.YES, "It was delivered." if is_real else "It would be delivered.", steps)


def _steps(facts: Facts) -> Iterator[Step]:
    if isinstance(facts.who, HeadwaterError):
        yield Step("token", Answer.NO, f"{_sentence(facts.who.what)}.", facts.who.fix or facts.who.expected)
        return
    who = _name(facts.who)
    yield Step("token", Answer.YES, _identity(facts))
    try:
        check_channel(facts.channel, own=True)
    except InvalidChannel as error:
        yield Step("channel", Answer.NO, f"{_sentence(error.what)}.", f"expected {error.expected}")
        return
    yield _grant(facts.who, facts, who)
    if facts.event.seq is not None or facts.event.missing is not None:
        yield _event(facts)
    if facts.event.permissions is not None:
        yield _permissions(facts.who, facts.event.permissions, who)
    if facts.place is not None and facts.event.missing is None:
        seq = facts.event.seq
        if seq is not None:
            yield _position(facts.place, seq)
        elif facts.place.state is State.LAGGING:
            yield _waiting(facts.place)


def _name(principal: Principal) -> str:
    return "an anonymous caller" if principal.id is None else principal.id


def _identity(facts: Facts) -> str:
    assert isinstance(facts.who, Principal)
    if facts.place is not None and facts.place.stream is not None:
        return f"Stream {facts.place.stream} is open, and belongs to {_name(facts.who)}."
    return f"This is {_name(facts.who)}."


def _grant(principal: Principal, facts: Facts, who: str) -> Step:
    channel = facts.channel
    stream = None if facts.place is None else facts.place.stream
    shown = ", ".join(principal.subscribe) or "nothing"
    if not principal.may_subscribe(channel):
        if stream is not None:
            return Step("grant", Answer.NO, f"Stream {stream} does not read {channel}; it reads {shown}.")
        fix = "only a pattern that itself begins with $ covers these" if channel.startswith("$") else None
        return Step("grant", Answer.NO, f"No subscribe grant of {who} covers {channel}; they cover {shown}.", fix)
    if stream is not None:
        return Step("grant", Answer.YES, f"Stream {stream} reads {channel}.")
    pattern = next(pattern for pattern in principal.subscribe if matches(pattern, channel))
    return Step("grant", Answer.YES, f"The subscribe grant {pattern} covers {channel}.")


def _event(facts: Facts) -> Step:
    event = facts.event
    if event.missing is None:
        return Step("event", Answer.YES, f"The log has the event in {facts.channel}.")
    if event.is_lost and facts.place is not None and facts.place.stream is not None:
        return Step("event", Answer.UNKNOWN, event.missing)  # it may have got it while it was there
    return Step("event", Answer.NO, event.missing, _RETENTION if event.is_lost else None)


_RETENTION = "a longer retention would keep it"


def _permissions(principal: Principal, required: frozenset[str], who: str) -> Step:
    if not required:
        return Step("permissions", Answer.YES, "The event asks for no permission.")
    shown = ", ".join(sorted(required))
    if principal.may_see(required):
        return Step("permissions", Answer.YES, f"The event asks for {shown}, and {who} holds that.")
    missing = ", ".join(sorted(required - principal.permissions))
    says = f"The event asks for {shown}, and {who} does not hold {missing}."
    return Step("permissions", Answer.NO, says, "all of an event's permissions are needed, not one of them")


def _position(place: Place, seq: int) -> Step:
    is_real = place.stream is not None
    begins = "began" if is_real else "would begin"
    if seq <= place.began:
        if place.is_renewed:
            says = (
                f"The stream was reset at {place.began}, after the event; it may have been given the event before that."
            )
            return Step("position", Answer.UNKNOWN, says, _LOADS)
        if place.reset is not None:
            says = f"The stream {'was' if is_real else 'would be'} reset ({place.reset}) and begins after the event."
            return Step("position", Answer.NO, says, _LOADS)
        return Step("position", Answer.NO, f"The stream {begins} after the event, at {place.began}.", _SINCE)
    if seq <= place.reached:
        says = f"The stream {begins} before it, at {place.began}"
        return Step(
            "position", Answer.YES, f"{says}, and has been written up to {place.reached}." if is_real else f"{says}."
        )
    if place.state is State.LAGGING:
        return _waiting(place)
    return Step("position", Answer.LATER, f"The stream has come to {place.reached} and is catching up.")


def _waiting(place: Place) -> Step:
    says = f"The client does not read: the stream waits at {place.reached}."
    return Step("position", Answer.LATER, says, "it goes on when the client reads, or is closed as too slow")


_LOADS = "after a reset, the application loads its state anew"
_SINCE = "a client that should get what came before begins with since=, last= or Last-Event-ID"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
