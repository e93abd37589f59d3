"""Throw broken bytes and texts at everything that reads what strangers send, for a bounded time.

    python fuzz/fuzz_wire.py --seconds 5 --seed 1

Plain random mutation of good inputs. Each target may raise the errors that it documents and no others, and must keep its
promises on whatever it accepts. A failure prints the target, the seed, the round and the input; the same seed finds it again.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import msgspec

from headwater import wire
from headwater.channels import check_channel, check_pattern, check_permission, matches
from headwater.errors import InvalidEvent, InvalidInput, ProtocolError
from headwater.event import Draft, Event, Position

TABLE = Path(__file__).parents[1] / "tests" / "data" / "wire_cases.json"
MAX_LINE = 512
TOKENS = tuple(
    b"\r|\n|\r\n|\n\n|:| |\0|id|id:|data|data: |event:|retry:|channel:|\xef\xbb\xbf|\xff|\xe2\x80\xa8|*|**|-|9".split(
        b"|"
    )
)


def seeds() -> list[bytes]:
    """The good inputs that mutation starts from."""
    cases = json.loads(TABLE.read_text())["cases"]
    streams = [stream.encode("latin-1") for case in cases for stream in case["streams"]]
    return [*streams, b"room:42", b"a:*:c:**", b"$own", b"abc-17", b"0-9223372036854775807", b'{"a":[1,"b",null]}']


def mutate(source: random.Random, data: bytes, corpus: list[bytes]) -> bytes:
    """`data` with one to eight random changes."""
    for _ in range(source.randint(1, 8)):
        at = source.randrange(len(data) + 1)
        to = min(len(data), at + source.choice((0, 0, 1, 2, 8, 64)))
        match source.randrange(5):
            case 0:
                data = data[:at] + source.choice(TOKENS) + data[to:]
            case 1:
                data = data[:at] + source.randbytes(source.randint(1, 4)) + data[to:]
            case 2:
                data = data[:at] + data[to:]
            case 3:
                data = data[:at] + data[at:to] * source.choice((2, 3, 40)) + data[to:]
            case _:
                other = source.choice(corpus)
                data = data[:at] + other[source.randrange(len(other) + 1) :]
    return data[: 1 << 16]


def fuzz_decoder(data: bytes, source: random.Random) -> None:
    """However the bytes are cut: the same messages, the same fault, the same id; and nothing kept beyond the cap."""
    whole = _decode([data])
    edges = sorted([0, len(data), *(source.randrange(len(data) + 1) for _ in range(source.randrange(9)))])
    pieces = [data[start:end] for start, end in pairwise(edges)]
    assert _decode(pieces) == whole


def _decode(pieces: list[bytes]) -> tuple[list[wire.Message], bool, str, int | None]:
    decoder = wire.Decoder(max_line=MAX_LINE)
    messages: list[wire.Message] = []
    fault = False
    try:
        for piece in [*pieces, b""]:
            messages += decoder.feed(piece)
            held = msgspec.json.encode([decoder._pending, decoder._data])
            assert len(held) <= 8 * MAX_LINE, "more is held than the cap allows"
    except ProtocolError:
        fault = True
    assert all(message.type and "\n" not in message.type + message.id for message in messages)
    return messages, fault, decoder.last_event_id, decoder.retry


def fuzz_encoder(data: bytes, source: random.Random) -> None:
    """What is encoded is read back as it was meant, or refused."""
    text = data.decode(errors="surrogateescape")
    short = text[: source.randrange(12)]
    try:
        frame = wire.encode(short, text, id=short[::-1], channel=short[1:])
    except InvalidEvent:
        return
    (message,) = wire.Decoder(max_line=1 << 20).feed(frame)
    assert message.data == re.sub("\r\n?", "\n", text)
    assert (message.type, message.id, message.channel) == (short or "message", short[::-1], short[1:] or None)


def fuzz_event(data: bytes, source: random.Random) -> None:
    """Any text is an event's data or an `InvalidEvent`; as JSON only if it is JSON."""
    text = data.decode(errors="surrogateescape")
    for as_text in (True, False):
        try:
            draft = Draft(channel="a", type=text[:9] or "t", data=text, text=as_text) if as_text else _raw(data)
        except InvalidEvent:
            continue
        (message,) = wire.Decoder(max_line=1 << 20).feed(wire.encode_event(Event.of(draft, Position("e", 1), 0)))
        assert (message.type, message.data, message.id) == (draft.type, draft.data, "e-1")


def _raw(data: bytes) -> Draft:
    return Draft.json("a", "t", msgspec.Raw(data))


def fuzz_cursor(data: bytes, source: random.Random) -> None:
    """A cursor that is accepted is written back as it was read."""
    text = data.decode("latin-1")
    with suppress(InvalidInput):
        assert str(Position.parse(text)) == text


def fuzz_names(data: bytes, source: random.Random) -> None:
    """A name that is accepted is a name that the wire can carry; matching any pattern takes no longer than a moment."""
    text = data.decode("latin-1")
    pattern = "".join(source.choice("ab:***") for _ in range(source.randrange(200)))
    for check in (check_channel, check_permission, check_pattern):
        try:
            assert check(text).isprintable()
        except InvalidInput:
            continue
    try:
        check_pattern(pattern)
    except InvalidInput:
        return
    began = time.process_time()
    matches(pattern, "".join(source.choice("ab:") for _ in range(200)))
    assert time.process_time() - began < 1.0, f"slow pattern {pattern}"


TARGETS: tuple[Callable[[bytes, random.Random], None], ...] = (
    fuzz_decoder,
    fuzz_encoder,
    fuzz_event,
    fuzz_cursor,
    fuzz_names,
)


def fuzz(seconds: float, seed: int) -> int:
    """Run every target in turn until the time is over; return how many inputs were tried.

    Raises:
        Whatever a target let through, with a note that tells how to find it again.
    """
    source = random.Random(seed)
    corpus = seeds()
    until = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < until:
        data = mutate(source, source.choice(corpus), corpus)
        for target in TARGETS:
            try:
                target(data, source)
            except BaseException as error:
                error.add_note(f"{target.__name__}, seed {seed}, round {rounds}, input {data[:2000]!r}")
                raise
        rounds += 1
    return rounds * len(TARGETS)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tried = fuzz(options.seconds, options.seed)
    print(f"{tried} inputs, seed {options.seed}: nothing but documented errors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
