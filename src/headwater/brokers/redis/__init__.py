"""The log in Redis (or Valkey): for hubs on many machines.

broker      the protocol
store       everything that is asked of Redis
appends     what waits to be appended, and goes together
reading     pages of several channels
retention   what is removed
calls, scripts, scripts/*.lua    what Redis itself does, whole or not at all
keys, records    names and values in Redis
known       what must not get lost unnoticed
link, lane, line    which server, a connection that comes back, a connection
address     the URL
refusals    what Redis says when it says no
subscriber, pubsub, delivery, waiting    what comes over pub/sub, and how it becomes a feed without gaps
"""

from __future__ import annotations

from headwater.brokers.base import Retention
from headwater.brokers.redis.address import Options, Target, parse
from headwater.brokers.redis.broker import RedisBroker

__all__ = ["Options", "RedisBroker", "Target", "from_url"]


def from_url(url: str, retention: Retention) -> RedisBroker:
    """The broker for `redis://`, `rediss://`, `redis+sentinel://` or `rediss+sentinel://`, with the fields of `Options` as
    query options.

    Raises:
        ConfigurationError: the URL is malformed, an option is unknown, or a file of certificates cannot be read.
    """
    return RedisBroker(*parse(url), retention=retention)
