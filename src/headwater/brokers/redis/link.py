"""The one place that makes connections to Redis, and knows to which of several servers.

Finds the master (directly, by asking Sentinels, by following where a cluster points), logs in, and enters the log: each new
connection checks that nothing this process knows of was lost. It must not know events or what the scripts are for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headwater.brokers.redis.address import Options, Target
from headwater.brokers.redis.known import Known
from headwater.brokers.redis.line import Line


class Link:
    """Makes connections.

    Args:
        target: where to connect.
        options: how.
        known: what this process knows to have existed; each new connection confirms it.
    """

    def __init__(self, target: Target, options: Options, known: Known) -> None:
        raise NotImplementedError

    async def connect(self) -> Line:
        """A new connection for commands, on which the log was entered. May be cancelled.

        Raises:
            BrokerUnavailable: not now; another attempt may succeed. Nothing is tried twice here.
            ConfigurationError: not as things are set: a wrong password, a right that is missing, a Redis that is too old.
        """
        raise NotImplementedError

    async def listen(self, take: Callable[[Sequence[Any]], None], ended: Callable[[Exception], None]) -> Line:
        """The same for pub/sub: nothing has been subscribed yet, and `take` and `ended` (see `Line.listen`) may be called
        before this returns. Send `SUBSCRIBE` and `UNSUBSCRIBE` with `Line.send`."""
        raise NotImplementedError
