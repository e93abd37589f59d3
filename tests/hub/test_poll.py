"""A poll answers what a stream would have sent, with the same cursors, and waits if that is nothing yet."""

from __future__ import annotations

import asyncio
import time

import pytest

from headwater.errors import BrokerUnavailable, Draining
from headwater.event import Draft, Position, ResetReason
from headwater.hub import After, Ago, All, Hub, Last, Now, Start
from headwater.hub import poll as module
from headwater.hub.poll import Polled
from tests.hub.scripted import Failing, Gate, ScriptedBroker
from tests.hub.support import after, connect, numbers, publish, running, settled, subscription, turns


async def poll(
    hub: Hub, *channels: str, start: Start, wait: float = 0.0, permissions: tuple[str, ...] = ()
) -> tuple[list[str], int, ResetReason | None]:
    """The data, the seq and the reset of an answer."""
    polled = await hub.poll(subscription(*channels, start=start, permissions=permissions), wait)
    assert polled.end.epoch == hub.fanout.epoch
    return data_of(polled), polled.end.seq, polled.reset


def data_of(polled: Polled) -> list[str]:
    """The data of an answer's events."""
    return [event.data for event in polled.events]


async def test_a_poll_answers_what_came_after_its_cursor() -> None:
    """From the rings or from the broker, in log order over all channels, and says how far that is."""
    broker = ScriptedBroker()
    for number in range(1, 9):
        await broker.fill(1, "ab"[number % 2], first=number)
    async with running(broker) as hub:
        assert await poll(hub, "a", "b", start=after(hub, 3)) == (numbers(4, 8), 8, None)
        reads = broker.calls["read"]
        await publish(hub, "b", 9)
        await publish(hub, "a", 10)
        assert await poll(hub, "a", "b", start=after(hub, 8)) == (["9", "10"], 10, None)
        assert await poll(hub, "b", start=after(hub, 8)) == (["9"], 10, None)
        assert broker.calls["read"] == reads


@pytest.mark.parametrize(
    ("start", "expected"),
    [(All(), numbers(1, 5)), (Last(2), ["4", "5"]), (Ago(3600), numbers(1, 5)), (Now(), [])],
)
async def test_a_poll_may_begin_like_any_stream(start: Start, expected: list[str]) -> None:
    """With everything, with the last few, with some time ago, or now."""
    broker = ScriptedBroker()
    await broker.fill(5)
    async with running(broker, wall=time.time) as hub:
        assert await poll(hub, "a", start=start) == (expected, 5, None)


async def test_hidden_events_move_the_cursor() -> None:
    """They are not answered, and not looked through again."""
    async with running() as hub:
        await publish(hub, "a", 1, 2, 3, permissions=("x",))
        assert await poll(hub, "a", start=All()) == ([], 3, None)
        assert await poll(hub, "a", start=All(), permissions=("x", "y")) == (["1", "2", "3"], 3, None)


