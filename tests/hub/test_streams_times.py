"""What is due for a stream happens in time: heartbeats, warnings, and the end of its token."""

from __future__ import annotations

import asyncio

import pytest

from headwater import wire
from headwater.channels import Principal
from headwater.event import Draft
from headwater.hub import Hub, Timing
from headwater.hub.streams import WARN_AGAIN
from headwater.hub.wheel import RESOLUTION
from headwater.stream import State
from tests.hub.scripted import ScriptedBroker
from tests.hub.support import START, WALL, Socket, connect, publish, running, settled, statistics, stream_of


def until(seconds: float) -> Principal:
    """Someone whose token ends so many seconds after the loop's beginning."""
    return Principal(id="ada", expires_at=WALL + seconds)


def now() -> float:
    """Seconds since the loop's beginning."""
    return asyncio.get_running_loop().time() - START


async def test_heartbeats_come_in_their_interval() -> None:
    """The subscription's, else the hub's; as events with the time."""
    async with running(timing=Timing(heartbeat=10)) as hub:
        own, default = await connect(hub, "a", heartbeat=4), await connect(hub, "a", heartbeat=None)
        await asyncio.sleep(21)
        assert own.types == ["connected"] + 5 * ["heartbeat"]
        assert default.types == ["connected"] + 2 * ["heartbeat"]
        first = own.of("heartbeat")[0].data
        assert '{"timestamp":"2027-01-15T08:00:03.4' < first < '{"timestamp":"2027-01-15T08:00:04.1'


async def test_t23_no_heartbeat_means_none() -> None:
    """And none that comes as fast as the loop turns, however short the interval."""
    async with running() as hub:
        none, short = await connect(hub, "a", heartbeat=0), await connect(hub, "a", heartbeat=0.001)
        await asyncio.sleep(10)
        assert none.types == ["connected"]
        assert len(short.of("heartbeat")) <= 10 / RESOLUTION + 1


async def test_heartbeats_that_were_slept_through_are_not_made_up_for() -> None:
    """A machine that wakes up sends one or two, and not one for every interval of the night."""
    async with running() as hub:
        socket = await connect(hub, "a", heartbeat=10)
        hub.streams.tick(asyncio.get_running_loop().time() + 3600)
        hub.streams.tick(asyncio.get_running_loop().time() + 3600 + RESOLUTION)
        assert 1 <= len(socket.of("heartbeat")) <= 2


async def test_t27_a_heartbeat_moves_the_cursor_over_hidden_events() -> None:
    """To where this stream was given everything, and never further."""
    loop = asyncio.get_running_loop()
    written: list[bytes] = []
    async with running(clock=lambda: loop.time() + len(written)) as hub:
        socket, other = await connect(hub, "a", heartbeat=5), await connect(hub, "a", permissions=("x",))
        await publish(hub, "a", 1, permissions=("x",))
        hub.streams.tick(loop.time() + 5)
        assert socket.messages[-1].id == hub.cursor(1)
        await settled()
        written = other.writes
        await publish(hub, "a", 2, 3)
        assert (hub.fanout.position, hub.fanout.received) == (2, 3), "3 is pending"
        hub.streams.tick(loop.time() + 10)
        assert socket.messages[-1].id == hub.cursor(2)


async def test_t27_a_heartbeat_as_a_comment_leaves_the_cursor_alone() -> None:
    """And is the comment line that was chosen, for bare streams and chunked ones."""
    async with running() as hub:
        for chunked in (False, True):
            socket = await connect(hub, "a", heartbeat=5, comment_heartbeat=wire.COMMENT, chunked=chunked)
            await asyncio.sleep(11)
            assert (socket.types, socket.comments) == (["connected"], 2)


