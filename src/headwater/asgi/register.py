"""Used tickets, written down in the log: what makes a ticket single-use across the processes that serve it.

A ticket's random number becomes the idempotency key of an event of our own. Whoever appends it first has used the ticket;
everybody else's event is another one under the same key, which the log refuses. Knows the broker; must not know requests.
"""

from __future__ import annotations

import secrets
from typing import Final

from headwater.brokers.base import Broker
from headwater.errors import IdempotencyConflict
from headwater.event import Draft

CHANNEL: Final = "$tickets"


class LogRegister:
    """A `headwater.auth.Register` that all processes of one log share. The log remembers its keys for a day, a ticket is
    valid for seconds.

    Args:
        broker: an open one, by the time that tickets are used.
    """

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def use(self, nonce: bytes, until: float, now: float) -> bool:
        """See `Register.use`."""
        # Different data each time: a repetition of the very same event would be taken for a retry, and accepted.
        draft = Draft.json(CHANNEL, "used", secrets.token_hex(8), idempotency_key=f"ticket:{nonce.hex()}")
        try:
            await self._broker.append([draft])
        except IdempotencyConflict:
            return False
        return True
