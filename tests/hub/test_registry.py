"""Channels and views: streams that get the same bytes share a view, and nothing is kept of those that are gone."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.hub.registry import Channel, Registry
from headwater.hub.ring import Audience
from tests.hub.made import frame, stream

NAMES = ("a", "b", "c")


@pytest.fixture
def registry() -> Registry:
    """A registry that follows the channels a, b and c from the beginning."""
    return following()


def following() -> Registry:
    """A registry that follows the channels a, b and c from the beginning."""
    made = Registry(ring_events=10, ring_bytes=1 << 20)
    for name in NAMES:
        made.add_channel(name, 0)
    return made


def channels(registry: Registry, names: str) -> list[Channel]:
    """Channels by the letters of a word."""
    return [registry.channels[name] for name in names]


# Channels


async def test_everyone_who_waits_hears_of_the_next_event(registry: Registry) -> None:
    """An arrival wakes whoever waits for it; who waits after that waits for the next one."""
    channel = registry.channels["a"]
    arrival = channel.arrival = asyncio.get_running_loop().create_future()
    channel.arrived()
    assert arrival.done()
    assert channel.arrival is None
    channel.arrived()


async def test_an_arrival_finds_the_waiter_gone(registry: Registry) -> None:
    """If the wait was cancelled before, the arrival disturbs nobody."""
    channel = registry.channels["a"]
    arrival = channel.arrival = asyncio.get_running_loop().create_future()
    arrival.cancel()
    channel.arrived()
    assert channel.arrival is None


def test_a_channel_begins_where_it_is_told(registry: Registry) -> None:
    """A new channel is complete from the position at which it was added, and nobody uses it yet."""
    channel = registry.add_channel("d", 7)
    assert registry.channels["d"] is channel
    assert (channel.name, channel.users, channel.ready, channel.arrival) == ("d", 0, None, None)
    assert (channel.ring.floor, len(channel.ring), channel.views) == (7, 0, {})


def test_the_rings_share_one_budget_and_one_bound() -> None:
    """All channels together hold as many bytes as the registry may, and each as many events."""
    registry = Registry(ring_events=2, ring_bytes=3 * frame(1).size)
    one, other = (registry.add_channel(name, 0) for name in "ab")
    for seq in (1, 2, 3):
        one.ring.append(frame(seq))
    assert len(one.ring) == 2
    for seq in (4, 5):
        other.ring.append(frame(seq))
    assert (len(one.ring), len(other.ring)) == (2, 1)
    assert registry.budget.used == registry.budget.most


def test_a_removed_channel_gives_back_its_bytes(registry: Registry) -> None:
    """What a channel held counts no more once it is forgotten, and the others stay."""
    channel, other = channels(registry, "ab")
    channel.ring.append(frame(1))
    other.ring.append(frame(2))
    registry.remove_channel(channel)
    assert set(registry.channels) == {"b", "c"}
    assert registry.budget.used == frame(2).size


# Views


@pytest.mark.parametrize("order", ["ab", "ba", "aab"])
def test_streams_of_one_kind_share_a_view(registry: Registry, order: str) -> None:
    """Streams with the same channels, in whatever order they asked for them, the same permissions and the same kind of
    writer have one view."""
    view = registry.join(stream(1), channels(registry, "ab"), frozenset({"p"}))
    assert registry.join(stream(2), channels(registry, order), frozenset({"p"})) is view
    assert view.members == 2
    assert view.names == ("a", "b")
    assert view.audience == Audience(frozenset({"p"}), labelled=True, chunked=False)
    assert list(registry.views) == [view]
    assert all(list(channel.views) == [view] for channel in view.channels)


@pytest.mark.parametrize(
    ("names", "permissions", "chunked"),
    [("a", {"p"}, False), ("bc", {"p"}, False), ("ab", {"p", "q"}, False), ("ab", set(), False), ("ab", {"p"}, True)],
)
def test_streams_that_differ_have_views_of_their_own(
    registry: Registry, names: str, permissions: set[str], chunked: bool
) -> None:
    """One other channel, permission or kind of writer is enough for another view."""
    view = registry.join(stream(1), channels(registry, "ab"), frozenset({"p"}))
    other = registry.join(stream(2, chunked=chunked), channels(registry, names), frozenset(permissions))
    assert other is not view
    assert other.audience == Audience(frozenset(permissions), labelled=len(names) > 1, chunked=chunked)
    assert set(registry.views) == {view, other}


def test_a_joined_stream_is_not_yet_live(registry: Registry) -> None:
    """Joining makes a stream a member; the fan-out writes to it only once it is in the live set."""
    one = stream()
    view = registry.join(one, channels(registry, "a"), frozenset())
    assert one.view is view
    assert (list(view.live), view.pending) == ([], [])
    assert (view.bytes_out, view.events_out) == (0, 0)


def test_a_view_goes_with_its_last_stream(registry: Registry) -> None:
    """A view stays while it has members; then neither the registry nor its channels know it, and the next stream of its
    kind gets a new one."""
    one, other = stream(1), stream(2)
    view = registry.join(one, channels(registry, "ab"), frozenset())
    registry.join(other, channels(registry, "ab"), frozenset())
    view.live.add(one)
    view.live.add(other)
    registry.leave(one)
    assert list(view.live) == [other]
    assert list(registry.views) == [view]
    registry.leave(other)
    assert list(registry.views) == []
    assert all(channel.views == {} for channel in registry.channels.values())
    assert registry.join(one, channels(registry, "ab"), frozenset()) is not view


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.sampled_from(["a", "b", "ab", "abc"]),
            st.sampled_from([frozenset(), frozenset({"p"})]),
        )
    )
)
def test_views_are_those_of_the_streams_there_are(moves: list[tuple[int, str, frozenset[str]]]) -> None:
    """However streams come, move and go, there is exactly one view for each kind of stream there is, with as many members;
    and each channel has those of its streams."""
    registry = following()
    streams = [stream(id) for id in range(5)]
    present: dict[int, tuple[str, frozenset[str]]] = {}
    for index, names, permissions in moves:
        if index in present:
            registry.leave(streams[index])
            del present[index]
        else:
            registry.join(streams[index], channels(registry, names), permissions)
            present[index] = (names, permissions)
        kinds = {kind: list(present.values()).count(kind) for kind in present.values()}
        found = {("".join(view.names), view.audience.permissions): view.members for view in registry.views}
        assert found == kinds
        for name, channel in registry.channels.items():
            assert set(channel.views) == {view for view in registry.views if name in view.names}


def test_a_view_is_complete_where_all_its_channels_are(registry: Registry) -> None:
    """A view's floor is its highest channel's."""
    for floor, name in enumerate(NAMES, 5):
        registry.channels[name].ring.start_at(floor)
    assert registry.join(stream(), channels(registry, "ab"), frozenset()).floor == 6


# What views remember


def test_streams_that_return_together_share_a_batch(registry: Registry) -> None:
    """What the rings hold after a position is collected once for several streams of a view; after another position, up to
    another one or once forgotten, it is collected anew."""
    view = registry.join(stream(1), channels(registry, "ab"), frozenset())
    registry.join(stream(2), channels(registry, "ab"), frozenset())
    for seq, name in enumerate("abab", 1):
        registry.channels[name].ring.append(frame(seq, channel=name))
    batch = view.recent(1, 4)
    assert [each.seq for each in batch.frames] == [2, 3, 4]
    assert view.recent(1, 4) is batch
    assert [each.seq for each in view.recent(2, 4).frames] == [3, 4]
    assert [each.seq for each in view.recent(2, 3).frames] == [3]
    again = view.recent(1, 4)
    view.forget()
    assert view.recent(1, 4) is not again


def test_nothing_is_remembered_for_one_stream(registry: Registry) -> None:
    """A batch that no second stream can want is not kept."""
    view = registry.join(stream(), channels(registry, "a"), frozenset())
    assert view.recent(0, 1) is not view.recent(0, 1)


def test_views_are_counted(registry: Registry) -> None:
    """As many as there are to walk through."""
    first = stream(1)
    registry.join(first, channels(registry, "a"), frozenset())
    registry.join(stream(2), channels(registry, "ab"), frozenset())
    assert registry.view_count == len(list(registry.views)) == 2
    registry.leave(first)
    assert registry.view_count == 1
