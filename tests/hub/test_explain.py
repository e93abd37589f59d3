"""Verdicts: which step decides, and what it says."""

from __future__ import annotations

import pytest

from headwater.channels import Principal
from headwater.errors import NotAuthenticated
from headwater.event import ResetReason
from headwater.hub.explain import Answer, Facts, Place, Sought, explain
from headwater.stream import State

ADA = Principal(id="ada", subscribe=("user:*", "room:*", "$changes:dead"), permissions=frozenset({"p", "q"}))
READER = Principal(id="ada", subscribe=("room:1", "room:2"), permissions=frozenset({"p"}))
EVENT = Sought(seq=7, permissions=frozenset())


def place(began: int = 0, reached: int = 9, **options: object) -> Place:
    """Where a stream would be."""
    return Place(began=began, reached=reached, **options)  # type: ignore[arg-type] # spelt out by each case


def live(began: int = 0, reached: int = 9, **options: object) -> Place:
    """Where an open stream is."""
    return place(began, reached, **{"state": State.LIVE, "stream": 3, **options})


CASES = {
    "no token": (
        Facts(who=NotAuthenticated("the token expired 3 s ago", fix="get a new one"), channel="room:1"),
        (Answer.NO, "token", "The token expired 3 s ago."),
    ),
    "no channel": (Facts(who=ADA, channel="a b"), (Answer.NO, "channel", "is not a channel name")),
    "no grant": (Facts(who=ADA, channel="jobs"), (Answer.NO, "grant", "user:*, room:*, $changes:dead")),
    "no grant at all": (Facts(who=Principal(), channel="jobs"), (Answer.NO, "grant", "they cover nothing")),
    "the hub's own": (Facts(who=ADA, channel="$stats"), (Answer.NO, "grant", "$stats")),
    "not this one": (
        Facts(who=READER, channel="room:3", place=live()),
        (Answer.NO, "grant", "Stream 3 does not read room:3; it reads room:1, room:2."),
    ),
    "any time": (Facts(who=ADA, channel="room:1"), (Answer.YES, "permissions", "from the moment it is published")),
    "a permission short": (
        Facts(who=ADA, channel="room:1", event=Sought(permissions=frozenset({"p", "r", "s"}))),
        (Answer.NO, "permissions", "does not hold r, s"),
    ),
    "every permission": (
        Facts(who=ADA, channel="room:1", event=Sought(permissions=frozenset({"p", "q"}))),
        (Answer.YES, "permissions", "from the moment"),
    ),
    "nobody's": (
        Facts(who=ADA, channel="room:1", event=Sought(permissions=None, missing="That is not the id of any event.")),
        (Answer.NO, "event", "not the id"),
    ),
    "lost": (
        Facts(who=ADA, channel="room:1", event=Sought(seq=7, permissions=None, missing="Gone.", is_lost=True)),
        (Answer.NO, "event", "Gone."),
    ),
    "lost by now": (
        Facts(
            who=READER, channel="room:1", event=Sought(permissions=None, missing="Gone.", is_lost=True), place=live()
        ),
        (Answer.UNKNOWN, "event", "cannot be told any more. Gone."),
    ),
    "would be": (Facts(who=ADA, channel="room:1", event=EVENT, place=place()), (Answer.YES, "position", "would be")),
    "too early": (
        Facts(who=ADA, channel="room:1", event=EVENT, place=place(7)),
        (Answer.NO, "position", "would begin after the event, at 7"),
    ),
    "reset instead": (
        Facts(who=ADA, channel="room:1", event=EVENT, place=place(9, reset=ResetReason.EXPIRED)),
        (Answer.NO, "position", "would be reset (expired)"),
    ),
    "was reset later": (
        Facts(who=READER, channel="room:1", event=EVENT, place=live(9, is_renewed=True)),
        (Answer.UNKNOWN, "position", "was reset at 9, after the event; it may have been given the event"),
    ),
    "was reset": (
        Facts(who=READER, channel="room:1", event=EVENT, place=live(9, reset=ResetReason.OVERFLOW)),
        (Answer.NO, "position", "was reset (overflow)"),
    ),
    "began later": (
        Facts(who=READER, channel="room:1", event=EVENT, place=live(8)),
        (Answer.NO, "position", "began after the event, at 8"),
    ),
    "delivered": (
        Facts(who=READER, channel="room:1", event=EVENT, place=live()),
        (Answer.YES, "position", "was delivered"),
    ),
    "lagging": (
        Facts(who=READER, channel="room:1", event=EVENT, place=live(0, 6, state=State.LAGGING)),
        (Answer.LATER, "position", "does not read: the stream waits at 6"),
    ),
    "catching up": (
        Facts(who=READER, channel="room:1", event=EVENT, place=live(0, 6, state=State.REPLAYING)),
        (Answer.LATER, "position", "has come to 6 and is catching up"),
    ),
    "live by now": (Facts(who=READER, channel="room:1", place=live()), (Answer.YES, "permissions", "from the moment")),
    "full now": (
        Facts(who=READER, channel="room:1", place=live(state=State.LAGGING)),
        (Answer.LATER, "position", "does not read"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_verdict_names_what_decides(name: str) -> None:
    """The first step that says no decides; what comes after it is told where it can be."""
    facts, (answer, last, words) = CASES[name]
    verdict = explain(facts)
    assert verdict.answer is answer, verdict
    decisive = next((step for step in verdict.steps if step.answer is not Answer.YES), verdict.steps[-1])
    assert decisive.name == last, verdict
    assert words in f"{verdict.says} {decisive.says}"
    assert [step.answer for step in verdict.steps].count(Answer.YES) >= len(verdict.steps) - 1


def test_a_verdict_goes_all_the_way() -> None:
    """Each decision is told, also those after the first no: a person fixes all of them at once."""
    verdict = explain(Facts(who=ADA, channel="jobs", event=Sought(seq=7, permissions=frozenset({"z"})), place=place(9)))
    assert [(step.name, step.answer.value) for step in verdict.steps] == [
        ("token", "yes"),
        ("grant", "no"),
        ("event", "yes"),
        ("permissions", "no"),
        ("position", "no"),
    ]
    assert verdict.says == f"It does not get there: {verdict.steps[1].says}"


@pytest.mark.parametrize(
    ("channel", "pattern"), [("room:1", "room:*"), ("user:7", "user:*"), ("$changes:dead", "$changes:dead")]
)
def test_the_pattern_that_matched_is_named(channel: str, pattern: str) -> None:
    """The first of the token's that covers the channel."""
    step = explain(Facts(who=ADA, channel=channel)).steps[1]
    assert step.says == f"The subscribe grant {pattern} covers {channel}."


def test_holding_everything_is_enough() -> None:
    """As it is for delivery: `*` stands for every permission."""
    boss = Principal(subscribe=("**",), permissions=frozenset({"*"}))
    verdict = explain(Facts(who=boss, channel="a", event=Sought(permissions=frozenset({"anything"}))))
    assert (verdict.answer, "an anonymous caller" in verdict.steps[0].says) == (Answer.YES, True)
