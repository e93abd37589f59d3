"""Where streams begin: every kind of start, on logs that are whole, pruned, replaced, ahead of this node and out of reach."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.brokers.base import Retention, Rule
from headwater.errors import BrokerUnavailable, InvalidCursor
from headwater.event import Draft, Event, Position, ResetReason
from headwater.hub.start import (
    MAX_AGO,
    MAX_LAST,
    PATIENCE,
    After,
    Ago,
    All,
    Beginning,
    Last,
    Locator,
    Now,
    Start,
    asks_for_what_is_left,
)
from tests.hub.made import Node
from tests.hub.scripted import Failing, Gate, ScriptedBroker
from tests.hub.support import LeapingLoop, settled

FOREVER = Retention(rules=(Rule(count=None, age=None),))
NOW = 10_000_000
"""Unix time in milliseconds at which everybody asks."""


class Log(ScriptedBroker):
    """A log whose events come one second after the other, and the node that asks.

    Attributes:
        events: all of them, in order.
    """

    def __init__(self) -> None:
        super().__init__(FOREVER)
        self.events: list[Event] = []

    def _add(self, draft: Draft, seq: int, now: int) -> Event:
        event = super()._add(draft, seq, seq * 1000)
        self.events.append(event)
        return event

    async def begin(self) -> None:
        """Let a node listen to the channels a and b."""
        self.node = Node(self)
        await self.node.open("a", "b")
        self.locator = Locator(self, self.node.fanout)

    async def locate(self, start: Start, *channels: str, permissions: tuple[str, ...] = ()) -> Beginning:
        """Where a start is, for streams of channel a by default."""
        return await self.locator.locate(start, channels or ("a",), frozenset(permissions), NOW)

    async def add(self, channel: str, count: int = 1, permissions: tuple[str, ...] = ()) -> None:
        """Append events."""
        await self.append([Draft(channel=channel, permissions=frozenset(permissions))] * count)

    def cursor(self, seq: int) -> str:
        """The cursor of a seq of this log."""
        return f"{self.end.epoch}-{seq}"


@pytest.fixture
async def log() -> Log:
    """A log that is empty, with a node that listens to it."""
    log = Log()
    await log.begin()
    return log


def in_a_loop(work: Callable[[], Awaitable[None]]) -> None:
    """Run something in a loop of its own, for tests that try many logs."""
    with asyncio.Runner(loop_factory=LeapingLoop) as runner:
        runner.run(_done(work))


async def _done(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def build(kinds: list[tuple[str, str]], forgotten: int) -> Log:
    """A log with events of these channels and permissions, of whose oldest in channel a some were removed."""
    log = Log()
    await log.begin()
    for channel, permission in kinds:
        await log.add(channel, permissions=(permission,) if permission else ())
    log.forget("a", forgotten)
    return log


def kept(log: Log, seq: int, channels: tuple[str, ...]) -> bool:
    """Whether nothing after a seq was removed."""
    return all(log.still_has(each) for each in log.events if each.position.seq > seq and each.channel in channels)


kinds = st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "p"])), max_size=15)
channel_sets = st.sampled_from([("a",), ("b",), ("a", "b")])
held = st.sampled_from([(), ("p",)])


# What may be asked for


@pytest.mark.parametrize("seconds", [-1, -0.001, MAX_AGO + 1, float("inf"), float("nan")])
def test_an_age_out_of_range_cannot_be_asked_for(seconds: float) -> None:
    """A stream begins between now and ten years ago."""
    with pytest.raises(InvalidCursor, match="seconds ago"):
        Ago(seconds)


@pytest.mark.parametrize("count", [-1, 0, MAX_LAST + 1])
def test_a_number_out_of_range_cannot_be_asked_for(count: int) -> None:
    """At least one event and at most a thousand can be asked for."""
    with pytest.raises(InvalidCursor, match=f"last={count}"):
        Last(count)


@pytest.mark.parametrize("start", [Ago(0), Ago(MAX_AGO), Last(1), Last(MAX_LAST)])
async def test_the_ends_of_the_ranges_can_be_asked_for(log: Log, start: Start) -> None:
    """The smallest and the largest values are legal, and have an answer."""
    assert await log.locate(start) == Beginning(0)


@pytest.mark.parametrize(
    ("start", "expected"), [(Now(), False), (After("e1-0"), False), (All(), True), (Ago(1), True), (Last(1), True)]
)
def test_only_who_knows_nothing_asks_for_what_is_left(start: Start, expected: bool) -> None:
    """To a client with a cursor a removed event is a gap, and to one that begins now nothing has been removed yet; everyone
    else is content with what the log still has."""
    assert asks_for_what_is_left(start) is expected


# Each kind


async def test_now_is_where_the_feed_is(log: Log) -> None:
    """Whoever asks for nothing old begins where this node's feed has come to, whatever the log already has."""
    await log.add("a", 3)
    await log.foreign(Draft(channel="a"))
    assert await log.locate(Now()) == Beginning(3)
    assert log.calls["head"] == log.calls["horizon"] == log.calls["read_back"] == 0


