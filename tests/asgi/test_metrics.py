"""What Prometheus sees."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from headwater.asgi.limits import Limits
from headwater.asgi.metrics import HubCollector, registry_of
from headwater.brokers import open_broker
from headwater.errors import Unavailable
from headwater.hub import Hub
from headwater.testing.asgi import open_stream
from tests.support.site import Service, bearer, serving


async def samples(site: Service) -> dict[tuple[str, str], float]:
    """Every sample by its name and the value of its label."""
    text = (await site.get("/metrics")).body.decode()
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in parse(text)
        for sample in family.samples
    }


async def test_metrics_tell_what_happened() -> None:
    """Streams, events, refusals and latency, from the hub's own counters, without credentials."""
    async with serving(dev=False) as site, open_stream(site.app, "/events?channel=a", headers=bearer()) as stream:
        await stream.message()
        await site.hub.publish("a", data=1)
        await stream.message()
        await site.get("/events?channel=a")
        found = await samples(site)
    assert found["headwater_streams", "live"] == 1
    assert found["headwater_streams_opened_total", ""] == 1
    assert found["headwater_events_published_total", ""] == 1
    assert found["headwater_deliveries_total", ""] == 1
    assert found["headwater_rejections_total", "Not authenticated"] == 1
    assert found["headwater_delivery_latency_seconds_count", ""] == 1
    assert found["headwater_delivery_latency_seconds_bucket", "+Inf"] == 1
    assert found["process_cpu_seconds_total", ""] > 0


async def test_counters_exist_before_anything_happened() -> None:
    """So that the first time is a rise and not a new series."""
    async with serving() as site:
        found = await samples(site)
    assert found["headwater_streams_ended_total", "slow"] == 0
    assert found["headwater_resets_total", "expired"] == 0
    assert found["headwater_rejections_total", "Too large"] == 0
    assert found["headwater_limited_total", "connect_rate"] == 0


async def test_refusals_by_a_limit_are_counted_by_reason() -> None:
    """The reason tells which of the limits it was."""
    async with serving(limits=Limits(max_streams=1)) as site, open_stream(site.app, "/events?channel=a"):
        await site.get("/events?channel=a")
        assert (await samples(site))["headwater_limited_total", "hub_full"] == 1


async def test_troubles_of_the_broker_are_counted_by_kind() -> None:
    """Those that it can have at all, from the start."""
    async with serving() as site:
        site.hub.broker.counters = lambda: {"reconnects": 0, "lost": 3}  # type: ignore[attr-defined]
        found = await samples(site)
    assert found["headwater_broker_troubles_total", "reconnects"] == 0
    assert found["headwater_broker_troubles_total", "lost"] == 3


@pytest.mark.parametrize("number", [1, 30])
async def test_nobody_can_make_series(number: int) -> None:
    """However many channels, principals, paths and addresses there are, the number of series stays."""
    async with serving(dev=False) as site:
        before = len(await samples(site))
        for each in range(number):
            await site.post(f"/channels/c{each}?type=t{each}", headers=bearer(f"p{each}"), body=b"x")
            await site.get(f"/nothing/{each}", client=(f"192.0.2.{each}", 1))
            await site.get(f"/events?channel={each}&token=wrong{each}")
        assert len(await samples(site)) == before


async def test_openmetrics_is_for_those_who_ask_for_it() -> None:
    """Prometheus does; everybody else gets the text format. Both can be parsed."""
    async with serving() as site:
        plain = await site.get("/metrics", headers={"accept": "text/plain;version=rubbish"})
        assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1"
        modern = await site.get("/metrics", headers={"accept": accept})
        assert modern.headers["content-type"].startswith("application/openmetrics-text")
        names = {family.name for family in parse_openmetrics(modern.body.decode())}  # type: ignore[no-untyped-call]
        assert {"headwater_streams", "headwater_delivery_latency_seconds"} <= names


async def test_each_hub_has_its_own_numbers() -> None:
    """Two applications in one process do not meet in a global registry."""
    async with serving() as one, serving() as two:
        await one.hub.publish("a")
        assert (await samples(one))["headwater_events_published_total", ""] == 1
        assert (await samples(two))["headwater_events_published_total", ""] == 0


async def test_a_hub_that_does_not_run_has_no_metrics() -> None:
    """503, which a scraper shows as down."""
    async with serving() as site:
        pass
    assert (await site.get("/metrics")).status == 503
    hub = Hub(open_broker("memory://"))
    limiter: Any = None
    assert registry_of(hub, limiter)  # registering asks nothing
    with pytest.raises(Unavailable):
        list(HubCollector(hub, limiter).collect())
