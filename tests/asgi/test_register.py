"""Used tickets in the log."""

from __future__ import annotations

import asyncio

import pytest

from headwater.asgi.register import LogRegister
from headwater.brokers import open_broker
from headwater.errors import BrokerUnavailable


async def test_a_nonce_is_used_once_however_many_ask() -> None:
    """Of many at the same time exactly one succeeds, and another nonce is another matter."""
    broker = open_broker("memory://")
    await broker.open()
    register = LogRegister(broker)
    outcomes = await asyncio.gather(*(register.use(b"n" * 16, 30, 0) for _ in range(10)))
    assert sorted(outcomes) == [False] * 9 + [True]
    assert await register.use(b"m" * 16, 30, 0) is True


async def test_a_log_that_cannot_be_written_accepts_no_ticket() -> None:
    """It raises, as a register must that cannot tell."""
    with pytest.raises(BrokerUnavailable):
        await LogRegister(open_broker("memory://")).use(b"n" * 16, 30, 0)
