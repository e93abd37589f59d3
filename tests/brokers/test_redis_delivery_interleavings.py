"""What the feed gets, however messages, losses, repairs and channels are interleaved: the state machine without a Redis."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Collection, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.brokers.redis.delivery import Delivery, Entry, Need, Survey
from headwater.event import Draft, Event, Position
from headwater.testing.contract import Recorder

CHANNELS = "abcd"
MARKER = "marker"


class Feed(Recorder):
    """A feed that also remembers what a restart said was lost, and where it was before."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[Position, Position, bool]] = []

    def restart(self, head: Position, lost: bool = False) -> None:
        """See `Recorder.restart`."""
        assert self.upto is not None
        if head.epoch == self.upto.epoch and head < self.upto:
            self.complaints.append(f"a restart went back from {self.upto} to {head}")
        self.said.append((self.upto, head, lost))
        super().restart(head, lost)


class Log:
    """One life of a log: all that ever was in it, and what retention has left."""

    def __init__(self, epoch: str, born: int = 0) -> None:
        self.epoch = epoch
        self.born = born
        self.head = born
        self.entries: list[Entry] = []
        self.gone: set[int] = set()
        self.forgotten: set[str] = set()  # empty, and folded into the floor
        self.floor = 0

    def last(self, channel: str) -> int:
        """As the script tells it to who appends: what the log does not know is the floor."""
        if channel in self.forgotten:
            return self.floor
        return max((e.event.position.seq for e in self.entries if e.event.channel == channel), default=0)

    def append(self, channel: str) -> Entry:
        """The next event."""
        previous = self.last(channel)
        self.forgotten.discard(channel)
        self.head += 1
        event = Event.of(Draft(channel=channel, data="1"), Position(self.epoch, self.head), 0)
        self.entries.append(Entry(event, previous))
        return self.entries[-1]

    def prune(self, channel: str, keep: int) -> None:
        """Retention leaves the newest of a channel."""
        seqs = [e.event.position.seq for e in self.entries if e.event.channel == channel]
        self.gone.update(seqs[: len(seqs) - keep])

    def fold(self, channel: str) -> None:
        """An empty channel is forgotten."""
        seqs = {e.event.position.seq for e in self.entries if e.event.channel == channel}
        if seqs and seqs <= self.gone and channel not in self.forgotten:
            self.floor = max(self.floor, *seqs)
            self.forgotten.add(channel)

    def survey(self, channels: Sequence[str]) -> Survey:
        """What the script would answer."""
        known = {c: self.last(c) for c in channels if c not in self.forgotten and self.last(c)}
        return Survey(self.epoch, self.born, self.head, known, self.floor)

    def mark(self, channel: str) -> int:
        """The newest seq that may be gone."""
        kept = [e for e in self.entries if e.event.channel == channel and e.event.position.seq not in self.gone]
        return kept[0].previous if kept else self.last(channel)

    def page(self, need: Need, limit: int) -> tuple[list[Entry], Position] | None:
        """What a read would return; None if something is gone."""
        if any(self.mark(channel) > need.after for channel in need.channels):
            return None
        seqs = range(need.after + 1, need.until + 1)
        found = [
            e
            for e in self.entries
            if e.event.position.seq in seqs
            and e.event.channel in need.channels
            and e.event.position.seq not in self.gone
        ][:limit]
        end = found[-1].event.position.seq if len(found) == limit else min(need.until, self.head)
        return found, Position(self.epoch, end)


