"""Events as they stand in Redis: in streams, and in pub/sub messages. Pure.

A message on a channel's pub/sub channel is a line of numbers, then the entry's two parts:

    <epoch> <life> <seq> <previous seq of the channel> <time> <length of m>\\n<m><d>

`m` is JSON, [type, text (0 or 1), permissions]; `d` is the data. Both are kept in the stream as they are sent, so a script
never looks into them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from headwater.brokers.redis.delivery import Entry
from headwater.event import Draft, Event, Position

_meta = msgspec.json.Decoder(tuple[str, int, tuple[str, ...]])
_encode = msgspec.json.encode


class Message(msgspec.Struct, frozen=True):
    """What came over pub/sub: an entry of a channel, and the life of Redis in which it was published (see `known`)."""

    entry: Entry
    life: int


class Marker(msgspec.Struct, frozen=True):
    """What `Store.survey` has published to the asking node: everything through `head` was published before it."""

    token: str
    epoch: str
    head: int


def read_message(channel: str, payload: bytes) -> Message:
    """The event in a message of `channel`.

    Raises:
        ValueError: this is no message of ours.
    """
    line, _, rest = payload.partition(b"\n")
    epoch, *numbers = line.split(b" ")
    life, seq, previous, time, length = map(int, numbers)
    event = _event(Position(epoch.decode(), seq), time, channel, rest[:length], rest[length:])
    return Message(Entry(event, previous), life)


def read_marker(payload: bytes) -> Marker:
    """The marker in a message of a node's inbox.

    Raises:
        ValueError: this is no marker of ours.
    """
    token, epoch, head = payload.decode().split(" ")
    return Marker(token, epoch, int(head))


def read_entry(epoch: str, channel: str, id_: bytes, fields: Sequence[bytes]) -> Entry:
    """An entry of a channel's stream.

    Raises:
        ValueError: somebody else put it there.
    """
    seq, time = map(int, id_.split(b"-"))
    named = dict(zip(fields[::2], fields[1::2], strict=True))
    return Entry(_event(Position(epoch, seq), time, channel, named[b"m"], named[b"d"]), int(named[b"v"]))


def write_meta(draft: Draft) -> bytes:
    """What `m` says of a draft."""
    return _encode((draft.type, int(draft.text), sorted(draft.permissions)))


def _event(position: Position, time: int, channel: str, meta: bytes, data: bytes) -> Event:
    type_, text, permissions = _read_meta(meta)
    return Event(
        position=position,
        time=time,
        channel=channel,
        type=type_,
        data=data.decode(),
        text=text,
        permissions=permissions,
    )


@lru_cache(maxsize=1024)
def _read_meta(meta: bytes) -> tuple[str, bool, frozenset[str]]:
    type_, text, permissions = _meta.decode(meta)
    return type_, bool(text), frozenset(permissions)
