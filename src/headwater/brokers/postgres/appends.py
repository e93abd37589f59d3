"""Group commit: many appends in one call, each whole or refused.

Pure: knows drafts, idempotency keys and the arguments and answer of the function `append`. It must not know connections,
tasks or the feed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from headwater.brokers.shared import fingerprint
from headwater.errors import IdempotencyConflict
from headwater.event import Draft

_dump = msgspec.json.encode


class Outcome(msgspec.Struct, frozen=True):
    """What became of one append: its positions, or why it was refused."""

    seqs: tuple[int, ...] = ()
    conflict: IdempotencyConflict | None = None


class Answer(msgspec.Struct, frozen=True):
    """What the function `append` answered.

    Attributes:
        epoch: of the log; None if nothing was done, because the caller is not the leader any more.
        base: the newest position before; None if the answer was given before.
        time: of the events.
        seqs: one for each draft of the group; None where it was refused.
    """

    epoch: str | None
    base: int | None
    time: int
    seqs: Sequence[int | None]


class Group:
    """Appends that are made in one call.

    A key comes at most once in it. An append that repeats a key of an earlier one has to wait for the next group, because
    whether it is a conflict depends on what becomes of the earlier one; `add` says so.

    Attributes:
        drafts: all of them, less those that repeat a key within their own append.
    """

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self._prints: list[str | None] = []
        self._batches: list[int] = []
        self._keys: set[str] = set()
        self._places: list[tuple[int, ...] | IdempotencyConflict] = []  # of each append: where its drafts are

    def __len__(self) -> int:
        """How many appends there are."""
        return len(self._places)

    def add(self, drafts: Sequence[Draft]) -> bool:
        """Take another append; whether that is possible."""
        prints = [None if draft.idempotency_key is None else fingerprint(draft).hex() for draft in drafts]
        keys: dict[str, int] = {}  # of this append: where the first draft with it is
        places: list[int] = []
        start = len(self.drafts)
        fresh: list[int] = []
        for index, (draft, print_) in enumerate(zip(drafts, prints, strict=True)):
            key = draft.idempotency_key
            if key is not None:
                if key in self._keys:
                    return False
                first = keys.setdefault(key, index)
                if prints[first] != print_:
                    self._places.append(conflict(key))
                    return True
                if first != index:
                    places.append(places[first])
                    continue
            places.append(start + len(fresh))
            fresh.append(index)
        self._keys.update(keys)
        self._batches += [len(self._places)] * len(fresh)
        self._places.append(tuple(places))
        self.drafts += [drafts[index] for index in fresh]
        self._prints += [prints[index] for index in fresh]
        return True

    def arguments(self) -> dict[str, Any]:
        """What the function `append` is to be given for them."""
        return {"batch": self._batches, "print": self._prints, **columns(self.drafts)}

    def outcomes(self, answer: Answer) -> list[Outcome]:
        """What became of each append."""
        return [self._outcome(places, answer) for places in self._places]

    def _outcome(self, places: tuple[int, ...] | IdempotencyConflict, answer: Answer) -> Outcome:
        if isinstance(places, IdempotencyConflict):
            return Outcome(conflict=places)
        seqs = [answer.seqs[place] for place in places]
        if None not in seqs:
            return Outcome(tuple(seq for seq in seqs if seq is not None))
        keys = [key for place in places if (key := self.drafts[place].idempotency_key) is not None]
        return Outcome(conflict=conflict(", ".join(keys)))

    def fresh(self, answer: Answer) -> list[Draft]:
        """The drafts that became events, in order, if the answer is a first one."""
        if answer.base is None:
            return []
        return [
            draft for draft, seq in zip(self.drafts, answer.seqs, strict=True) if seq is not None and seq > answer.base
        ]


def columns(drafts: Iterable[Draft]) -> dict[str, list[Any]]:
    """The fields of drafts as the log has them."""
    drafts = list(drafts)
    kinds, data = zip(*map(_stored, drafts), strict=True) if drafts else ((), ())
    return {
        "channel": [draft.channel for draft in drafts],
        "kind": list(kinds),
        "type": [None if draft.type == "message" else draft.type for draft in drafts],
        "permissions": [" ".join(sorted(draft.permissions)) or None for draft in drafts],
        "key": [draft.idempotency_key for draft in drafts],
        "data": list(data),
    }


def _stored(draft: Draft) -> tuple[str, str]:
    """The kind and the text under which data is stored: Postgres cannot hold a NUL."""
    if not draft.text:
        return "j", draft.data
    return ("e", _dump(draft.data).decode()) if "\x00" in draft.data else ("t", draft.data)


def conflict(key: str) -> IdempotencyConflict:
    """The error for a key that stands for another event."""
    return IdempotencyConflict(
        f"idempotency key {key!r} was used before for a different event",
        fix="use a new key for each event; repeat a key only with the very same event",
    )
