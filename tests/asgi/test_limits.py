"""Limits: what is refused and for how long, what is counted, and that no caller can make the counts grow for ever."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.asgi.limits import Bucket, Buckets, Limiter, Limits, Refusal, address_group, exceeds
from headwater.errors import ConfigurationError, HubFull, TooManyRequests


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


OFF = Limits(**{field.name: 0 for field in msgspec.structs.fields(Limits)})
"""No limit at all."""


def limiter(clock: Clock | None = None, *, max_buckets: int = 1000, **limits: Any) -> Limiter:
    """A limiter with nothing but the given limits."""
    return Limiter(msgspec.structs.replace(OFF, **limits), clock=clock or Clock(), max_buckets=max_buckets)


@pytest.mark.parametrize("field", [field.name for field in msgspec.structs.fields(Limits)])
@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf, "5", None, True])
def test_impossible_limits_are_refused(field: str, value: Any) -> None:
    """Negative, infinite and non-numeric limits are configuration errors that name the limit."""
    with pytest.raises(ConfigurationError, match=field):
        Limits(**{field: value})


def test_counts_are_whole_and_rates_need_not_be() -> None:
    """Half a stream is refused; half an event per second is a rate."""
    assert Limits(publish_rate=0.5).publish_rate == 0.5
    with pytest.raises(ConfigurationError, match="whole number"):
        Limits(max_streams=1.5)  # type: ignore[arg-type]


def test_development_lifts_what_holds_single_callers_back() -> None:
    """In development the limits per principal, per address and per second are off, and the others stay."""
    limits = Limits(max_streams=7).for_development()
    assert (limits.max_streams_per_principal, limits.max_streams_per_address) == (0, 0)
    assert (limits.connect_rate, limits.publish_rate) == (0, 0)
    assert limits.max_streams == 7


def test_zero_is_no_limit() -> None:
    """A value is over a limit if it is greater, and never over 0."""
    assert [exceeds(value, 5) for value in (4, 5, 6)] == [False, False, True]
    assert not exceeds(10**12, 0)


def test_everything_off_admits_everyone_and_remembers_nobody() -> None:
    """With every limit at 0 nothing is refused and no name is kept."""
    everything = limiter()
    for number in range(100):
        everything.connect(f"10.0.0.{number}", "user")
        everything.publish("user", 1000)
    assert everything.streams == 100
    assert not any(everything.refused.values())
    assert len(everything._connects) == len(everything._publishes) == 0


def test_a_bucket_gives_what_it_holds_and_then_its_rate() -> None:
    """A full bucket gives its capacity at once, then one token per 1/rate seconds, and says how long to wait."""
    bucket = Bucket(2.0, 4.0, 0.0)
    assert [bucket.take(1, 0.0) for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert bucket.take(1, 0.25) == 0.25
    assert bucket.take(1, 0.5) == 0
    assert bucket.take(3, 0.5) == 1.5


def test_a_batch_larger_than_the_bucket_passes_and_pays_afterwards() -> None:
    """A full bucket lets any batch through; it then takes the whole of it to refill."""
    bucket = Bucket(10.0, 10.0, 0.0)
    assert bucket.take(100, 0.0) == 0
    assert bucket.take(1, 0.0) == pytest.approx(9.1)
    assert bucket.take(100, 9.0) == pytest.approx(1.0)
    assert bucket.take(100, 10.0) == 0


def test_a_clock_that_goes_back_fills_nothing() -> None:
    """Time that runs backwards neither fills a bucket nor empties it."""
    bucket = Bucket(1.0, 1.0, 10.0)
    assert bucket.take(1, 10.0) == 0
    assert bucket.take(1, 5.0) == 1.0
    assert bucket.take(1, 11.0) == 0


@given(
    st.floats(0.1, 1000),
    st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), max_size=40),
)
def test_a_bucket_never_gives_more_than_its_rate(rate: float, steps: list[tuple[float, int]]) -> None:
    """Over any time the tokens given are at most capacity + rate * time + the debt of one last batch; and who waits as
    long as told is let through."""
    capacity = max(1.0, rate)
    bucket = Bucket(rate, capacity, 0.0)
    now, given_out = 0.0, 0
    for pause, count in steps:
        now += pause
        wait = bucket.take(count, now)
        if wait:
            now += wait * (1 + 1e-9) + 1e-9
            assert bucket.take(count, now) == 0
        given_out += count
        assert given_out <= capacity + rate * now * (1 + 1e-6) + 50 + 1e-6


def test_buckets_that_are_full_again_are_dropped() -> None:
    """A caller that has been quiet long enough leaves no trace, once others come."""
    buckets = Buckets(1.0)
    for number in range(100):
        buckets.take(f"caller {number}", 1, 0.0)
    assert len(buckets) == 100
    for number in range(60):
        buckets.take("late", 0.01, 10.0 + number)
    assert len(buckets) == 1
    assert buckets.forgotten == 0


def test_buckets_have_a_bound() -> None:
    """Beyond the bound the caller whose turn it is is forgotten and counted; the others keep what they took."""
    buckets = Buckets(1.0, most=10)
    for number in range(25):
        buckets.take(f"caller {number}", 1, 0.0)
    assert len(buckets) == 10
    assert buckets.forgotten == 15
    assert buckets.take("caller 24", 1, 0.0) == 1.0


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0, 1)), max_size=60))
def test_dropping_buckets_changes_no_answer(steps: list[tuple[int, float]]) -> None:
    """Callers are told the same as if every bucket were kept for ever."""
    buckets = Buckets(2.0)
    kept: dict[int, Bucket] = {}
    now = 0.0
    for caller, pause in steps:
        now += pause
        expected = kept.setdefault(caller, Bucket(2.0, 2.0, 0.0)).take(1, now)
        assert buckets.take(str(caller), 1, now) == pytest.approx(expected, abs=1e-9)


def test_the_hub_takes_no_more_streams_than_it_may() -> None:
    """At the bound HubFull says when to come back, and a released lease makes room."""
    full = limiter(max_streams=2)
    first = full.connect("10.0.0.1", "a")
    full.connect("10.0.0.2", "b")
    with pytest.raises(HubFull, match="holds 2 streams") as caught:
        full.connect("10.0.0.3", "c")
    assert caught.value.retry_after
    assert caught.value.status == 503
    first.release()
    full.connect("10.0.0.3", "c")
    assert full.streams == 2
    assert full.refused[Refusal.HUB_FULL] == 1


def test_a_principal_has_its_own_bound() -> None:
    """One principal's streams are counted over all addresses, and another one is not affected."""
    shared = limiter(max_streams_per_principal=2)
    leases = [shared.connect(f"10.0.0.{number}", "user") for number in range(2)]
    with pytest.raises(TooManyRequests, match="2 streams") as caught:
        shared.connect("10.0.0.9", "user")
    assert caught.value.retry_after
    shared.connect("10.0.0.9", "other")
    leases[0].release()
    shared.connect("10.0.0.9", "user")
    assert shared.refused[Refusal.PRINCIPAL_STREAMS] == 1