class World:
    """A log, a connection that carries messages and loses them, and a node as `Subscriber` drives it."""

    def __init__(self, *, max_buffered: int = 5) -> None:
        self.log = Log("e0")
        self.logs = {"e0": self.log}
        self.feed = Feed()
        self.feed.upto = Position("e0", 0)
        self.delivery = Delivery(self.feed, max_buffered=max_buffered)
        self.delivery.begin(Position("e0", 0))
        self.wire: deque[Entry | str] = deque()
        self.subscribed: set[str] = set()
        self.wanted: set[str] = set()
        self.asked: tuple[Survey, bool] | None = None  # the answer to a survey under way, and whether it is for a join
        self.is_marked = False
        self.followed: dict[str, Position] = {}  # where each began
        self.said = 0
        self.vanished: set[Position] = set()
        self.veiled: set[Position] = set()  # vanished, and then the connection broke before anybody noticed
        self.problems: list[str] = []

    # -- what happens to the world

    def append(self, channels: str) -> None:
        """Somebody publishes."""
        for channel in channels:
            entry = self.log.append(channel)
            if channel in self.subscribed:
                self.wire.append(entry)

    def vanish(self, index: int) -> None:
        """A message is lost although the connection is there."""
        messages = [item for item in self.wire if isinstance(item, Entry)]
        if messages:
            entry = messages[index % len(messages)]
            self.wire.remove(entry)
            self.vanished.add(entry.event.position)

    def cut(self) -> None:
        """The connection breaks, with what is on its way; the next one subscribes to everything."""
        self.wire.clear()
        self.asked = None
        self.veiled = set(self.vanished)
        self.delivery.disconnected()
        self.subscribed = set(self.wanted)

    def replace(self, born: int) -> None:
        """The log begins a new epoch: empty, or (`born`) an older copy with its events under a new name."""
        self.log = Log(f"e{len(self.logs)}", min(born, self.log.head))
        self.logs[self.log.epoch] = self.log

    def prune(self, channel: str, keep: int) -> None:
        """Retention; what is empty may be forgotten."""
        self.log.prune(channel, keep)
        self.log.fold(channel)

    # -- what the node does

    def take(self, count: int) -> None:
        """Read from the socket."""
        for _ in range(min(count, len(self.wire))):
            item = self.wire.popleft()
            if isinstance(item, Entry):
                self.delivery.arrived(item)
            else:
                self.delivery.marked()
                self.is_marked = True
        self.delivery.flush()
        self.check()

    def ask(self) -> None:
        """A survey begins; one at a time."""
        if self.asked is not None:
            return
        joining = sorted(self.wanted - self.delivery.followed.keys())
        joins = self.delivery.is_live and bool(joining)
        if joins:
            self.subscribed |= self.wanted
            self.delivery.expect(joining)
        self.asked = (self.log.survey(joining if joins else sorted(self.delivery.followed)), joins)
        self.is_marked = False
        self.wire.append(MARKER)

    def answer(self) -> None:
        """The survey's answer is here, and is used if its marker is."""
        if self.asked is None or not self.is_marked:
            return
        (survey, joins), self.asked = self.asked, None
        if not joins:
            self.delivery.survey(survey)
        elif self.delivery.join(survey):
            for channel in self.delivery.followed.keys() - self.followed.keys():
                self.followed[channel] = self.delivery.at
        self.check()

    def read(self, limit: int) -> None:
        """One page of what is needed."""
        if (need := self.delivery.need) is not None:
            page = self.log.page(need, limit)
            if page is None:
                self.delivery.expired()
            else:
                self.delivery.entries(*page)
        self.check()

    def follow(self, channel: str) -> None:
        """As the hub asks for it."""
        self.wanted.add(channel)

    def unfollow(self, channel: str) -> None:
        """What came in between must be in the feed."""
        self.delivery.unfollow([channel])
        self.check()
        self.wanted.discard(channel)
        self.subscribed.discard(channel)
        if (start := self.followed.pop(channel, None)) is not None:
            self.judge(channel, start, self.delivery.at, self.vanished)

    def settle(self) -> None:
        """Whatever is under way ends, with no more trouble."""
        for _ in range(100):
            self.ask()
            self.take(1000)
            self.answer()
            while self.delivery.need is not None:
                self.read(2)
            if self.delivery.is_live and self.wanted == self.delivery.followed.keys() and self.asked is None:
                return
        raise AssertionError("the node did not come to rest")

    # -- what must be true

    def check(self) -> None:
        """What a restart says must be so: everything before it was given, unless it says otherwise."""
        for before, head, lost in self.feed.said[self.said :]:
            if lost and not self.vanished:
                self.problems.append("said to be lost, and nothing vanished")
            for channel, start in self.followed.items():
                # A new epoch resets every stream, so what vanished in the old one is said to be lost. The one thing that
                # is not: a message vanished, the connection broke at once, and retention passed before it was back.
                if not lost:
                    self.judge(channel, start, before, self.veiled if before.epoch == head.epoch else self.vanished)
                self.followed[channel] = head
            self.vanished = set() if lost else self.vanished
        self.said = len(self.feed.said)

    def judge(self, channel: str, start: Position, end: Position, excused: Collection[Position] = ()) -> None:
        """The feed got what the log had between the two, but for what is `excused`."""
        log = self.logs[end.epoch]
        after = start.seq if start.epoch == end.epoch else log.born
        due = [e.event.position for e in log.entries if e.event.channel == channel and after < e.event.position.seq]
        due = [position for position in due if position <= end]
        got = [e.position for e in self.feed.events if e.channel == channel and e.position.epoch == end.epoch]
        got = [position for position in got if after < position.seq <= end.seq]
        missing = [position for position in due if position not in got]
        if [position for position in due if position in got] != got:
            self.problems.append(f"{channel}: {got} is not within {due}")
        if any(position not in excused for position in missing):
            self.problems.append(f"{channel}: {missing} are missing ({self.vanished} vanished)")

    def finish(self) -> None:
        """In the end nothing is missing at all."""
        for _ in range(3):  # what vanished shows in the first, is looked for in the second
            self.settle()
            self.asked = None
        assert self.delivery.at == Position(self.log.epoch, self.log.head)
        for channel, start in self.followed.items():
            self.judge(channel, start, self.delivery.at)
        assert not self.problems, self.problems
        assert not self.feed.complaints, self.feed.complaints


