"""Everything that is asked of Redis: scripts, run over few connections.

Knows keys, scripts and events. It must not know the feed or which channels this node follows: that is `delivery`'s and
`subscriber`'s.

Any answer may tell of a new epoch, because writes were lost or the data was wiped. Whoever passes `renewed` hears of it,
before the answer is returned. Other nodes hear of it on the pub/sub channel `Keys.control`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from headwater.brokers.base import ChannelInfo, Page, Retention
from headwater.brokers.redis.address import Options, Target
from headwater.brokers.redis.delivery import Entry, Survey
from headwater.brokers.redis.keys import Keys
from headwater.brokers.redis.known import Known, State
from headwater.brokers.redis.link import Link
from headwater.event import Draft, Position


class Store:
    """One log in Redis, as one process uses it.

    Every method may raise `BrokerUnavailable`, and none leaves anything half-done when it is cancelled.

    Args:
        target: where it is.
        options: how it is used.
        retention: what it keeps.
        renewed: is called, in the event loop's thread, whenever an answer shows another epoch than the one known before.
            It must not block, and not call the store.

    Attributes:
        keys: the log's names in Redis.
        known: what this process knows to have existed. Tell it of what comes over pub/sub (`Known.saw`).
        link: makes connections; for the one that listens.
        overflows: appends refused because too many were waiting.
    """

    keys: Keys
    known: Known
    link: Link
    overflows: int

    def __init__(
        self,
        target: Target,
        options: Options,
        retention: Retention,
        *,
        renewed: Callable[[State], None] = lambda _: None,
    ) -> None:
        raise NotImplementedError

    async def open(self, *, keeps: bool) -> Position:
        """Connect, make the log if it is missing, and return its head. To be called once, before anything else.

        Args:
            keeps: this process applies retention, and tells publishers what to apply: it is a node with a feed.

        Raises:
            BrokerUnavailable: Redis could not be reached within `Options.wait` seconds.
            ConfigurationError: a wrong password, a right that is missing, a Redis that is too old.
        """
        raise NotImplementedError

    async def aclose(self) -> None:
        """Let pending appends finish (as long as they may wait), then close every connection that the store made for itself.
        Idempotent, and safe after an `open` that failed or was cancelled."""
        raise NotImplementedError

    async def append(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        """Append all or none; return the positions, in order, once Redis has them. Waits up to `Options.wait` seconds for a
        Redis that is away. Does not wait for any feed.

        Raises:
            IdempotencyConflict: a key was used before for a different draft; nothing was appended.
            BrokerUnavailable: the message says whether surely nothing was appended, or that this is not known.
        """
        raise NotImplementedError

    async def survey(self, channels: Collection[str], node: str, token: str) -> Survey:
        """Where the log is, and where each of the channels is, in one look, which also publishes the marker `token` to the
        inbox of `node` (`Keys.inbox`, `records.read_marker`): it arrives after all events through the survey's head and
        before all later ones. Not tried twice."""
        raise NotImplementedError

    async def read_entries(
        self, channels: Collection[str], after: int, until: int, limit: int
    ) -> tuple[tuple[Entry, ...], Position]:
        """As `read`, with each event's predecessor in its channel: the entries, and the page's end."""
        raise NotImplementedError

    async def read(self, channels: Collection[str], after: int, until: int, limit: int = 500) -> Page:
        """See `Broker.read`. The page's end names the epoch that was read."""
        raise NotImplementedError

    async def read_back(self, channels: Collection[str], before: int, limit: int = 500) -> Page:
        """See `Broker.read_back`."""
        raise NotImplementedError

    async def position_at(self, time: int) -> Position:
        """See `Broker.position_at`."""
        raise NotImplementedError

    async def horizon(self, channels: Collection[str]) -> Position:
        """See `Broker.horizon`."""
        raise NotImplementedError

    async def head(self) -> Position:
        """See `Broker.head`."""
        raise NotImplementedError

    async def channels(self, prefix: str = "", limit: int = 1000) -> tuple[ChannelInfo, ...]:
        """See `Broker.channels`."""
        raise NotImplementedError

    async def prune(self, now: int) -> int:
        """See `Broker.prune`."""
        raise NotImplementedError
