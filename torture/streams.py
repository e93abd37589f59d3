"""A process with the clients of all streams: `python -m torture.streams`.

Told what to do by lines of JSON on its input, and ends when that ends; says every half second how it is doing. What its
clients are sent goes to a file.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from headwater.errors import InvalidInput
from headwater.event import Position
from torture.listening import Client, Manners
from torture.plan import Plan, listeners
from torture.records import Journal

EVERY = 0.5
"""Seconds between reports."""


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of the input.

    Attributes:
        share: this process has the streams whose number has this remainder when divided by `of`.
    """

    plan: Plan
    journal: str
    share: int = 0
    of: int = 1


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A further line. What it leaves out stays as it is.

    Attributes:
        ports: of the nodes that run now.
        stay: see `Manners`; 0 makes slow clients read, too.
        head: report how many streams have not reached this position.
    """

    ports: dict[int, int] | None = None
    stay: float | None = None
    head: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """How the streams are doing.

    Attributes:
        open: streams whose present connection has said `connected`.
        behind: streams that are not open, or have not reached the head that was asked about.
    """

    open: int
    behind: int
    events: int
    connections: int


class Crowd:
    """All clients of this process."""

    def __init__(self, start: Start) -> None:
        self.ports: dict[int, int] = {}
        self.journal = Journal(Path(start.journal))
        plan = start.plan
        mine = [listener for listener in listeners(plan) if listener.number % start.of == start.share]
        manners = Manners(stay=plan.stay)
        self.clients = [Client(each, self.ports, self.journal, manners, plan.seed) for each in mine]
        self._head: Position | None = None

    def obey(self, order: Order) -> None:
        """Do what a line says."""
        if order.ports is not None:
            self.ports.clear()
            self.ports.update(order.ports)
        if order.stay is not None:
            for client in self.clients:
                client.manners = Manners(stay=order.stay)
        if order.head is not None:
            self._head = Position.parse(order.head)

    def report(self) -> Report:
        """Count."""
        return Report(
            open=sum(client.is_open for client in self.clients),
            behind=sum(not self._has_all(client) for client in self.clients),
            events=sum(client.events for client in self.clients),
            connections=sum(client.connections for client in self.clients),
        )

    def _has_all(self, client: Client) -> bool:
        try:
            at = Position.parse(client.decoder.last_event_id)
        except InvalidInput:
            return False
        return client.is_open and self._head is not None and at >= self._head


async def main() -> None:
    """Run until the input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=1 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowd = Crowd(msgspec.json.decode(await reader.readline(), type=Start))
    work = [asyncio.create_task(client.live()) for client in crowd.clients]
    work.append(asyncio.create_task(reporting(crowd)))
    async for line in reader:
        crowd.obey(msgspec.json.decode(line, type=Order))
        if failed := [task for task in work if task.done()]:
            failed[0].result()
    for task in work:
        task.cancel()
    await asyncio.gather(*work, return_exceptions=True)
    crowd.journal.close()


async def reporting(crowd: Crowd) -> None:
    """Say how it goes, and write down what has happened."""
    encoder = msgspec.json.Encoder()
    while True:
        crowd.journal.flush()
        os.write(sys.stdout.fileno(), encoder.encode(crowd.report()) + b"\n")
        await asyncio.sleep(EVERY)


if __name__ == "__main__":
    asyncio.run(main())
