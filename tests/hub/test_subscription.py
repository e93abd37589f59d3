"""What a subscriber gets that asks for nothing but channels."""

from __future__ import annotations

import pytest

from headwater.channels import ANYONE
from headwater.hub.start import Now
from headwater.hub.subscription import Subscription, Timing


def test_a_subscription_begins_now_for_anyone() -> None:
    """With the hub's heartbeats and the default first frame."""
    asked = Subscription(channels=("a",))
    assert (asked.principal, asked.start, asked.connected, asked.hello) == (ANYONE, Now(), "connected", None)
    assert (asked.heartbeat, asked.comment_heartbeat, asked.release) == (None, b"", None)


def test_the_default_times_are_the_documented_ones() -> None:
    """Heartbeats below the half minute after which the hastiest proxies give up."""
    timing = Timing()
    assert (timing.heartbeat, timing.warn_before, timing.max_lag) == (15, 30, 60)
    assert (timing.max_lag_events, timing.retry) == (100_000, 2000)


@pytest.mark.parametrize("value", [Subscription(channels=("a",)), Timing()])
def test_they_are_values(value: Subscription | Timing) -> None:
    """Nothing changes them once they are made."""
    with pytest.raises(AttributeError):
        value.heartbeat = 1  # type: ignore[misc]  # which is what is tested
