"""A hub node in a process of its own, to be killed: it follows a channel, takes its turn in leading, and appends nothing.

python -m tests.brokers.postgres_worker URL
"""

from __future__ import annotations

import asyncio
import sys

from headwater.brokers.base import Retention
from headwater.brokers.postgres import from_url
from headwater.testing.contract import Recorder


async def main(url: str) -> None:
    """Run until killed."""
    broker = from_url(url, Retention())
    await broker.open(Recorder())
    await broker.follow(["row:0"])
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
