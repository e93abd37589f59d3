"""Where events go: what a URL means, and what a log and a hub say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from headwater.brokers import open_broker
from headwater.brokers.memory import MemoryBroker
from headwater.errors import (
    BrokerUnavailable,
    ConfigurationError,
    HeadwaterError,
    IdempotencyConflict,
    InvalidInput,
    RequestRefused,
    TooLarge,
    TooManyRequests,
)
from headwater.event import Draft
from headwater.publishing.sinks import DEFAULT_MAX_EVENT_BYTES, HubSink, LogSink, target_of
from tests.client.scripted import Answer, World, answer, answer_json, hang_up, serving

DRAFT = Draft.json("a", "log", {"m": 1}, permissions=["p"], idempotency_key="k")


@pytest.mark.parametrize(
    ("url", "is_remote", "most"),
    [
        ("sqlite:///log.db", False, DEFAULT_MAX_EVENT_BYTES),
        ("memory://", False, DEFAULT_MAX_EVENT_BYTES),
        ("http://hub", True, 0),
        ("https://hub/live/events", True, 0),
    ],
)
def test_what_a_url_means(url: str, is_remote: bool, most: int) -> None:
    """A log has a bound of its own; what a hub takes, it says itself, unless the publisher is told."""
    target = target_of(url)
    assert (target.is_remote, target.max_event_bytes) == (is_remote, most)
    assert target_of(url, max_event_bytes=5).max_event_bytes == 5
    assert target_of(url, max_event_bytes=0).max_event_bytes == 0


@pytest.mark.parametrize(
    "url", ["", "events.db", "mongodb://:hunter2@h", "sqlite:///", "sqlite:///x.db?a=1", "http://"]
)
def test_a_url_that_means_nothing_is_refused_at_once(url: str) -> None:
    """Not at the first event, and without repeating a password."""
    with pytest.raises(ConfigurationError) as caught:
        target_of(url)
    assert "hunter2" not in str(caught.value)


def test_passwords_are_not_shown() -> None:
    """Neither in what a publisher looks like nor in an error."""
    assert target_of("http://me:hunter2@hub").shown == "http://me:***@hub"
    hasty = [f"redis://me:hunter2{sign}x@h/0" for sign in "/?#"]  # nobody has encoded it
    for url in ("http://:hunter2@", "sqlite://:hunter2@h/x.db", "redis://me:hunter2@h/zero", *hasty):
        with pytest.raises(ConfigurationError) as caught:
            target_of(url)
        assert "hunter2" not in str(caught.value)


def test_tokens_are_for_hubs() -> None:
    """A log asks for none, so one that is given was meant for something else; one that no header can carry is refused."""
    with pytest.raises(ConfigurationError, match=r"token for sqlite:///x\.db"):
        target_of("sqlite:///x.db", "secret")
    with pytest.raises(ConfigurationError, match="the token is malformed"):
        target_of("http://hub", "se cret")
    assert target_of("http://hub", lambda: "secret").is_remote


def test_a_hub_needs_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose name is given."""
    monkeypatch.setitem(sys.modules, "headwater.client.http", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'headwater\[client\]'"):
        target_of("http://hub")


async def test_a_log_is_written(tmp_path: Path) -> None:
    """Ids are the positions' text."""
    url = f"sqlite:///{tmp_path}/log.db"
    sink = target_of(url).make()
    await sink.open()
    ids = await sink.append([DRAFT, Draft(channel="b")])
    await sink.aclose()
    broker = open_broker(url)
    head = await broker.open()
    page = await broker.read(["a", "b"], 0, head.seq)
    await broker.aclose()
    assert [str(event.position) for event in page.events] == list(ids)


async def test_a_log_that_cannot_be_opened_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it had begun to open."""
    closed = []

    async def fail(self: MemoryBroker, feed: object = None) -> None:
        raise BrokerUnavailable("the store is away")

    async def aclose(self: MemoryBroker) -> None:
        closed.append(self)

    monkeypatch.setattr(MemoryBroker, "open", fail)
    monkeypatch.setattr(MemoryBroker, "aclose", aclose)
    with pytest.raises(BrokerUnavailable):
        await LogSink("memory://").open()
    assert len(closed) == 1


async def told(*script: Answer, drafts: tuple[Draft, ...] = (DRAFT,)) -> Any:
    """What a hub that answers so makes of publishing."""
    async with serving(*script) as server:
        sink = HubSink(server.url, "token", runtime=World().runtime)
        await sink.open()
        try:
            return await sink.append(drafts)
        finally:
            await sink.aclose()


async def test_a_hub_is_asked() -> None:
    """One request for all events, with the token."""
    async with serving(answer_json({"ids": ["e-1", "e-2"]}, 201)) as server:
        sink = target_of(server.url, "token").make()
        await sink.open()
        assert await sink.append([DRAFT, Draft(channel="b")]) == ("e-1", "e-2")
        await sink.aclose()
    assert server.tokens == ["Bearer token"]
    assert [event["channel"] for event in server.asked[0].json()] == ["a", "b"]


async def test_text_goes_to_a_hub_by_itself() -> None:
    """On the route for text; among others it is refused before anything is sent."""
    text = Draft(channel="a", type="said", data="hi", text=True, permissions=frozenset({"p"}), idempotency_key="k")
    async with serving(answer_json({"ids": ["e-1"]}, 201)) as server:
        sink = HubSink(server.url, None)
        assert await sink.append([text]) == ("e-1",)
        with pytest.raises(InvalidInput, match="is text"):
            await sink.append([text, DRAFT])
        await sink.aclose()
    (asked,) = server.asked
    assert (asked.target, asked.query) == ("/channels/a", [("type", "said"), ("permission", "p")])
    assert (asked.body, asked.headers["idempotency-key"]) == (b"hi", "k")


@pytest.mark.parametrize(
    ("script", "error", "retry_after"),
    [
        ([answer(409)], IdempotencyConflict, None),
        ([answer(413)], TooLarge, None),
        ([answer(429, retry_after="7")] * 5, TooManyRequests, 7),
        ([answer(503, retry_after="9")] * 5, BrokerUnavailable, 9),
        ([answer(500)] * 5, BrokerUnavailable, 1),
        ([hang_up] * 5, BrokerUnavailable, 1),
        ([answer(403)], RequestRefused, None),
    ],
    ids=["409", "413", "429", "503", "500", "silence", "403"],
)
async def test_a_hub_fails_as_a_log_does(
    script: list[Answer], error: type[HeadwaterError], retry_after: float | None
) -> None:
    """Once it has been asked as often as is reasonable; what only a hub can say stays what it is."""
    with pytest.raises(error) as caught:
        await told(*script)
    assert caught.value.retry_after == retry_after


async def test_a_lost_answer_is_asked_for_again() -> None:
    """With the same key, so that the hub does not publish twice."""
    async with serving(hang_up, answer_json({"ids": ["e-1"]}, 201)) as server:
        sink = HubSink(server.url, None, runtime=World().runtime)
        assert await sink.append([Draft(channel="a")]) == ("e-1",)
        await sink.aclose()
    first, second = server.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
