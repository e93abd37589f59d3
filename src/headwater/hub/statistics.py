"""What a hub says about itself: frozen snapshots, for /stats, /metrics, the dashboard and tests."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from headwater.brokers.base import Broker, Counting
from headwater.hub.fanout import Fanout
from headwater.hub.handoff import Handoff
from headwater.hub.registry import Registry, View
from headwater.hub.streams import Streams
from headwater.stream import State, Stream


class StreamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One open stream.

    Attributes:
        id: unique within its hub.
        state: replaying, live or lagging.
        principal: whose; None for an anonymous one.
        address: the client's.
        channels: their names.
        permissions: what decides which events it sees.
        seconds: since it opened.
        events, bytes: written so far; bytes include framing.
        behind: positions between the log's newest and what it has been written.
    """

    id: int
    state: str
    principal: str | None
    address: str
    channels: tuple[str, ...]
    permissions: tuple[str, ...]
    seconds: float
    events: int
    bytes: int
    behind: int


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """One hub at one moment. Counters count since it started.

    Attributes:
        epoch: of the log.
        position: seq up to which live streams have been written to.
        draining: it takes no new streams.
        streams: open now, in all states.
        live, replaying, lagging: of these.
        channels: followed now.
        views: sets of streams that share their bytes.
        opened: streams opened.
        ended: streams ended, by reason.
        events: received on followed channels.
        published: events that this hub was asked to append and did, or found there under their idempotency key.
        deliveries: events times streams, live.
        replayed: events times streams, by catching up.
        bytes: written while live.
        flushes: times that pending events were written.
        lagged: times that a socket was full.
        resets: sent, by reason.
        rejections: requests refused, by error title.
        broker: troubles of the broker, by kind.
        ring_bytes: held by the rings of recent frames.
        latency_p50_ms, latency_p99_ms: acceptance by the broker to write, as upper bounds of histogram buckets.
    """

    epoch: str
    position: int
    draining: bool
    streams: int
    live: int
    replaying: int
    lagging: int
    channels: int
    views: int
    opened: int
    ended: dict[str, int]
    events: int
    published: int
    deliveries: int
    replayed: int
    bytes: int
    flushes: int
    lagged: int
    resets: dict[str, int]
    rejections: dict[str, int]
    broker: dict[str, int]
    ring_bytes: int
    latency_p50_ms: float
    latency_p99_ms: float


def stream_info(stream: Stream, *, position: int, now: float) -> StreamInfo:
    """A snapshot of one stream.

    Args:
        position: seq through which the log was received here.
        now: loop time.
    """
    view: View = stream.view
    is_live = stream.state is State.LIVE
    return StreamInfo(
        id=stream.id,
        state=stream.state,
        principal=stream.principal_id,
        address=stream.address,
        channels=view.names,
        permissions=tuple(sorted(view.audience.permissions)),
        seconds=now - stream.opened_at,
        events=stream.events_base + (view.events_out if is_live else 0),
        bytes=stream.bytes_base + (view.bytes_out if is_live else 0),
        behind=0 if is_live else max(0, position - stream.position),
    )


def statistics_of(
    registry: Registry,
    fanout: Fanout,
    streams: Streams,
    handoff: Handoff,
    *,
    draining: bool,
    opened: int,
    published: int,
    rejections: Mapping[str, int],
    broker: Broker,
) -> Statistics:
    """A snapshot of a hub, from its parts and its own counters (see `Statistics`)."""
    # Counters alone: this is asked once a second, whatever there are of streams and channels.
    open_now, live, lagging = len(streams.open), handoff.live, streams.lagging
    return Statistics(
        epoch=fanout.epoch,
        position=fanout.position,
        draining=draining,
        streams=open_now,
        live=live,
        replaying=open_now - live - lagging,
        lagging=lagging,
        channels=len(registry.channels),
        views=registry.view_count,
        opened=opened,
        ended={reason.value: count for reason, count in streams.ended.items()},
        events=fanout.events,
        published=published,
        deliveries=fanout.deliveries,
        replayed=handoff.replayed,
        bytes=fanout.bytes_out,
        flushes=fanout.flushes,
        lagged=streams.lagged,
        resets={reason.value: count for reason, count in streams.resets.items()},
        rejections=dict(rejections),
        broker=dict(broker.counters()) if isinstance(broker, Counting) else {},
        ring_bytes=registry.budget.used,
        latency_p50_ms=fanout.latency.quantile(0.5),
        latency_p99_ms=fanout.latency.quantile(0.99),
    )
