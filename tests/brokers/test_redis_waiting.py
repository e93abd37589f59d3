"""Publishers wait until their node's feed has what they published, through new epochs and the end."""

from __future__ import annotations

import asyncio

import pytest

from headwater.brokers.redis.waiting import Watched
from headwater.event import Draft, Event, Position
from headwater.testing.contract import Recorder


def at(seq: int, epoch: str = "e") -> Position:
    """A position."""
    return Position(epoch, seq)


class Waiters:
    """Tasks that wait for positions, and a feed that can be moved."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.feed = Watched(self.recorder)
        self.feed.begin(at(5))
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def wait(self, *positions: Position) -> None:
        """Somebody waits for each."""
        self.tasks |= {str(position): asyncio.create_task(self.feed.reached(position)) for position in positions}
        await asyncio.sleep(0)

    async def back(self) -> set[str]:
        """Who has got an answer."""
        for _ in range(3):
            await asyncio.sleep(0)
        return {name for name, task in self.tasks.items() if task.done()}


async def test_what_has_been_reached_is_not_waited_for() -> None:
    """The very position, and those before it."""
    waiters = Waiters()
    await waiters.wait(at(5), at(1))
    assert await waiters.back() == {"e-5", "e-1"}


async def test_each_waits_for_its_position() -> None:
    """In whatever order they came; the feed has had it by then."""
    waiters = Waiters()
    await waiters.wait(at(9), at(6), at(7), at(8))
    waiters.feed.receive([Event.of(Draft(channel="a"), at(6), 0)], at(7))
    assert await waiters.back() == {"e-6", "e-7"}
    assert waiters.recorder.seqs() == [6]
    waiters.feed.restart(at(8), lost=True)
    assert await waiters.back() == {"e-6", "e-7", "e-8"}
    waiters.feed.receive([], at(10))
    assert len(await waiters.back()) == 4


async def test_a_new_epoch_lets_those_of_the_old_one_go() -> None:
    """There is nothing left to wait for. Those who knew of the new one before the feed did wait on in it."""
    waiters = Waiters()
    await waiters.wait(at(9), at(2, "f"), at(1, "f"), at(3, "g"))
    waiters.feed.restart(at(1, "f"))
    assert await waiters.back() == {"e-9", "f-1"}
    waiters.feed.receive([], at(2, "f"))
    assert await waiters.back() == {"e-9", "f-1", "f-2"}


async def test_the_end_lets_everyone_go() -> None:
    """Of whatever epoch."""
    waiters = Waiters()
    await waiters.wait(at(9), at(2, "f"))
    waiters.feed.close()
    assert len(await waiters.back()) == 2


@pytest.mark.parametrize("position", [at(9), at(9, "f")])
async def test_who_stops_waiting_is_forgotten(position: Position) -> None:
    """And is no trouble when the position is reached."""
    waiters = Waiters()
    await waiters.wait(position, at(20), at(21))
    waiters.tasks[str(position)].cancel()
    await asyncio.wait([waiters.tasks[str(position)]])
    waiters.feed.restart(at(8, position.epoch))
    waiters.feed.receive([], at(9, position.epoch))
    waiters.feed.close()
    assert len(await waiters.back()) == 3


@pytest.mark.parametrize("epoch", ["e", "f"])
async def test_those_who_stopped_waiting_are_not_kept_while_nothing_comes(epoch: str) -> None:
    """A node may be deaf for hours while it goes on publishing; those who still wait are answered in order."""
    waiters = Waiters()
    positions = [at(seq, epoch) for seq in range(200, 100, -1)]
    await waiters.wait(*positions)
    for position in positions[5:]:
        waiters.tasks[str(position)].cancel()
    await asyncio.wait([waiters.tasks[str(position)] for position in positions[5:]])
    assert len(waiters.feed._waiting) + len(waiters.feed._ahead) < 20
    waiters.feed.restart(at(100, epoch))
    waiters.feed.receive([], at(198, epoch))
    assert {name for name in await waiters.back() if not waiters.tasks[name].cancelled()} == {
        str(at(seq, epoch)) for seq in (196, 197, 198)
    }
    waiters.feed.close()
    assert len(await waiters.back()) == 100
