"""What the feed gets from messages and surveys, step by step; the searches for what nobody thought of are next door."""

from __future__ import annotations

from headwater.brokers.redis.delivery import Delivery, Entry, Need, Survey
from headwater.event import Draft, Event, Position
from headwater.testing.contract import Recorder


def event(seq: int, previous: int = 0, channel: str = "a", epoch: str = "e", data: str = "1") -> Entry:
    """A message."""
    return Entry(Event.of(Draft(channel=channel, data=data), Position(epoch, seq), 0), previous)


def surveyed(head: int, epoch: str = "e", **last: int) -> Survey:
    """What the log says."""
    return Survey(epoch, 0, head, last)


def following(**bounds: int) -> tuple[Delivery, Recorder]:
    """A live delivery at position 10 that follows a, whose newest event is 5, and b, which has none."""
    feed = Recorder()
    delivery = Delivery(feed, **bounds)
    delivery.begin(Position("e", 10))
    delivery.survey(surveyed(10))
    delivery.expect("ab")
    assert delivery.join(surveyed(10, a=5))
    return delivery, feed


def test_messages_that_come_together_are_one_batch() -> None:
    """The feed is called once for each flush, and not at all for nothing."""
    delivery, feed = following()
    for entry in (event(11, 5), event(12, 0, "b"), event(13, 11)):
        delivery.arrived(entry)
    assert feed.upto is None
    delivery.flush()
    delivery.flush()
    assert feed.seqs() == [11, 12, 13]
    assert delivery.at == feed.upto == Position("e", 13)


def test_what_was_delivered_is_not_delivered_again() -> None:
    """A message at or before the newest of its channel is ignored; so is one of a channel that is not followed."""
    delivery, feed = following()
    for entry in (event(11, 5), event(11, 5), event(4, 3), event(12, 0, "z")):
        delivery.arrived(entry)
    delivery.flush()
    assert feed.seqs() == [11]
    assert delivery.is_live
    assert delivery.gaps == 0


def test_a_message_from_the_past_is_never_delivered_out_of_order() -> None:
    """Redis does not send one. If it did, the log would be asked, and the streams be told."""
    delivery, feed = following()
    delivery.arrived(event(9, 0, "b"))
    assert not delivery.is_live
    delivery.survey(surveyed(12, a=5, b=9))
    assert delivery.need == Need(("b",), 10, 12)
    delivery.entries([], Position("e", 12))
    assert delivery.is_live
    assert (feed.seqs(), feed.restarts, delivery.lost) == ([], [Position("e", 12)], 1)


def test_a_message_of_another_epoch_stops_the_feed_until_the_log_was_asked() -> None:
    """It waits, and is given under its new epoch."""
    delivery, feed = following()
    delivery.arrived(event(11, 5))
    delivery.arrived(event(2, 1, epoch="f"))
    delivery.arrived(event(12, 11))
    delivery.flush()
    assert feed.seqs() == [11]
    delivery.marked()
    delivery.arrived(event(4, 2, epoch="f"))
    delivery.survey(surveyed(3, "f", a=2))
    assert delivery.need == Need(("a",), 0, 3)
    delivery.entries([event(2, 1, epoch="f")], Position("f", 3))
    assert [e.position for e in feed.events[1:]] == [Position("f", 2), Position("f", 4)]
    assert feed.restarts == [Position("f", 0)]


def test_channels_cannot_join_a_log_that_has_changed() -> None:
    """The feed must start over first."""
    delivery, _ = following()
    delivery.expect("c")
    assert not delivery.join(surveyed(3, "f"))
    assert not delivery.is_live
    assert "c" not in delivery.followed


def test_an_older_copy_in_the_midst_of_a_repair_is_looked_at_anew() -> None:
    """A page of another epoch, or one that leads nowhere, is not used; another survey is needed."""
    for end in (Position("f", 12), Position("e", 10)):
        delivery, feed = following()
        delivery.doubt()
        delivery.survey(surveyed(12, a=11))
        assert delivery.need == Need(("a",), 10, 12)
        delivery.entries([event(11, 5)], end)
        assert delivery.need is None
        assert not delivery.is_live
        assert feed.events == []


def test_a_page_that_comes_after_the_connection_broke_is_not_used() -> None:
    """Nor is the news that it could not be read."""
    delivery, feed = following()
    delivery.doubt()
    delivery.survey(surveyed(12, a=11))
    delivery.disconnected()
    delivery.entries([event(11, 5)], Position("e", 12))
    delivery.expired()
    assert not feed.events
    assert not feed.restarts
    assert not delivery.is_live


def test_a_channel_that_is_unfollowed_during_a_repair_gets_nothing_more() -> None:
    """Not from the page under way, and the next one does not ask for it."""
    delivery, feed = following()
    delivery.doubt()
    delivery.survey(surveyed(13, a=11, b=12))
    delivery.unfollow(["a"])
    assert delivery.need == Need(("b",), 10, 13)
    delivery.entries([event(11, 5), event(12, 0, "b")], Position("e", 13))
    assert feed.seqs() == [12]
    assert delivery.is_live


def test_a_full_buffer_is_emptied_and_read_from_the_log() -> None:
    """By number of messages, or by their size; another survey is needed before the feed is live."""
    for bounds in ({"max_buffered": 2}, {"max_buffered_size": 20}):
        delivery, feed = following(**bounds)
        delivery.doubt()
        entries = [event(seq, seq - 1 if seq > 11 else 5, data=f'"{"x" * 8}"') for seq in (11, 12, 13, 14)]
        for entry in entries:
            delivery.arrived(entry)
        assert delivery.overflows == 1
        delivery.survey(surveyed(10, a=5))
        assert not delivery.is_live
        assert delivery.need is None
        delivery.marked()
        delivery.survey(surveyed(14, a=14))
        delivery.entries(entries, Position("e", 14))
        assert feed.seqs() == [11, 12, 13, 14]
        assert delivery.is_live


def test_a_survey_in_parts_is_taken_as_of_the_first_one() -> None:
    """What a later part says of its channel is brought back to the first one's head by the message that waits."""
    delivery, feed = following()
    delivery.doubt()
    for entry in (event(11, 5), event(12, 11), event(14, 0, "b", epoch="f"), event(13, 12), event(14, 0, "b")):
        delivery.arrived(entry)
    delivery.survey(surveyed(12, a=13, b=14))
    assert delivery.need == Need(("a",), 10, 12)
    delivery.entries([event(11, 5), event(12, 11)], Position("e", 12))
    assert not delivery.is_live  # there was a message of another epoch
    delivery.marked()
    delivery.survey(surveyed(14, a=13, b=14))
    delivery.entries([event(13, 12), event(14, 0, "b")], Position("e", 14))
    assert feed.seqs() == [11, 12, 13, 14]
    assert (delivery.is_live, delivery.gaps, delivery.lost) == (True, 0, 0)


def test_a_survey_in_parts_whose_messages_have_got_lost_is_of_no_use() -> None:
    """Nobody knows then where the channel was at the survey's head."""
    for waiting in ([], [event(14, 13)], [event(11, 5), event(12, 11)]):
        delivery, feed = following()
        delivery.doubt()
        for entry in waiting:
            delivery.arrived(entry)
        delivery.survey(surveyed(12, a=14))
        assert delivery.need is None
        assert not delivery.is_live
        assert delivery.at == Position("e", 10)
        assert feed.seqs() == []