async def test_an_answer_is_bounded_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next poll goes on at its cursor, and together they have everything."""
    monkeypatch.setattr(module, "MAX_EVENTS", 40)
    broker = ScriptedBroker()
    await broker.fill(100)
    async with running(broker) as hub:
        assert await poll(hub, "a", start=All()) == (numbers(1, 40), 40, None)
        assert await poll(hub, "a", start=after(hub, 40)) == (numbers(41, 80), 80, None)
        assert await poll(hub, "a", start=after(hub, 80)) == (numbers(81, 100), 100, None)


async def test_an_answer_is_bounded_by_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """But holds one event at least, or nobody would get on."""
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    async with running() as hub:
        await connect(hub, "a")
        for size in (10, 60, 60, 200, 200):
            await publish(hub, "a", "x" * size)
        answers = []
        cursor = 0
        while cursor < 5:
            data, cursor, _ = await poll(hub, "a", start=after(hub, cursor))
            answers.append([len(each) - 2 for each in data])
        assert answers == [[10, 60, 60], [200], [200]]


async def test_a_poll_waits_for_the_first_event() -> None:
    """On any of its channels, that it may see, and no longer than it was asked to."""
    async with running() as hub:
        waiting = asyncio.ensure_future(poll(hub, "a", "b", start=Now(), wait=25))
        await settled()
        await publish(hub, "c", 1)
        await publish(hub, "a", 2, permissions=("x",))
        await settled()
        assert not waiting.done()
        await publish(hub, "b", 3)
        assert await waiting == (["3"], 3, None)


async def test_a_poll_that_waits_in_vain_answers_with_how_far_it_looked() -> None:
    """After exactly as long as it was asked to wait."""
    async with running() as hub:
        begun = asyncio.get_running_loop().time()
        waiting = asyncio.ensure_future(poll(hub, "a", start=Now(), wait=25))
        await asyncio.sleep(10)
        await publish(hub, "a", 1, permissions=("x",))
        assert await waiting == ([], 1, None)
        assert asyncio.get_running_loop().time() - begun == pytest.approx(25)


async def test_many_polls_may_wait_for_one_channel() -> None:
    """One event wakes them all, and the channel keeps nothing of them."""
    async with running() as hub:
        waiting = [asyncio.ensure_future(poll(hub, "a", start=Now(), wait=25)) for _ in range(50)]
        await settled()
        await publish(hub, "a", 1)
        assert await asyncio.gather(*waiting) == 50 * [(["1"], 1, None)]
        assert hub.registry.channels["a"].arrival is None


async def test_polls_that_need_the_same_history_share_one_read() -> None:
    """A crowd that cannot stream costs the broker as much as one of them."""
    broker = ScriptedBroker()
    await broker.fill(20)
    async with running(broker) as hub:
        answers = await asyncio.gather(*(poll(hub, "a", start=after(hub, 3)) for _ in range(100)))
        assert answers == 100 * [(numbers(4, 20), 20, None)]
        assert broker.calls["read"] == 1


async def test_a_cursor_that_means_nothing_is_told_as_a_reset_at_once() -> None:
    """Without waiting: the client has something to do."""
    async with running() as hub:
        await publish(hub, "a", 1)
        assert await poll(hub, "a", start=After("nonsense"), wait=25) == ([], 1, ResetReason.UNKNOWN_ID)
        assert await poll(hub, "a", start=After("other-1"), wait=25) == ([], 1, ResetReason.EPOCH_CHANGED)


async def test_expired_history_is_told_as_a_reset() -> None:
    """With the cursor of the present."""
    broker = ScriptedBroker()
    await broker.fill(5)
    broker.forget("a", 3)
    async with running(broker) as hub:
        assert await poll(hub, "a", start=after(hub, 1)) == ([], 5, ResetReason.EXPIRED)


async def test_history_that_begins_later_by_the_time_it_is_read_is_no_gap() -> None:
    """For who asks for what the log still has; unless it goes faster than it can be read."""
    broker = ScriptedBroker()
    await broker.fill(50)
    async with running(broker) as hub:
        broker.script = gate = Gate("read")
        polling = asyncio.ensure_future(poll(hub, "a", start=All()))
        await gate.entered.wait()
        broker.forget("a", 45)
        gate.open()
        assert await polling == (numbers(46, 50), 50, None)

        async def forget(call: str) -> None:
            if call == "read":
                broker.forget("a")

        broker.script = forget
        hub.registry.channels["a"].ring.start_at(50)
        assert await poll(hub, "a", start=All()) == ([], 50, ResetReason.EXPIRED)


async def test_t26_a_log_that_begins_anew_is_told_as_a_reset() -> None:
    """Whether the poll was waiting or reading; nothing of the old log is answered, and no position of it."""
    broker = ScriptedBroker()
    await broker.fill(9)
    async with running(broker) as hub:
        waiting = asyncio.ensure_future(poll(hub, "a", start=Now(), wait=25))
        await settled()
        broker.wipe()
        assert await waiting == ([], 0, ResetReason.EPOCH_CHANGED)
        for at in ("read", "read done"):
            await broker.fill(5)
            hub.registry.channels["a"].ring.start_at(5)
            broker.script = gate = Gate(at)
            reading = asyncio.ensure_future(poll(hub, "a", start=after(hub, 0)))
            await gate.entered.wait()
            broker.wipe()
            await publish(hub, "b", 1, 2)
            gate.open()
            outcome = (await asyncio.gather(reading, return_exceptions=True))[0]
            assert isinstance(outcome, BrokerUnavailable) or outcome == ([], 2, ResetReason.EPOCH_CHANGED)
            broker.script = None


async def test_t26_an_answer_keeps_the_epoch_that_it_was_read_in() -> None:
    """Also if the log begins anew before whoever asked comes to send it."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        await publish(hub, "a", 1)
        polling = asyncio.ensure_future(hub.poll(subscription("a", start=All())))
        polling.add_done_callback(lambda _: broker.wipe())
        epoch = hub.fanout.epoch
        assert (await polling).end == Position(epoch, 1)
        assert hub.fanout.epoch != epoch


async def test_an_outage_is_the_askers_to_know() -> None:
    """A poll can say 503, so it does."""
    broker = ScriptedBroker()
    await broker.fill(5)
    async with running(broker) as hub:
        broker.script = Failing("read")
        with pytest.raises(BrokerUnavailable):
            await poll(hub, "a", start=after(hub, 1))
        assert hub.registry.channels["a"].users == 0


async def test_a_draining_hub_answers_who_waits_and_refuses_who_comes() -> None:
    """Nobody is left hanging until the process is gone."""
    async with running() as hub:
        waiting = asyncio.ensure_future(poll(hub, "a", start=Now(), wait=25))
        await settled()
        await hub.drain(1)
        assert await waiting == ([], 0, None)
        with pytest.raises(Draining):
            await poll(hub, "a", start=Now())


@pytest.mark.parametrize("at", ["follow", "follow done", "horizon", "horizon done", "read", "read done", "waiting"])
async def test_a_poll_that_is_cancelled_gives_back_its_channels(at: str) -> None:
    """Wherever it was; and nothing of it goes on."""
    broker = ScriptedBroker()
    await broker.fill(5)
    async with running(broker) as hub:
        before = asyncio.all_tasks()
        broker.script = gate = Gate(at)
        start: Start = Now() if at == "waiting" else All()
        polling = asyncio.ensure_future(poll(hub, "a", start=start, wait=25))
        await settled()
        assert gate.entered.is_set() or at == "waiting"
        polling.cancel()
        await settled()
        assert polling.cancelled()
        gate.open()
        await settled()
        assert hub.registry.channels["a"].users == 0
        assert asyncio.all_tasks() == before


async def test_polls_and_streams_share_their_cursors() -> None:
    """A client may switch back and forth without loss."""
    broker = ScriptedBroker()
    async with running(broker) as hub:
        await publish(hub, "a", 1, 2)
        data, seq, _ = await poll(hub, "a", start=All())
        socket = await connect(hub, "a", start=after(hub, seq))
        await publish(hub, "a", 3)
        socket.leave()
        await publish(hub, "a", 4)
        back = Position.parse(socket.decoder.last_event_id).seq
        more, seq, _ = await poll(hub, "a", start=after(hub, back))
        await broker.append([Draft(channel="a", data="5")])
        last = await connect(hub, "a", start=after(hub, seq))
        await turns(3)
        assert data + socket.data + more + last.data == numbers(1, 5)