async def test_t27_a_stream_that_is_behind_is_given_no_cursor() -> None:
    """While it replays it gets a comment as a sign of life, while its socket is full nothing at all."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        replaying, full = await connect(hub, "a", heartbeat=5), await connect(hub, "a", heartbeat=5)
        hub.full(stream_of(full))
        hub.full(stream_of(replaying))
        hub.handoff._reader = None  # type: ignore[assignment] # nobody brings it forward
        stream_of(replaying).state = State.REPLAYING
        stream_of(replaying).lag_deadline = float("inf")
        await asyncio.sleep(11)
        assert (replaying.types, replaying.comments) == (["connected"], 2)
        assert (full.types, full.comments) == (["connected"], 0)


async def test_heartbeats_of_many_streams_are_encoded_once() -> None:
    """The same bytes object for everyone with the same framing."""
    async with running() as hub:
        sockets = [await connect(hub, name, heartbeat=5) for name in "aab"]
        await asyncio.sleep(5)
        assert len({id(socket.writes[-1]) for socket in sockets}) == 1


async def test_a_writer_that_breaks_at_a_heartbeat_ends_its_stream() -> None:
    """Heartbeats find out what has died quietly."""
    async with running() as hub:
        broken, other = await connect(hub, "a", heartbeat=5), await connect(hub, "a", heartbeat=5)
        broken.fault = OSError("gone")
        await asyncio.sleep(11)
        assert stream_of(broken).state is State.CLOSED
        assert len(other.of("heartbeat")) == 2


async def expire(hub: Hub, principal: Principal) -> tuple[Socket, float]:
    """Connect, and wait for the end; the socket and when it came."""
    over = asyncio.Event()
    socket = await connect(hub, "a", principal=principal, release=over.set)
    await over.wait()
    return socket, now()


@pytest.mark.parametrize("left", [0.001, 0.1, 0.26, 0.49, 0.74, 1.13, 5.0, 40.02, 100.37])
async def test_a_stream_never_outlives_its_token(left: float) -> None:
    """Wherever the ticks of the wheel fall; and it ends less than a second before."""
    async with running() as hub:
        await asyncio.sleep(0.1)
        begun = now()
        socket, ended = await expire(hub, until(begun + left))
        assert max(begun, begun + left - 1) <= ended <= begun + left
        assert socket.types == ["connected", "token_expiring", "closing"]
        assert socket.messages[-1].data == '{"reason":"expired"}'


async def test_a_stream_never_outlives_its_token_in_a_loop_that_is_late() -> None:
    """A tick that comes a quarter of a second late is not too late."""
    async with running() as hub:
        hub._timer.cancel()
        socket = await connect(hub, "a", principal=until(10))
        at = START
        while stream_of(socket).state is not State.CLOSED:
            at += 2 * RESOLUTION - 0.001
            hub.streams.tick(at)
            assert at < START + 10 or stream_of(socket).state is State.CLOSED
        assert at < START + 10


async def test_a_token_that_has_ended_gives_a_stream_that_has_ended() -> None:
    """It may have ended between the check and the first byte."""
    async with running() as hub:
        socket = await connect(hub, "a", principal=until(-5))
        assert socket.types == ["connected", "token_expiring", "closing"]


async def test_a_warning_comes_before_the_end() -> None:
    """As long before as the hub is told, once, with the time of the end and no id."""
    async with running(timing=Timing(warn_before=30)) as hub:
        await publish(hub, "a", 1)
        socket = await connect(hub, "a", principal=until(100))
        await publish(hub, "a", 2)
        await asyncio.sleep(69)
        assert socket.of("token_expiring") == []
        await asyncio.sleep(1)
        (warning,) = socket.of("token_expiring")
        assert warning.data == '{"expires_at":"2027-01-15T08:01:40.000Z"}'
        assert warning.id == hub.cursor(2)
        await asyncio.sleep(29)
        assert socket.types == ["connected", "message", "token_expiring"]


async def test_a_full_socket_is_warned_when_it_drains() -> None:
    """A warning that nobody could read would be none."""
    async with running(timing=Timing(warn_before=30)) as hub:
        socket = await connect(hub, "a", principal=until(50), capacity=10)
        await asyncio.sleep(22)
        assert len(socket.writes) == 1
        socket.take()
        await asyncio.sleep(WARN_AGAIN + 2 * RESOLUTION)
        socket.take()
        assert socket.types == ["connected", "token_expiring"]


async def test_a_full_socket_is_cut_off_when_its_token_ends() -> None:
    """What is said to it now would wait behind what it does not read."""
    async with running() as hub:
        socket = await connect(hub, "a", principal=until(20), capacity=10)
        await asyncio.sleep(20)
        assert (socket.is_aborted, socket.is_finished, len(socket.writes)) == (True, False, 1)
        assert statistics(hub)["ended"] == {"expired": 1}


async def test_a_writer_that_breaks_at_the_warning_ends_its_stream_once() -> None:
    """Nothing else happens to it in the same tick."""
    async with running(timing=Timing(warn_before=5)) as hub:
        socket = await connect(hub, "a", principal=until(5.2), heartbeat=0.3)
        socket.fault = OSError("gone")
        await asyncio.sleep(6)
        assert statistics(hub)["ended"] == {"error": 1}


async def test_a_stream_ended_by_another_in_the_same_tick_is_left_alone() -> None:
    """Whatever else was due for it."""
    async with running() as hub:
        sockets = [await connect(hub, "a", heartbeat=5) for _ in range(2)]

        def write(data: bytes) -> None:
            for socket in sockets:
                hub.lost(stream_of(socket))

        for socket in sockets:
            stream_of(socket).write = write
        await asyncio.sleep(6)
        assert statistics(hub)["ended"] == {"client": 2}
        assert len(hub.streams._wheel) == 0


async def test_nothing_is_due_for_streams_that_are_gone() -> None:
    """The wheel holds nobody who has left."""
    async with running() as hub:
        for _ in range(100):
            (await connect(hub, "a", heartbeat=1000, principal=until(5000))).leave()
        assert len(hub.streams._wheel) == 0
        await hub.publish_all([Draft(channel="a")])
        await settled()