async def test_a_cursor_is_taken_at_its_word(log: Log) -> None:
    """A cursor that this node has reached is where the stream begins, also if retention has been there: the hand-off finds
    out. The store is not asked."""
    await log.add("a", 3)
    log.forget("a", 2)
    assert [await log.locate(After(log.cursor(seq))) for seq in range(4)] == [Beginning(seq) for seq in range(4)]
    assert log.calls["head"] == 0


@pytest.mark.parametrize("text", ["", "1", "nonsense", "e1-", "e1--1", "e1-01", "E1-1", f"e1-{2**63}"])
async def test_a_cursor_of_no_log_begins_now_with_a_reset(log: Log, text: str) -> None:
    """What was never a cursor is answered with a reset, never with an error: the client could do nothing about it."""
    await log.add("a", 2)
    assert await log.locate(After(text)) == Beginning(2, ResetReason.UNKNOWN_ID)


async def test_a_cursor_of_another_log_begins_now_with_a_reset(log: Log) -> None:
    """A cursor of an earlier life of the log means nothing in this one, even if its seq exists."""
    await log.add("a", 2)
    assert await log.locate(After(str(Position("other", 1)))) == Beginning(2, ResetReason.EPOCH_CHANGED)


async def test_a_cursor_ahead_of_the_log_begins_now_with_a_reset(log: Log) -> None:
    """A cursor of this epoch that the log has not reached comes from a log of which ours is an older copy."""
    await log.add("a", 2)
    assert await log.locate(After(log.cursor(3))) == Beginning(2, ResetReason.UNKNOWN_ID)


@given(kinds, st.integers(0, 5), channel_sets)
def test_everything_begins_where_nothing_is_missing(
    kinds: list[tuple[str, str]], forgotten: int, channels: tuple[str, ...]
) -> None:
    """`All` is the earliest position after which everything of the channels is still there."""

    async def check() -> None:
        log = await build(kinds, forgotten)
        expected = next(seq for seq in range(len(kinds) + 1) if kept(log, seq, channels))
        assert await log.locate(All(), *channels) == Beginning(expected)

    in_a_loop(check)


@given(kinds, st.integers(0, 5), channel_sets, st.integers(0, 20_000))
def test_an_age_begins_before_the_first_event_of_that_age(
    kinds: list[tuple[str, str]], forgotten: int, channels: tuple[str, ...], at: int
) -> None:
    """`Ago` gives every event of the channels that was accepted since then, as far as the log still has it, and none that
    was accepted before."""

    async def check() -> None:
        log = await build(kinds, forgotten)
        start = Ago((NOW - at) / 1000)
        seq, reset = await log.locate(start, *channels)
        wanted = [e for e in log.events if e.time >= NOW - int(start.seconds * 1000) and e.channel in channels]
        given = [e for e in log.events if e.position.seq > seq and e.channel in channels]
        assert reset is None
        assert kept(log, seq, channels)
        assert given == wanted[len(wanted) - len(given) :]
        assert all(not kept(log, e.position.seq - 1, channels) for e in wanted[: len(wanted) - len(given)])

    in_a_loop(check)


