"""The hand-off between a node's own commits and what others append, as a state machine; and groups of appends."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from headwater.brokers.postgres.appends import Answer, Group, Outcome, columns
from headwater.brokers.postgres.delivery import Commit, Delivery
from headwater.brokers.postgres.reads import Batch
from headwater.errors import IdempotencyConflict
from headwater.event import Draft, Event, Position
from headwater.testing.contract import Recorder

EPOCH = "e"


class World:
    """A log in memory with a node on it, and what its feed must get."""

    def __init__(self) -> None:
        self.log: list[str] = []  # channels; an event's seq is its place, from 1
        self.feed = Recorder()
        self.delivery = Delivery(self.feed, lambda: None)
        self.delivery.adopt(EPOCH, 0)
        self.settling: list[Commit] = []  # committed, and not yet reported: by the writer or by the leader
        self.batch: Batch | None = None  # read, and not yet reported
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

    def again(self, channels: str) -> None:
        """The same, and the answer comes the second time only."""
        base = len(self.log)
        self.log += channels
        self.waiting.add(base)
        head = len(self.log)
        self.settling.append(Commit(head, (), 0, lambda: self._release(base, head)))

    def _release(self, base: int, head: int) -> None:
        self.waiting.remove(base)
        assert not self.delivery.followed or self.delivery.at[1] >= head

    def settle(self, index: int) -> None:
        """A commit is reported; the writer's and the leader's overtake each other."""
        if self.settling:
            self.delivery.committed(self.settling.pop(index % len(self.settling)))

    def look(self, limit: int) -> None:
        """The watcher reads."""
        if self.batch is None and self.delivery.followed:
            after = self.delivery.at[1]
            upto = min(len(self.log), after + limit)
            self.batch = batch(after, upto, self.log[after:upto])

    def take(self) -> None:
        """What the watcher read is reported."""
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
            self.settle(0)
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
some = st.text("abc", min_size=1, max_size=4)
actions = st.one_of(
    st.tuples(st.just("append"), some),
    st.tuples(st.just("again"), some),
    st.tuples(st.just("others"), some),
    st.tuples(st.just("settle"), st.integers(0, 3)),
    st.tuples(st.just("look"), st.integers(1, 4)),
    st.tuples(st.just("take"), st.none()),
    st.tuples(st.just("follow"), names),
    st.tuples(st.just("unfollow"), names),
)


@given(st.lists(actions, max_size=60))
def test_t25_whatever_happens_in_between_the_feed_gets_everything_once(steps: list[tuple[str, object]]) -> None:
    """However own commits, those of others, looks at the log, follows and unfollows are interleaved, and in whatever order
    own commits are heard of: the feed gets each event of each channel while it is followed, in order, and every publisher
    its answer, after the feed."""
    world = World()
    for action, detail in steps:
        match action, detail:
            case "others", str(channels):
                world.log += channels
            case "take", _:
                world.take()
            case name, _:
                getattr(world, name)(detail)
    world.finish()
    assert world.feed.seqs() == sorted(world.expected)
    assert world.feed.complaints == []
    assert world.waiting == set()


def following() -> tuple[Delivery, Recorder, list[str]]:
    """A delivery that follows channel a, and has a commit parked behind others' events 1 to 3."""
    feed = Recorder()
    looks: list[str] = []
    delivery = Delivery(feed, lambda: looks.append("look"))
    delivery.adopt(EPOCH, 0)
    delivery.followed.add("a")
    released: list[str] = []
    delivery.committed(Commit(3, [Draft(channel="a")], 0, lambda: released.append("parked")))
    assert not released
    assert looks == ["look"]
    return delivery, feed, released


def test_a_commit_behind_others_waits_for_them() -> None:
    """Until the log has been read past it."""
    delivery, feed, released = following()
    delivery.read(batch(0, 2, "ab"))
    assert not released
    delivery.read(batch(2, 4, "aa"))
    assert released
    assert feed.seqs() == [1, 3, 4]


def test_nobody_waits_when_nothing_is_followed_or_the_log_cannot_be_read() -> None:
    """Nobody would come."""
    for end in (lambda delivery: delivery.unfollow(["a"]), Delivery.release):
        delivery, feed, released = following()
        end(delivery)
        assert released
        assert feed.seqs() == []
        assert delivery.at == (EPOCH, 0)


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
    assert feed.seqs() == [1]
    delivery.read(batch(3, 9, "", lost=frozenset("ab")))
    assert feed.restarts == [Position(EPOCH, 9)]
    delivery.read(batch(9, 12, "", lost_unnamed=True))
    assert feed.restarts[1:] == [Position(EPOCH, 12)]
    assert delivery.holes == 0
    delivery.read(batch(12, 14, "", has_hole=True))
    assert feed.restarts[2:] == [Position(EPOCH, 14)]
    assert delivery.holes == 1


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


def keyed(key: str, data: str) -> Draft:
    """A draft with a key."""
    return Draft(channel="a", data=data, idempotency_key=key)


def test_a_group_takes_what_can_be_judged_together() -> None:
    """An append that contradicts itself is refused on the spot; one that repeats another's key waits for the next group."""
    group = Group()
    assert group.add([keyed("k", "1"), Draft(channel="b"), keyed("k", "1")])
    assert group.add([keyed("x", "1"), keyed("x", "2")])
    assert group.add([keyed("x", "3")])
    assert not group.add([Draft(channel="a"), keyed("k", "1")])
    assert len(group) == 3
    assert [draft.data for draft in group.drafts] == ["1", "null", "3"]
    assert group.arguments()["batch"] == [0, 0, 2]
    answer = Answer(EPOCH, 7, 0, [3, 8, None])
    one, two, three = group.outcomes(answer)
    assert one == Outcome((3, 8, 3))
    assert isinstance(two.conflict, IdempotencyConflict)
    assert isinstance(three.conflict, IdempotencyConflict)
    assert group.fresh(answer) == [Draft(channel="b")]
    assert group.fresh(Answer(EPOCH, None, 0, [3, 8, None])) == []


def test_drafts_become_columns() -> None:
    """What Postgres cannot hold is stored as JSON; what is common is stored as nothing."""
    drafts = [Draft(channel="a"), Draft(channel="b", type="x", data="a\x00b", text=True, permissions=frozenset("qp"))]
    assert columns([*drafts, Draft(channel="c", data="t", text=True)]) == {
        "channel": ["a", "b", "c"],
        "kind": ["j", "e", "t"],
        "type": [None, "x", None],
        "permissions": [None, "p q", None],
        "key": [None, None, None],
        "data": ["null", '"a\\u0000b"', "t"],
    }
    assert columns([])["data"] == []