def test_anonymous_callers_are_not_one_principal() -> None:
    """Callers without a name are held to their address, not to each other."""
    open_hub = limiter(max_streams_per_principal=1, max_streams_per_address=2)
    open_hub.connect("10.0.0.1", None)
    open_hub.connect("10.0.0.1", None)
    with pytest.raises(TooManyRequests, match="this address"):
        open_hub.connect("10.0.0.1", None)
    open_hub.connect("10.0.0.2", None)
    assert open_hub.refused[Refusal.ADDRESS_STREAMS] == 1


def test_a_peer_without_an_address_is_not_held_to_one() -> None:
    """Over a Unix socket there is no address, and neither its count nor its rate applies."""
    local = limiter(max_streams_per_address=1, connect_rate=1.0)
    for _ in range(5):
        local.connect(None, "user")
    assert local.streams == 5


def test_an_address_connects_only_so_fast() -> None:
    """Attempts are limited per address, refused ones too, and the answer says when the next may come."""
    clock = Clock()
    gate = limiter(clock, connect_rate=2.0, max_streams=3)
    leases = [gate.connect("10.0.0.1", None) for _ in range(2)]
    with pytest.raises(TooManyRequests, match=r"too fast.*at most 2 connects per second") as caught:
        gate.connect("10.0.0.1", None)
    assert caught.value.retry_after == pytest.approx(0.5)
    leases.append(gate.connect("10.0.0.2", None))
    clock.now += 0.5
    with pytest.raises(HubFull):
        gate.connect("10.0.0.1", None)
    with pytest.raises(TooManyRequests):
        gate.connect("10.0.0.1", None)
    assert gate.refused == {
        Refusal.HUB_FULL: 1,
        Refusal.PRINCIPAL_STREAMS: 0,
        Refusal.ADDRESS_STREAMS: 0,
        Refusal.CONNECT_RATE: 2,
        Refusal.PUBLISH_RATE: 0,
    }


