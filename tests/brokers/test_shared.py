"""What all brokers do alike."""

from __future__ import annotations

import msgspec
import pytest

from headwater.brokers.base import Retention, Rule
from headwater.brokers.shared import fingerprint, new_epoch, rule_for
from headwater.event import Draft, Position


def test_an_epoch_is_new_each_time_and_fits_a_position() -> None:
    """A thousand of them, all different."""
    epochs = {new_epoch() for _ in range(1000)}
    assert len(epochs) == 1000
    assert all(Position(epoch, 0) for epoch in epochs)


@pytest.mark.parametrize(("channel", "count"), [("a:1", 1), ("a:1:2", 2), ("b", 10_000)])
def test_the_first_matching_rule_counts(channel: str, count: int) -> None:
    """The default rule if none matches."""
    retention = Retention(rules=(Rule(pattern="a:*", count=1), Rule(pattern="a:**", count=2), Rule(pattern="a:1")))
    assert rule_for(retention, channel).count == count


def test_a_fingerprint_tells_drafts_apart() -> None:
    """By everything but their key, and never by the order of permissions."""
    draft = Draft(channel="a", type="t", data="1", permissions=frozenset("xyz"), idempotency_key="k")
    changes: list[dict[str, object]] = [
        {},
        {"channel": "b"},
        {"type": "message"},
        {"data": "2"},
        {"text": True},
        {"permissions": frozenset("xy")},
    ]
    prints = {fingerprint(msgspec.structs.replace(draft, **change)) for change in changes}
    assert len(prints) == len(changes)
    assert {len(each) for each in prints} == {16}
    same = msgspec.structs.replace(draft, permissions=frozenset("zyx"), idempotency_key="other")
    assert fingerprint(same) == fingerprint(draft)