@given(kinds, st.integers(0, 5), channel_sets, held, st.integers(1, 8))
def test_the_last_are_the_last_that_may_be_seen(
    kinds: list[tuple[str, str]], forgotten: int, channels: tuple[str, ...], permissions: tuple[str, ...], count: int
) -> None:
    """`Last` gives the newest events that are visible, exactly as many as asked for or all that there are after the last
    one that was removed. Hidden ones do not count."""

    async def check() -> None:
        log = await build(kinds, forgotten)
        seq, reset = await log.locate(Last(count), *channels, permissions=permissions)
        complete = [each for each in log.events if kept(log, each.position.seq - 1, channels)]
        visible = [e for e in complete if e.channel in channels and e.permissions <= set(permissions)]
        given = [e for e in visible if e.position.seq > seq]
        assert reset is None
        assert kept(log, seq, channels)
        assert given == visible[-count:]

    in_a_loop(check)


async def test_the_last_are_found_behind_pages_of_hidden_ones(log: Log) -> None:
    """A visible event is found behind more hidden ones than fit into a page."""
    await log.add("a", 2)
    await log.add("a", 1100, permissions=("p",))
    assert await log.locate(Last(1)) == Beginning(1)
    assert log.calls["read_back"] == 3


async def test_a_full_first_page_at_the_beginning_of_the_log_is_the_last_one(log: Log) -> None:
    """A log that ends exactly with a page is not read once more."""
    await log.add("a", 500, permissions=("p",))
    assert await log.locate(Last(1)) == Beginning(0)
    assert log.calls["read_back"] == 1


async def test_the_last_do_not_reach_beyond_the_feed(log: Log) -> None:
    """What this node has not received yet is not among the last: it comes live."""
    await log.add("a", 3)
    await log.foreign(Draft(channel="a"))
    assert await log.locate(Last(1)) == Beginning(2)


# While we asked


async def test_a_beginning_ahead_of_this_node_waits_for_it(log: Log) -> None:
    """If another node has already sent its client what this one has not received, the stream begins once it has."""
    await log.foreign(Draft(channel="a"), Draft(channel="a"))
    asking = asyncio.ensure_future(log.locate(After(log.cursor(2))))
    await settled()
    assert not asking.done()
    log.deliver(1)
    await settled()
    assert not asking.done()
    log.deliver()
    assert await asking == Beginning(2)


async def test_a_node_that_stays_behind_says_so(log: Log) -> None:
    """If the feed does not come to the beginning in time, the client is told to try again."""
    await log.foreign(Draft(channel="a"))
    began = asyncio.get_running_loop().time()
    with pytest.raises(BrokerUnavailable, match="has not yet received") as caught:
        await log.locate(After(log.cursor(1)))
    assert caught.value.retry_after == 1
    assert asyncio.get_running_loop().time() - began == pytest.approx(PATIENCE)


async def test_an_epoch_that_another_node_was_quicker_to_hear_of_is_waited_for(log: Log) -> None:
    """A client that comes from there with a cursor of the new log is not reset to the old one, and then again."""
    await log.add("a", 3)
    log.wipe(secret=True)
    await log.foreign(Draft(channel="a"), Draft(channel="a"))
    asking = asyncio.ensure_future(log.locate(After(log.cursor(2))))
    await settled()
    assert not asking.done()
    log.deliver(1)
    await settled()
    assert not asking.done()
    log.deliver()
    assert await asking == Beginning(2)


