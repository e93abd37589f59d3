"""What the home page is told of an event: whatever everybody may read, and of the rest only where it was and what it was."""

from __future__ import annotations

import json

import msgspec
import pytest

from examples.gallery.pulse import WORDS, GalleryHub, Passed, passed


@pytest.mark.parametrize(
    ("channel", "data", "text"),
    [
        ("room:a1", {"agentType": "story", "message": "Begins"}, "story: Begins"),
        ("debate:b2", {"speaker": "pro", "content": "Yes."}, "pro: Yes."),
        ("debate:b2", {"phase": "closing"}, ""),
        ("debate:b2:client:b2-1", {"speaker": "pro", "content": "For one window"}, ""),
        ("operations", {"message": "For some"}, ""),
        ("user:ada", {"message": "For Ada"}, ""),
        ("rooms", {"message": "A room"}, ""),
    ],
)
def test_words_are_told_only_where_everybody_may_read_them(channel: str, data: object, text: str) -> None:
    """Agents and debaters speak to all; nothing else that is published is told."""
    assert passed(channel, "log", json.dumps(data)) == Passed(channel, "log", text)


@pytest.mark.parametrize("data", ["not JSON", "[1]", '{"message": 1}', "null", ""])
def test_what_a_stranger_publishes_there_does_no_harm(data: str) -> None:
    """Whatever it is, its place and type are told."""
    assert passed("room:a1", "log", data) == Passed("room:a1", "log")


async def test_the_last_of_each_application_is_remembered() -> None:
    """For a visitor who comes while it is quiet: one event of each, the newest last, and none of channels that anybody
    makes."""
    hub = GalleryHub("memory://")
    for channel, type in (("room:a1", "log"), ("operations", "x"), ("room:b2", "log"), ("hello", "message")):
        hub.note(channel, type)
    assert list(hub.latest.values()) == [("operations", "x", ""), ("room:b2", "log", "")]


def test_long_words_are_cut() -> None:
    """A card has one line."""
    told = passed("room:a1", "log", json.dumps({"agentType": "story", "message": "x" * 1000}))
    assert len(told.text) == WORDS
    assert msgspec.json.encode(Passed("operations", "x")) == b'{"channel":"operations","type":"x"}'
