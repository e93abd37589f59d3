"""What every broker does in the same way: a fresh epoch, the rule for a channel, the fingerprint of a draft.

Pure, and knows no store. Two brokers that disagreed on any of these would keep different promises.
"""

from __future__ import annotations

import hashlib
import random

import msgspec

from headwater.brokers.base import Retention, Rule
from headwater.channels import matches
from headwater.event import Draft

_encode = msgspec.msgpack.encode


def new_epoch() -> str:
    """A name for a new life of a log: 40 random bits, so a cursor of another life is not taken for one of this."""
    return f"{random.getrandbits(40):010x}"


def rule_for(retention: Retention, channel: str) -> Rule:
    """The first rule whose pattern covers `channel`; the default rule if none does."""
    return next((rule for rule in retention.rules if matches(rule.pattern, channel)), _DEFAULT)


def fingerprint(draft: Draft) -> bytes:
    """16 bytes that differ when two drafts with the same idempotency key are different events."""
    content = (draft.channel, draft.type, draft.data, draft.text, sorted(draft.permissions))
    return hashlib.blake2b(_encode(content), digest_size=16).digest()


_DEFAULT = Rule()
