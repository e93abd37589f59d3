"""Between knowing where a stream begins and beginning it: what may happen then, and who owns the channels."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import pytest

from headwater.errors import ConfigurationError, Draining, HeadwaterError
from headwater.event import ResetReason
from headwater.hub import After, Hub
from headwater.hub.opening import check_open
from headwater.hub.start import Beginning
from headwater.stream import State
from tests.hub.scripted import ScriptedBroker
from tests.hub.support import Socket, connect, publish, running, settled, subscription


@pytest.fixture
def broker() -> ScriptedBroker:
    """The hub's log."""
    return ScriptedBroker()


@pytest.fixture
async def hub(broker: ScriptedBroker) -> AsyncIterator[Hub]:
    """A hub that runs."""
    async with running(broker) as hub:
        yield hub


def hello_of(socket: Socket) -> dict[str, Any]:
    """What the first frame says."""
    first = socket.messages[0]
    assert first.type == "connected"
    return {**json.loads(first.data), "id": first.id}


def users(hub: Hub, channel: str = "a") -> int:
    """How many need a channel."""
    return hub.registry.channels[channel].users


async def test_a_hub_that_drains_opens_nothing() -> None:
    """Until the hub begins to shut down nothing is refused; from then on everything is, with a time to try again."""
    draining: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    check_open(draining)
    draining.set_result(None)
    with pytest.raises(Draining) as caught:
        check_open(draining)
    assert caught.value.retry_after == 1


async def test_an_attached_opening_is_a_stream_at_its_beginning(hub: Hub) -> None:
    """The first frame goes out at once and says where the stream begins; the stream then owns the channels."""
    await publish(hub, "a", 1, 2)
    socket = Socket(hub)
    async with hub.prepare(subscription("a")) as opening:
        assert opening.beginning.reset is None
        assert not opening.is_attached
        stream = socket.begin(opening.attach(socket))
        assert opening.is_attached
        cursor = hub.cursor(opening.beginning.seq)
        assert hello_of(socket) == {**hello_of(socket), "cursor": cursor, "channels": ["a"], "id": cursor}
    assert stream.state is State.LIVE
    assert users(hub) == 1
    socket.leave()
    assert users(hub) == 0


async def test_an_opening_is_one_stream(hub: Hub) -> None:
    """Its channels are held once, so it can be given away once."""
    socket = Socket(hub)
    async with hub.prepare(subscription("a")) as opening:
        socket.begin(opening.attach(socket))
        with pytest.raises(HeadwaterError, match="a stream already"):
            opening.attach(Socket(hub))
    assert (hub.count(), users(hub)) == (1, 1)


async def test_an_opening_that_is_not_attached_gives_its_channels_back(hub: Hub) -> None:
    """If no stream comes of it, because of an error or not, nobody needs the channels any more and no stream is open."""
    async with hub.prepare(subscription("a", "b")):
        assert (users(hub, "a"), users(hub, "b")) == (1, 1)
    assert (users(hub, "a"), users(hub, "b")) == (0, 0)

    async def fail() -> None:
        async with hub.prepare(subscription("a", "b")):
            raise ValueError("no response")

    with pytest.raises(ValueError, match="no response"):
        await fail()
    assert (users(hub, "a"), users(hub, "b"), hub.count()) == (0, 0, 0)


async def test_what_is_published_meanwhile_comes_after_the_first_frame(hub: Hub) -> None:
    """An event between finding the beginning and attaching is no event that the stream misses."""
    socket = Socket(hub)
    async with hub.prepare(subscription("a")) as opening:
        await publish(hub, "a", 1)
        socket.begin(opening.attach(socket))
    await settled()
    assert socket.types == ["connected", "message"]


async def test_a_log_that_begins_anew_meanwhile_is_told(hub: Hub, broker: ScriptedBroker) -> None:
    """If the log begins anew before the stream does, the stream begins in the new one, where the feed is: its first frame
    names the new cursor but does not set it, and a reset follows."""
    await publish(hub, "a", 1, 2, 3)
    socket = Socket(hub)
    async with hub.prepare(subscription("a", hello={"mine": True})) as opening:
        broker.wipe()
        await publish(hub, "a", 4)
        socket.begin(opening.attach(socket))
        assert opening.beginning == Beginning(1, ResetReason.EPOCH_CHANGED)
    await settled()
    assert hello_of(socket) == {**hello_of(socket), "cursor": str(broker.end), "mine": True, "id": ""}
    assert socket.types == ["connected", "reset"]
    assert json.loads(socket.messages[1].data) == {"reason": "epoch_changed", "cursor": str(broker.end)}


async def test_a_feed_that_only_lost_its_place_changes_nothing(hub: Hub, broker: ScriptedBroker) -> None:
    """In the same log a beginning stays what it is, and nothing after it is missed."""
    await publish(hub, "a", 1)
    socket = Socket(hub)
    async with hub.prepare(subscription("a", start=After(str(broker.end)))) as opening:
        await publish(hub, "a", 2)
        broker.lose_place()
        socket.begin(opening.attach(socket))
    await settled()
    assert socket.types == ["connected", "message"]
    assert socket.data == ["2"]


async def test_a_hub_that_begins_to_drain_meanwhile_refuses(hub: Hub) -> None:
    """Nothing is attached to a hub that shuts down, nothing is written, and the channels are given back."""
    socket = Socket(hub)

    async def attach() -> None:
        async with hub.prepare(subscription("a")) as opening:
            await hub.drain()
            opening.attach(socket)

    with pytest.raises(Draining):
        await attach()
    assert socket.writes == []
    assert (users(hub), hub.count()) == (0, 0)


@pytest.mark.parametrize("error", [ConfigurationError, ZeroDivisionError])
async def test_a_hello_fails_while_an_error_can_still_be_answered(hub: Hub, error: type[Exception]) -> None:
    """What is wrong with the application's hello is known before the response begins, and the channels are given back."""

    def hello(data: dict[str, Any]) -> object:
        return object() if error is ConfigurationError else 1 / 0

    with pytest.raises(error):
        await connect(hub, "a", hello=hello)
    assert users(hub) == 0


async def test_a_hello_is_asked_once(hub: Hub) -> None:
    """The application is asked for the first frame's data once per stream."""
    asked = count(1)
    socket = await connect(hub, "a", hello=lambda data: {"n": next(asked)})
    assert json.loads(socket.messages[0].data) == {"n": 1}
    assert next(asked) == 2
