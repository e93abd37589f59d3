"""However a stream ends, its client is told if it can be, its last bytes go out, and nothing of it stays behind."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from itertools import pairwise

import pytest

from headwater.hub import After, All, Hub
from headwater.hub.streams import FINISH
from headwater.stream import CloseReason, State
from tests.hub.scripted import Gate, ScriptedBroker
from tests.hub.support import Socket, connect, publish, running, settled, statistics, stream_of, subscription


def end(hub: Hub, socket: Socket, reason: CloseReason) -> bool:
    """End a stream as the hub itself does."""
    return hub.streams.close(stream_of(socket), reason)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    "reason",
    [CloseReason.DRAIN, CloseReason.EXPIRED, CloseReason.REVOKED, CloseReason.PIPELINED, CloseReason.ADMIN],
)
async def test_a_client_is_told_why_its_stream_ends(reason: CloseReason, chunked: bool) -> None:
    """With the cursor to come back with, and a body that ends cleanly."""
    async with running() as hub:
        socket = await connect(hub, "a", chunked=chunked)
        await publish(hub, "a", 1)
        assert end(hub, socket, reason)
        assert (socket.is_finished, socket.is_aborted) == (True, False)
        assert socket.types == ["connected", "message", "closing"]
        assert socket.messages[-1].data == json.dumps({"reason": reason.value}, separators=(",", ":"))
        assert socket.messages[-1].id == hub.cursor(1)
        assert statistics(hub)["ended"] == {reason.value: 1}
        await settled()
        assert hub.streams.finishing == set()


async def test_a_client_that_is_gone_is_told_nothing() -> None:
    """Its socket takes nothing any more."""
    async with running() as hub:
        socket = await connect(hub, "a")
        socket.leave()
        assert (socket.types, socket.is_finished, socket.is_aborted) == (["connected"], False, False)
        assert statistics(hub)["ended"] == {"client": 1}


async def test_t4_a_draining_hub_tells_also_whose_socket_is_full() -> None:
    """They may still read it within the grace period; for any other reason they are cut off."""
    async with running() as hub:
        drained, revoked = [await connect(hub, "a", capacity=10) for _ in range(2)]
        end(hub, revoked, CloseReason.REVOKED)
        assert revoked.is_aborted
        end(hub, drained, CloseReason.DRAIN)
        assert not drained.is_aborted
        drained.take()
        assert drained.types == ["connected", "closing"]
        await settled()
        assert hub.streams.finishing == set()


async def test_a_stream_ends_once() -> None:
    """Whoever comes second learns that it was not open."""
    async with running() as hub:
        released = Counter[str]()
        socket = await connect(hub, "a", release=lambda: released.update(["once"]))
        assert end(hub, socket, CloseReason.ADMIN)
        assert not end(hub, socket, CloseReason.REVOKED)
        socket.leave()
        assert released == {"once": 1}
        assert statistics(hub)["ended"] == {"admin": 1}


async def test_an_application_that_fails_to_take_back_what_it_lent_harms_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The stream ends like any other."""

    def release() -> None:
        raise ZeroDivisionError("what was that")

    async with running() as hub:
        socket = await connect(hub, "a", release=release)
        assert end(hub, socket, CloseReason.ADMIN)
        assert socket.types == ["connected", "closing"]
        assert statistics(hub)["ended"] == {"admin": 1}
        assert "what was that" in caplog.text


async def test_the_place_that_is_told_is_the_place_that_was_reached() -> None:
    """What is pending when a stream ends comes when its client resumes."""
    loop = asyncio.get_running_loop()
    written: list[bytes] = []
    async with running(clock=lambda: loop.time() + len(written)) as hub:
        other, socket = await connect(hub, "a", permissions=("x",)), await connect(hub, "a")
        written = other.writes
        await publish(hub, "a", 1, 2)
        end(hub, socket, CloseReason.ADMIN)
        assert (socket.data, socket.messages[-1].id) == (["1"], hub.cursor(1))
        back = await connect(hub, "a", start=After(socket.decoder.last_event_id))
        await settled()
        assert back.data == ["2"]


