"""`/metrics`: the hub's numbers for Prometheus.

Read from the hub's own counters when someone asks, so counting costs nothing twice. Every label's values are a fixed
list: reasons, states, titles. Channels, principals and addresses are never labels, because a client could make as many of
them as it likes. docs/reference/metrics.md has each name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector
from starlette.responses import Response

from headwater.asgi.limits import Limiter, Refusal
from headwater.asgi.request import header_of
from headwater.asgi.site import Call
from headwater.errors import HeadwaterError
from headwater.event import ResetReason
from headwater.hub import Hub, Statistics
from headwater.hub.fanout import Latency
from headwater.stream import CloseReason, State


def registry_of(hub: Hub, limiter: Limiter) -> CollectorRegistry:
    """A registry of this hub's own, with the process's CPU and memory."""
    registry = CollectorRegistry(auto_describe=False)  # describing would ask a hub that does not run yet
    registry.register(HubCollector(hub, limiter))
    ProcessCollector(registry=registry)
    return registry


async def metrics(call: Call) -> Response:
    """Everything, in the text format or, for those who ask for it, OpenMetrics."""
    if "application/openmetrics-text" in (header_of(call.scope, b"accept") or ""):
        body: bytes = openmetrics.generate_latest(call.site.registry)  # type: ignore[no-untyped-call]
        media_type = openmetrics.CONTENT_TYPE_LATEST
    else:
        body, media_type = exposition.generate_latest(call.site.registry), exposition.CONTENT_TYPE_PLAIN_0_0_4
    return Response(body, headers={"content-type": media_type, "cache-control": "no-store"})


class HubCollector(Collector):
    """The metrics of one hub."""

    def __init__(self, hub: Hub, limiter: Limiter) -> None:
        self._hub = hub
        self._limiter = limiter

    def collect(self) -> Iterator[Metric]:
        """All of them, as of now.

        Raises:
            Unavailable: the hub does not run.
        """
        statistics = self._hub.statistics()
        yield from _state(statistics)
        yield from _streams(statistics)
        yield from _events(statistics)
        yield from _refusals(statistics, self._limiter)
        yield _by("headwater_broker_troubles", "Troubles of the broker.", "kind", (), statistics.broker)
        yield _latency(self._hub.latency)


def _state(statistics: Statistics) -> Iterator[Metric]:
    info = GaugeMetricFamily("headwater_info", "The version that runs; always 1.", labels=["version"])
    info.add_metric([version("headwater")], 1)
    yield info
    yield GaugeMetricFamily("headwater_draining", "1 while the hub shuts down.", statistics.draining)
    yield GaugeMetricFamily(
        "headwater_log_position", "Position that live streams have been written to.", statistics.position
    )
    yield GaugeMetricFamily("headwater_channels", "Channels followed.", statistics.channels)
    yield GaugeMetricFamily("headwater_views", "Sets of streams that share their bytes.", statistics.views)
    yield GaugeMetricFamily("headwater_ring_bytes", "Memory of recent frames kept encoded.", statistics.ring_bytes)


def _streams(statistics: Statistics) -> Iterator[Metric]:
    states = {state.value: getattr(statistics, state.value) for state in State if state is not State.CLOSED}
    family = GaugeMetricFamily("headwater_streams", "Open streams.", labels=["state"])
    for state, count in states.items():
        family.add_metric([state], count)
    yield family
    yield CounterMetricFamily("headwater_streams_opened", "Streams opened.", statistics.opened)
    yield _by("headwater_streams_ended", "Streams ended.", "reason", CloseReason, statistics.ended)
    yield CounterMetricFamily("headwater_streams_lagged", "Times that a stream's socket was full.", statistics.lagged)
    yield _by("headwater_resets", "Reset events sent.", "reason", ResetReason, statistics.resets)


def _events(statistics: Statistics) -> Iterator[Metric]:
    yield CounterMetricFamily("headwater_events_published", "Events appended through this hub.", statistics.published)
    yield CounterMetricFamily("headwater_events_received", "Events received on followed channels.", statistics.events)
    yield CounterMetricFamily("headwater_deliveries", "Events times streams, live.", statistics.deliveries)
    yield CounterMetricFamily("headwater_replayed", "Events times streams, by catching up.", statistics.replayed)
    yield CounterMetricFamily("headwater_sent_bytes", "Bytes written to live streams.", statistics.bytes)
    yield CounterMetricFamily("headwater_flushes", "Times that pending events were written.", statistics.flushes)


def _refusals(statistics: Statistics, limiter: Limiter) -> Iterator[Metric]:
    yield _by("headwater_rejections", "Requests refused.", "title", _titles(HeadwaterError), statistics.rejections)
    refused = {str(reason): count for reason, count in limiter.refused.items()}
    yield _by("headwater_limited", "Requests over a limit.", "reason", Refusal, refused)


def _by(name: str, text: str, label: str, values: Iterable[str], counts: Mapping[str, int]) -> CounterMetricFamily:
    """A counter with one label: those of `values` that have not happened are 0, so that a first time shows as a rise."""
    family = CounterMetricFamily(name, text, labels=[label])
    for value in dict.fromkeys([*map(str, values), *map(str, counts)]):
        family.add_metric([value], counts.get(value, 0))
    return family


def _titles(error: type[HeadwaterError]) -> Iterator[str]:
    """The titles of an error and of all below it that a request may be refused with."""
    yield error.title
    for below in error.__subclasses__():
        if below.status != 500:
            yield from _titles(below)


def _latency(latency: Latency) -> HistogramMetricFamily:
    bounds = [*(f"{bound / 1000:g}" for bound in latency.BOUNDS_MS), "+Inf"]
    return HistogramMetricFamily(
        "headwater_delivery_latency_seconds",
        "From the log's acceptance of an event to its write, for the first event of each write.",
        buckets=list(zip(bounds, accumulate(latency.counts), strict=True)),
        sum_value=latency.sum_ms / 1000,
    )