def test_a_principal_publishes_only_so_fast() -> None:
    """Events are counted per principal; a batch passes whole or not at all; nameless publishers share one bucket."""
    clock = Clock()
    gate = limiter(clock, publish_rate=10.0)
    gate.publish("service", 8)
    with pytest.raises(TooManyRequests, match="at most 10 events per second") as caught:
        gate.publish("service", 5)
    assert caught.value.retry_after == pytest.approx(0.3)
    gate.publish("service", 2)
    gate.publish("other", 1000)
    gate.publish(None, 10)
    with pytest.raises(TooManyRequests):
        gate.publish(None, 1)
    clock.now += 0.1
    gate.publish(None, 1)
    assert gate.refused[Refusal.PUBLISH_RATE] == 2


def test_a_refused_stream_leaves_no_count_behind() -> None:
    """After any refusal and every release nothing is counted and no name is kept."""
    gate = limiter(max_streams=3, max_streams_per_principal=1, max_streams_per_address=2)
    leases = [gate.connect("10.0.0.1", "a"), gate.connect("10.0.0.1", "b")]
    for address, principal in (("10.0.0.2", "a"), ("10.0.0.1", "c")):
        with pytest.raises(TooManyRequests):
            gate.connect(address, principal)
    with gate.connect("10.0.0.3", "c"), pytest.raises(HubFull):
        gate.connect("10.0.0.4", "d")
    for lease in leases:
        lease.release()
    assert gate.streams == 0
    assert gate._of_principal._counts == {}
    assert gate._of_address._counts == {}


def test_a_lease_is_released_once() -> None:
    """Releasing twice, or after its `with`, gives back one place."""
    gate = limiter(max_streams_per_principal=2)
    kept = gate.connect("10.0.0.1", "user")
    with gate.connect("10.0.0.1", "user") as lease:
        assert gate.streams == 2
    lease.release()
    assert gate.streams == 1
    kept.release()
    assert gate.streams == 0


def test_forgotten_buckets_are_counted() -> None:
    """The limiter tells how many callers' rates it had to forget."""
    gate = limiter(max_buckets=2, connect_rate=1.0, publish_rate=1.0)
    for number in range(5):
        gate.connect(f"10.0.0.{number}", None)
        gate.publish(f"user {number}", 1)
    assert gate.forgotten == 6


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from(["a", "b", None]), st.sampled_from(["10.0.0.1", "::1", None])),
        max_size=40,
    )
)
def test_counts_are_what_is_open(steps: list[tuple[bool, str | None, str | None]]) -> None:
    """Whatever comes and goes, the counts are those of the open leases and no limit is passed."""
    gate = limiter(max_streams=5, max_streams_per_principal=2, max_streams_per_address=3)
    held: list[tuple[Any, str | None, str | None]] = []
    for opens, principal, address in steps:
        if opens:
            try:
                held.append((gate.connect(address, principal), principal, address))
            except (TooManyRequests, HubFull):
                continue
        elif held:
            held.pop(0)[0].release()
        assert gate.streams == len(held) <= 5
        for name in ("a", "b"):
            assert sum(who == name for _, who, _ in held) <= 2
        for place in ("10.0.0.1", "::1"):
            assert sum(where == place for _, _, where in held) <= 3


@pytest.mark.parametrize(
    ("address", "group"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::1", "::/64"),
        ("192.0.2.7:51234", "192.0.2.7"),
        ("[2001:db8:1:2::1]:51234", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        ("testclient", "testclient"),
        ("testclient:80", "testclient:80"),
        ("[", "["),
        ("", ""),
    ],
)
def test_addresses_are_grouped(address: str, group: str) -> None:
    """An IPv6 /64 is one address, an IPv4 address is the same however it is written, and other text is itself. A port does
    not count: a client has a new one for each connection, and some proxies pass it on."""
    assert address_group(address) == group


def test_an_ipv6_network_cannot_step_around_the_limits() -> None:
    """All addresses of one /64 share one count."""
    gate = limiter(max_streams_per_address=2)
    gate.connect("2001:db8::1", None)
    gate.connect("2001:db8::2", None)
    with pytest.raises(TooManyRequests):
        gate.connect("2001:db8::3", None)
    gate.connect("2001:db8:0:1::3", None)