channels = st.sampled_from(CHANNELS)
numbers = st.integers(0, 5)
steps = st.one_of(
    st.tuples(st.just("append"), st.text(CHANNELS, min_size=1, max_size=8)),
    st.tuples(st.just("take"), st.integers(1, 6)),
    st.tuples(st.just("read"), st.integers(1, 3)),
    st.tuples(st.sampled_from(["follow", "unfollow"]), channels),
    st.tuples(st.sampled_from(["ask", "answer", "settle"])),
    st.tuples(st.just("cut")),
    st.tuples(st.just("vanish"), numbers),
    st.tuples(st.just("prune"), channels, st.integers(0, 2)),
    st.tuples(st.just("replace"), numbers),
)


@settings(max_examples=400)
@given(st.lists(steps, max_size=80))
def test_the_feed_is_the_log_whatever_happens(history: list[tuple[object, ...]]) -> None:
    """However messages, losses, broken connections, markers, follows, repairs, retention and new epochs are interleaved:
    the feed gets each event of each followed channel once and in order, or a restart says that it did not."""
    world = World()
    for name, *details in history:
        getattr(world, str(name))(*details)
    world.finish()


def test_the_feed_is_the_log_in_long_histories_too() -> None:
    """The same with dice, for more steps than a shrinking search takes."""
    actions = ["append"] * 6 + ["take"] * 5 + ["read"] * 3 + ["ask", "answer"] * 4
    actions += ["follow", "unfollow", "cut", "vanish", "prune", "settle"]
    counts = {"lost": 0, "gaps": 0, "repairs": 0, "overflows": 0}
    for seed in range(150):
        dice = random.Random(seed)
        world = World(max_buffered=dice.choice([1, 4, 50]))
        for _ in range(250):
            name = dice.choice([*actions, *(["replace"] if dice.random() < 0.2 else [])])
            match name:
                case "append":
                    world.append("".join(dice.choices(CHANNELS, k=dice.randrange(1, 5))))
                case "follow" | "unfollow":
                    getattr(world, name)(dice.choice(CHANNELS))
                case "prune":
                    world.prune(dice.choice(CHANNELS), dice.randrange(3))
                case "take" | "read" | "vanish" | "replace":
                    getattr(world, name)(dice.randrange(1, 6))
                case _:
                    getattr(world, name)()
        world.finish()
        for what in counts:
            counts[what] += getattr(world.delivery, what)
    assert min(counts.values()) > 20, counts  # the dice did get there
