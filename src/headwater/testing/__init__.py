"""Helpers for the tests of applications and of brokers: public API, tied to no test runner."""

from __future__ import annotations

from headwater.testing.asgi import Reply, StreamReply, lifespan, open_stream, request
from headwater.testing.contract import BrokerContract

__all__ = ["BrokerContract", "Reply", "StreamReply", "lifespan", "open_stream", "request"]
