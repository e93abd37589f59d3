"""The hand-off between a node's own commits and what other processes append, as a state machine."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from headwater.brokers.sqlite.delivery import Commit, Delivery
from headwater.brokers.sqlite.reads import Batch
from headwater.event import Draft, Event, Position
from headwater.testing.contract import Recorder

EPOCH = "e"


class World:
    """A log in memory with a node on it, and what its feed must get."""

    def __init__(self) -> None:
        self.log: list[str] = []  # channels; an event's seq is its place, from 1
        self.feed = Recorder()
        self.delivery = Delivery(self.feed)
        self.delivery.begin(EPOCH, 0)
        self.settling: list[Commit] = []  # committed, and not yet reported to the loop
        self.batch: Batch | None = None  # read, and not yet reported to the loop
        self.waiting: set[int] = set()
        self.expected: list[int] = []
        self.follows: dict[str, int] = {}

    def append(self, channels: str) -> None:
        """This node commits; its publisher waits."""
        base = len(self.log)
        self.log += channels
        self.waiting.add(base)
        drafts = [Draft(channel=name) for name in channels]
        self.settling.append(Commit(base, drafts, 0, lambda: self._release(base, base + len(channels))))

    def _release(self, base: int, head: int) -> None:
        self.waiting.remove(base)
        assert not self.delivery.followed or self.delivery.at[1] >= head

    def settle(self) -> None:
        """The loop hears of the oldest commit."""
        if self.settling:
            self.delivery.committed(self.settling.pop(0))

    def look(self, limit: int) -> None:
        """The watcher reads."""
        if self.batch is None and self.delivery.followed:
            after = self.delivery.at[1]
            upto = min(len(self.log), after + limit)
            self.batch = batch(after, upto, self.log[after:upto])

    def take(self) -> None:
        """The loop hears of what the watcher read."""
        if self.batch is not None:
            taken, self.batch = self.batch, None
            self.delivery.read(taken)

    def follow(self, name: str) -> None:
        """As the broker does it."""
        if not self.delivery.followed:
            self.delivery.skip_to(EPOCH, len(self.log))
        if name not in self.follows:
            self.follows[name] = self.delivery.at[1]
        self.delivery.followed.add(name)

    def unfollow(self, name: str) -> None:
        """What came between the two must be in the feed."""
        at = self.delivery.at[1]
        start = self.follows.pop(name, at)
        self.expected += [seq for seq in range(start + 1, at + 1) if self.log[seq - 1] == name]
        self.delivery.unfollow([name])

    def finish(self) -> None:
        """Everything is reported."""
        self.take()
        while self.settling:
            self.settle()
        while self.delivery.followed and self.delivery.at[1] < len(self.log):
            self.look(3)
            self.take()
        for name in list(self.follows):
            self.unfollow(name)


def batch(after: int, upto: int, channels: Sequence[str], **lost: object) -> Batch:
    """What the watcher reports."""
    events = [Event.of(Draft(channel=name), Position(EPOCH, seq), 0) for seq, name in enumerate(channels, after + 1)]
    return Batch(EPOCH, after, upto, upto, events, **lost)  # type: ignore[arg-type]


names = st.sampled_from("abc")
actions = st.one_of(
    st.tuples(st.just("append"), st.text("abc", min_size=1, max_size=4)),
    st.tuples(st.just("others"), st.text("abc", min_size=1, max_size=4)),
    st.tuples(st.just("settle"), st.none()),
    st.tuples(st.just("look"), st.integers(1, 4)),
    st.tuples(st.just("take"), st.none()),
    st.tuples(st.just("follow"), names),
    st.tuples(st.just("unfollow"), names),
)


@given(st.lists(actions, max_size=60))
def test_t25_whatever_happens_in_between_the_feed_gets_everything_once(steps: list[tuple[str, object]]) -> None:
    """However own commits, other processes' commits, looks at the file, follows and unfollows are interleaved: the feed
    gets each event of each channel while it is followed, in order, and every publisher its answer, after the feed."""
    world = World()
    for action, detail in steps:
        match action, detail:
            case "others", str(channels):
                world.log += channels
            case ("settle" | "take") as name, _:
                getattr(world, name)()
            case name, _:
                getattr(world, name)(detail)
    world.finish()
    assert world.feed.seqs() == sorted(world.expected)
    assert world.feed.complaints == []
    assert world.waiting == set()


def following() -> tuple[Delivery, Recorder, list[str]]:
    """A delivery that follows channel a, and has a commit parked behind others' events 1 to 3."""
    feed = Recorder()
    delivery = Delivery(feed)
    delivery.begin(EPOCH, 0)
    delivery.followed.add("a")
    released: list[str] = []
    delivery.committed(Commit(3, [Draft(channel="a")], 0, lambda: released.append("parked")))
    assert not released
    assert delivery.gap == 3
    return delivery, feed, released


def test_a_commit_behind_others_waits_for_them() -> None:
    """It is given from memory once the watcher has read up to it."""
    delivery, feed, released = following()
    delivery.read(batch(0, 2, "ab"))
    assert not released
    delivery.read(batch(2, 3, "a"))
    assert released
    assert feed.seqs() == [1, 3, 4]


def test_nobody_waits_when_nothing_is_followed() -> None:
    """The watcher sleeps then, and would never come."""
    delivery, feed, released = following()
    delivery.unfollow(["a"])
    assert released
    assert feed.seqs() == []
    assert feed.upto == Position(EPOCH, 4)


def test_a_new_epoch_starts_the_feed_over() -> None:
    """Whoever waited in the old one gets the answer, and reports from the old one are ignored."""
    delivery, feed, released = following()
    delivery.adopt(EPOCH, 99)
    assert feed.restarts == []
    delivery.adopt("f", 7)
    assert released
    assert feed.restarts == [Position("f", 7)]
    delivery.read(batch(0, 3, "aaa"))
    assert feed.seqs() == []
    assert delivery.at == ("f", 7)


def test_a_batch_that_begins_too_late_is_ignored() -> None:
    """It was asked for before the feed started over, and would leave a hole."""
    delivery, feed, _ = following()
    delivery.read(batch(5, 6, "a"))
    assert feed.seqs() == []


def test_what_was_lost_starts_the_feed_over() -> None:
    """If retention was quicker than the watcher, the hub must know; unless nothing followed was lost."""
    delivery, feed, _ = following()
    delivery.read(batch(0, 3, "a", lost=frozenset("b")))
    assert feed.restarts == []
    assert feed.seqs() == [1, 4]
    delivery.read(batch(4, 9, "", lost=frozenset("ab")))
    assert feed.restarts == [Position(EPOCH, 9)]
    delivery.read(batch(9, 12, "", lost_unnamed=True))
    assert feed.restarts[1:] == [Position(EPOCH, 12)]


def test_closing_releases_everyone_and_calls_nobody() -> None:
    """The events are durable, whatever the feed has seen."""
    delivery, feed, released = following()
    delivery.close()
    assert released
    delivery.adopt("f", 7)
    delivery.committed(Commit(7, [], 0, lambda: released.append("late")))
    assert released == ["parked", "late"]
    assert feed.upto is None
    assert feed.restarts == []