async def test_who_is_owed_a_reset_is_given_no_cursor_at_the_end() -> None:
    """With one it would come back and never learn what it missed."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        await publish(hub, "a", 1, 2)
        socket = await connect(hub, "a", capacity=10)
        socket.take()
        await publish(hub, "a", 3)
        old = hub.cursor(3)
        broker.wipe()
        await publish(hub, "a", *range(10))
        end(hub, socket, CloseReason.DRAIN)
        socket.take()
        assert socket.types == ["connected", "message", "closing"]
        assert socket.decoder.last_event_id == old
        back = await connect(hub, "a", start=After(old))
        assert back.types == ["connected", "reset"]
        assert back.messages[0].id == ""


async def test_a_writer_that_breaks_at_the_last_frame_is_cut_off() -> None:
    """And not waited for."""
    async with running() as hub:
        socket = await connect(hub, "a")
        socket.fault = OSError("gone")
        end(hub, socket, CloseReason.ADMIN)
        assert socket.is_aborted
        assert hub.streams.finishing == set()


async def test_a_client_that_does_not_take_its_last_bytes_is_cut_off() -> None:
    """After a while, and then nothing of its stream is left."""
    async with running() as hub:
        await asyncio.sleep(0.1)  # between two ticks of the wheel
        slow, quick = [await connect(hub, "a", capacity=1000) for _ in range(2)]
        for socket in (slow, quick):
            end(hub, socket, CloseReason.ADMIN)
        quick.take()
        assert hub.streams.finishing == {stream_of(slow)}
        await asyncio.sleep(FINISH / 2)
        assert not slow.is_aborted
        await asyncio.sleep(FINISH)
        assert (slow.is_aborted, quick.is_aborted) == (True, False)
        assert hub.streams.finishing == set()
        assert len(hub.streams._wheel) == 0


async def test_a_writer_that_never_says_that_it_is_gone_is_forgotten_all_the_same() -> None:
    """The hub has cut it off; it does not wait for thanks."""

    class Silent(Socket):
        def leave(self) -> None:
            """Says nothing."""

    async with running() as hub:
        socket = Silent(hub, capacity=1000)
        async with hub.prepare(subscription("a")) as opening:
            socket.begin(opening.attach(socket))
        end(hub, socket, CloseReason.ADMIN)
        await asyncio.sleep(2 * FINISH)
        assert hub.streams.finishing == set()


async def test_a_stream_that_ends_while_it_replays_leaves_no_task() -> None:
    """And tells the place it has reached."""
    broker = ScriptedBroker(script=(gate := Gate("read")))
    await broker.fill(3)
    async with running(broker) as hub:
        socket = await connect(hub, "a", start=All())
        await gate.entered.wait()
        end(hub, socket, CloseReason.ADMIN)
        await settled()
        assert stream_of(socket).task is None
        assert socket.messages[-1].id == hub.cursor(0)


async def test_draining_waits_for_the_last_bytes() -> None:
    """Until the last client has read to the end, or the grace period is over."""
    async with running() as hub:
        quick, slow = await connect(hub, "a"), await connect(hub, "a", capacity=1000)
        draining = asyncio.ensure_future(hub.drain(10))
        await asyncio.sleep(3)
        assert not draining.done()
        slow.take()
        assert await draining is True
        assert [socket.types[-1] for socket in (quick, slow)] == ["closing", "closing"]
        assert not slow.is_aborted


async def test_t5_a_stalled_reader_does_not_hold_up_a_drain() -> None:
    """When the grace period is over it is cut off."""
    async with running() as hub:
        stalled = [await connect(hub, "a", capacity=10) for _ in range(3)]
        begun = asyncio.get_running_loop().time()
        assert await hub.drain(4) is False
        assert asyncio.get_running_loop().time() - begun == pytest.approx(4, abs=0.01)
        assert all(socket.is_aborted for socket in stalled)
        assert hub.streams.finishing == set()
        assert await hub.drain(4) is True


async def test_two_who_drain_wait_for_the_same() -> None:
    """A signal and a lifespan may both ask for it."""
    async with running() as hub:
        socket = await connect(hub, "a", capacity=1000)
        begun = asyncio.get_running_loop().time()
        both = [asyncio.ensure_future(hub.drain(grace)) for grace in (10, 20)]
        await settled()
        socket.take()
        assert [await each for each in both] == [True, True]
        assert asyncio.get_running_loop().time() == begun
        assert socket.types.count("closing") == 1


async def test_t08_clients_of_a_draining_hub_come_back_one_by_one() -> None:
    """Each is told its own time, spread over seconds in proportion to their number."""
    async with running() as hub:
        sockets = [await connect(hub, "a") for _ in range(2000)]
        await hub.drain(10)
        retries = sorted(socket.decoder.retry or 0 for socket in sockets)
        assert 500 <= retries[0] < 600
        assert 4400 < retries[-1] <= 4500
        assert max(later - sooner for sooner, later in pairwise(retries)) < 100
        per_second = Counter(retry // 1000 for retry in retries)
        assert max(per_second.values()) < 600


async def test_a_drain_that_is_cancelled_can_be_done_again() -> None:
    """What was not ended is ended then."""
    async with running() as hub:
        sockets = [await connect(hub, "a", capacity=1000) for _ in range(3)]
        draining = asyncio.ensure_future(hub.drain(10))
        await settled()
        draining.cancel()
        await settled()
        assert [stream_of(socket).state for socket in sockets] == 3 * [State.CLOSED]
        assert await hub.drain(0.1) is False
        assert all(socket.is_aborted for socket in sockets)