async def test_an_epoch_that_this_node_does_not_hear_of_is_no_reset(log: Log) -> None:
    """The client is told to try again, and keeps its cursor."""
    log.wipe(secret=True)
    with pytest.raises(BrokerUnavailable, match="has not yet received"):
        await log.locate(After(log.cursor(0)))


async def test_the_head_of_another_epoch_says_nothing_of_a_cursor(log: Log) -> None:
    """A cursor of the old log, ahead of this node, is not unknown because the new log is shorter: its epoch is over."""
    cursor = log.cursor(7)
    log.wipe(secret=True)
    asking = asyncio.ensure_future(log.locate(After(cursor)))
    await settled()
    assert not asking.done()
    log.deliver()
    assert await asking == Beginning(0, ResetReason.EPOCH_CHANGED)


@pytest.mark.parametrize(
    ("start", "call"), [(All(), "horizon done"), (Ago(1), "position_at done"), (Last(1), "read_back done")]
)
async def test_a_log_that_begins_anew_meanwhile_resets(log: Log, start: Start, call: str) -> None:
    """What was found in the old log is no place in the new one: the stream begins now, with a reset."""
    await log.add("a", 3)
    gate = log.script = Gate(call)
    asking = asyncio.ensure_future(log.locate(start))
    await gate.entered.wait()
    log.wipe()
    await log.add("a", 4)
    gate.open()
    assert await asking == Beginning(4, ResetReason.EPOCH_CHANGED)


async def test_a_new_log_that_is_shorter_is_not_waited_for(log: Log) -> None:
    """What was found lies ahead of the new log's head; waiting for it would end in an error that is none."""
    await log.add("a", 3)
    gate = log.script = Gate("read_back done")
    asking = asyncio.ensure_future(log.locate(Last(1)))
    await gate.entered.wait()
    log.wipe()
    gate.open()
    assert await asking == Beginning(0, ResetReason.EPOCH_CHANGED)


async def test_a_log_that_begins_anew_while_this_node_is_behind_resets(log: Log) -> None:
    """The wait for the feed ends with the log that it was for."""
    await log.foreign(Draft(channel="a"))
    asking = asyncio.ensure_future(log.locate(After(log.cursor(1))))
    await settled()
    log.wipe()
    assert await asking == Beginning(0, ResetReason.EPOCH_CHANGED)


@pytest.mark.parametrize(
    ("start", "call"),
    [(All(), "horizon"), (Ago(1), "position_at"), (Ago(1), "horizon"), (Last(1), "read_back"), (Last(1), "horizon")],
)
async def test_a_store_that_cannot_say_is_not_guessed_for(log: Log, start: Start, call: str) -> None:
    """If the store is away there is no beginning, and the error says so."""
    await log.add("a", 3)
    log.script = Failing(call)
    with pytest.raises(BrokerUnavailable, match="the store is away"):
        await log.locate(start)


@pytest.mark.parametrize("epoch", ["", "other"])
async def test_a_store_that_cannot_be_asked_for_its_head_is_not_guessed_for(log: Log, epoch: str) -> None:
    """Whether a cursor ahead of this node, or of an epoch that it does not know, is one at all cannot be said without the
    store."""
    log.script = Failing("head")
    with pytest.raises(BrokerUnavailable, match="the store is away"):
        await log.locate(After(str(Position(epoch or log.end.epoch, 1))))


@pytest.mark.parametrize("kind", [Now, All, After, Ago, Last])
async def test_no_stream_begins_ahead_of_its_node(log: Log, kind: type[Start]) -> None:
    """Whatever is asked for while the log is ahead of the feed, the beginning is at or before where the feed is."""
    await log.add("a", 5)
    await log.foreign(Draft(channel="a"))
    starts: list[Start] = [Now(), All(), After(log.cursor(6)), Ago(60), Last(1)]
    start = next(each for each in starts if isinstance(each, kind))
    asking = asyncio.ensure_future(log.locate(start))
    await settled()
    log.deliver()
    assert (await asking).seq <= log.node.fanout.received
