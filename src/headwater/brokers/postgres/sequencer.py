"""Where the leader takes the outbox's events: into this log, or into another broker's.

Into this log they go in one transaction in which their rows are deleted, so each arrives once. Into another broker they
go with idempotency keys made of the row's number, and then their rows are deleted, so each arrives once as long as the
other broker remembers keys. Both check the leader's number where they delete: one who leads no more changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from headwater.brokers.base import Broker, Renewable
from headwater.brokers.postgres.appends import Answer, columns
from headwater.brokers.postgres.delivery import Commit, Delivery
from headwater.brokers.postgres.link import Link
from headwater.brokers.postgres.outbox import Event
from headwater.brokers.shared import fingerprint
from headwater.errors import IdempotencyConflict
from headwater.event import Draft

_log = logging.getLogger("headwater.brokers.postgres")


class Target(Protocol):
    """Where events go."""

    async def deliver(self, leader: int, done: Sequence[int], events: Sequence[Event]) -> bool:
        """Append the events and delete the rows `done` that they come from; False if `leader` leads no more, and nothing
        was deleted."""

    async def lapse(self, leader: int) -> None:
        """Changes of rows have gone unnoticed: let clients know, if that is possible."""


class OwnLog:
    """The log of the database that the outbox is in.

    Args:
        link: the session's.
        delivery: of this node's feed.
        key_age: milliseconds for which idempotency keys count.
        check: has the writer look at what the log is.

    Attributes:
        conflicts: events that were dropped because their key had been used for something else.
    """

    def __init__(self, link: Link, delivery: Delivery, key_age: int, check: Callable[[], Awaitable[None]]) -> None:
        self.conflicts = 0
        self._link = link
        self._delivery = delivery
        self._key_age = key_age
        self._check = check

    async def deliver(self, leader: int, done: Sequence[int], events: Sequence[Event]) -> bool:
        """See `Target`."""
        chosen, prints = self._without_repetition(events)
        epoch, seq = self._delivery.at
        found = await self._link.row(
            "append",
            known_epoch=epoch,
            known_pos=seq,
            key_age=self._key_age,
            operation=None,  # if the answer does not come, the rows tell whether it was done
            leader=leader,
            done=list(done),
            batch=list(range(len(chosen))),
            print=prints,
            source=[event.seq for event in chosen],
            **columns([event.draft for event in chosen]),
        )
        answer = Answer(*found)
        if answer.epoch is None:
            return False
        positions = answer.seqs
        for event, position in zip(chosen, positions, strict=True):
            if position is None:
                self._drop(event)
        if answer.epoch == epoch:
            base = answer.base or 0
            fresh = [e.draft for e, pos in zip(chosen, positions, strict=True) if pos is not None and pos > base]
            self._delivery.committed(Commit(base, fresh, answer.time, lambda: None))
        else:
            await self._check()
        return True

    async def lapse(self, leader: int) -> None:
        """See `Target`: whoever streams is told to load its state anew."""
        await self._link.row("begin_epoch", leader=leader)
        await self._check()

    def _without_repetition(self, events: Sequence[Event]) -> tuple[list[Event], list[str | None]]:
        """The events without those whose key comes before them, and the fingerprints of those that have one."""
        keys: dict[str, str] = {}
        chosen: list[Event] = []
        prints: list[str | None] = []
        for event in events:
            key = event.draft.idempotency_key
            print_ = None if key is None else fingerprint(event.draft).hex()
            if key is None or key not in keys:
                chosen.append(event)
                prints.append(print_)
            elif keys[key] != print_:
                self._drop(event)
            if key is not None and print_ is not None:
                keys.setdefault(key, print_)
        return chosen, prints

    def _drop(self, event: Event) -> None:
        self.conflicts += 1
        _log.warning(
            "row %d of the outbox repeats the idempotency key %r for a different event, and is dropped",
            event.seq,
            event.draft.idempotency_key,
        )


class OtherBroker:
    """The log of another broker.

    Args:
        link: the session's.
        broker: open.

    Attributes:
        conflicts: as for `OwnLog`.
    """

    def __init__(self, link: Link, broker: Broker) -> None:
        self.conflicts = 0
        self._link = link
        self._broker = broker

    async def deliver(self, leader: int, done: Sequence[int], events: Sequence[Event]) -> bool:
        """See `Target`.

        Raises:
            BrokerUnavailable: the other broker cannot take them now.
        """
        incarnation, _ = await self._link.row("incarnation")
        drafts = [_keyed(event, incarnation) for event in events]
        if drafts:
            try:
                await self._broker.append(drafts)
            except IdempotencyConflict:
                for draft, event in zip(drafts, events, strict=True):
                    try:
                        await self._broker.append([draft])
                    except IdempotencyConflict as error:
                        self.conflicts += 1
                        _log.warning("row %d of the outbox is dropped: %s", event.seq, error)
        (leads,) = await self._link.row("forget", leader=leader, done=list(done))
        return bool(leads)

    async def lapse(self, leader: int) -> None:
        """See `Target`: whoever streams is told to load its state anew, if that log can."""
        if isinstance(self._broker, Renewable):
            await self._broker.begin_epoch()
        else:
            _log.warning(
                "clients are not told, because their log cannot begin a new epoch: restart them, or wipe that log"
            )


def _keyed(event: Event, incarnation: str) -> Draft:
    """The draft with a key, so that it can be handed over again."""
    draft = event.draft
    if draft.idempotency_key is not None:
        return draft
    return msgspec.structs.replace(draft, idempotency_key=f"{incarnation}:{event.seq}:{event.number}")
