"""The names of everything one log has in Redis.

All keys share a hash tag, made of the prefix, so that they lie in one slot of a cluster, and a script may use them
together. Knows names only.
"""

from __future__ import annotations

import msgspec


class Keys(msgspec.Struct, frozen=True):
    """The names below one prefix. A prefix with a hash tag of its own (`app:{one}`) keeps it.

    Attributes:
        prefix: what they begin with.
        db: number of the database. Keys are its own; pub/sub channels are those of the whole server, so their names tell
            the logs of two databases apart.
    """

    prefix: str
    db: int = 0

    @property
    def base(self) -> str:
        """What every name begins with, without the colon."""
        return self.prefix if "{" in self.prefix else f"{{{self.prefix}}}"

    @property
    def _heard(self) -> str:
        return f"{self.base}:{self.db}" if self.db else self.base

    @property
    def log(self) -> str:
        """HASH: which life of the log this is, and how far it has come."""
        return f"{self.base}:log"

    @property
    def lives(self) -> str:
        """HASH: number of each life of the Redis process -> the head when it began."""
        return f"{self.base}:lives"

    @property
    def channels(self) -> str:
        """HASH: channel -> `<id of the newest entry there ever was in it> <bytes of its retained data>`."""
        return f"{self.base}:channels"

    @property
    def oldest(self) -> str:
        """ZSET: channel -> seq of its first retained event."""
        return f"{self.base}:oldest"

    @property
    def names(self) -> str:
        """ZSET, all scores 0: channels with events, to be listed by prefix."""
        return f"{self.base}:names"

    @property
    def empty(self) -> str:
        """ZSET: channel without events -> seq of the newest it had."""
        return f"{self.base}:empty"

    @property
    def times(self) -> str:
        """STREAM without content: ids `<time>-<seq of the first event accepted then>`."""
        return f"{self.base}:times"

    @property
    def keys(self) -> str:
        """HASH: idempotency key -> `<time> <seq> <fingerprint>`."""
        return f"{self.base}:keys"

    @property
    def key_order(self) -> str:
        """LIST of `<seq> <idempotency key>`, oldest first."""
        return f"{self.base}:keyorder"

    def stream(self, channel: str) -> str:
        """STREAM of a channel: ids `<seq>-<time>`, fields v (the channel's previous seq), m (the rest), d (data)."""
        return f"{self.base}:c:{channel}"

    def operation(self, name: str) -> str:
        """STRING that expires: the answer to an append, for whoever has to ask again."""
        return f"{self.base}:op:{name}"

    @property
    def events(self) -> str:
        """What the pub/sub channels begin with on which events are published; a channel's name follows."""
        return f"{self._heard}:e:"

    def inbox(self, node: str) -> str:
        """Pub/sub channel of one node, for markers."""
        return f"{self._heard}:n:{node}"

    @property
    def control(self) -> str:
        """Pub/sub channel of all nodes, where a new epoch is announced."""
        return f"{self._heard}:a"
