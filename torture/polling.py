"""One poll instead of a connection: what a client that cannot stream asks for, written down as a stream would have sent it.

Knows the poll's answer; must not know why a client polls.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from tests.support.raw import RawClient
from torture.plan import Listener
from torture.records import Beat, Reset, Seen

ANSWER_WITHIN: Final = 10.0
HOLD: Final = 2.0
"""Seconds for which the node may hold a poll while there is nothing."""


class _Event(msgspec.Struct, frozen=True):
    id: str
    channel: str
    type: str
    data: msgspec.Raw


class _Reset(msgspec.Struct, frozen=True):
    reason: str
    cursor: str


class Answer(msgspec.Struct, frozen=True):
    """What a poll is answered: events up to a cursor, after a reset or none."""

    events: tuple[_Event, ...]
    cursor: str
    reset: _Reset | None = None


async def poll(port: int, target: str, headers: Mapping[str, str]) -> Answer | str:
    """Ask a node; its answer, or why there is none, in the words that `Ended` uses."""
    try:
        async with asyncio.timeout(ANSWER_WITHIN), await RawClient.connect(f"http://127.0.0.1:{port}") as client:
            asked = {"Accept": "application/json", "Connection": "close", **headers}
            head = await client.request(f"{target}&wait={HOLD:g}", asked)
            body = await client.read_body()
    except TimeoutError:
        return "unanswered"
    except (OSError, EOFError):
        return "unreachable"
    if head.status != 200:
        return f"refused {head.status}"
    if client.ended != "whole":
        return "lost"  # half an answer is none: its cursor is at its end
    return msgspec.json.decode(body, type=Answer)


def lines_of(listener: Listener, answer: Answer) -> Iterator[Seen | Reset | Beat]:
    """The same, as a stream would have said it."""
    now, number = time.monotonic(), listener.number
    if answer.reset is not None:
        yield Reset(number, now, answer.reset.reason, answer.events[0].id if answer.events else answer.cursor)
    for event in answer.events:
        channel = event.channel if len(listener.channels) > 1 else None  # streams of one channel are not told which
        yield Seen(number, event.id, channel, event.type, zlib.crc32(bytes(event.data)))
    yield Beat(number, now, answer.cursor)
