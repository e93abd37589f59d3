"""The store goes away and comes back: what nodes, streams and publishers are promised meanwhile.

Streams stay open and hear heartbeats; nodes say that they are not ready, and soon after the return that they are; who
publishes is told in time when to come again, and nothing is published by halves. All is watched from outside, over HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

import msgspec

from headwater.auth import mint
from tests.support.raw import RawClient
from torture.oracle import Violation
from torture.plan import SECRET, Said
from torture.records import Acknowledged, Beat, Ended, Hello, Journal, Meant, Refused, StreamLine
from torture.world import World

RED_WITHIN: Final = 5.0
GREEN_WITHIN: Final = 5.0
"""Seconds in which readiness must show an outage and its end."""

LATE: Final = 3.0
"""Seconds by which a refusal may come after the configured wait: the machine has other work to do."""

_EVERY: Final = 0.2  # seconds between questions about readiness
_ATTEMPTS: Final = 30
_ANSWER_WITHIN: Final = 15.0


class Sight(msgspec.Struct, frozen=True, kw_only=True):
    """What a node said about its readiness, and when it had said it."""

    node: int
    at: float
    is_ready: bool


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """How a request was answered; with status 0 it was not, within reason."""

    status: int
    took: float
    retry_after: str | None
    ids: tuple[str, ...] = ()


class Outage(msgspec.Struct, kw_only=True):
    """One outage as it was seen.

    Attributes:
        how: `killed`, `frozen` or `locked`.
        begun, over: when the store went, and when it took commands again (seconds of the machine's monotonic clock).
        until: when watching ended.
        wait: seconds that publishing is configured to wait.
        sights: of all nodes, by time.
        answers: to what was published while the store was away.
    """

    how: str
    begun: float
    over: float = 0.0
    until: float = 0.0
    wait: float = 0.0
    sights: list[Sight] = msgspec.field(default_factory=list)
    answers: list[Answer] = msgspec.field(default_factory=list)

    @property
    def red_after(self) -> float | None:
        """Seconds until every node had said that it is not ready."""
        return self._after(self.begun, is_ready=False)

    @property
    def green_after(self) -> float | None:
        """Seconds until every node had said that it is ready again."""
        return self._after(self.over, is_ready=True)

    def _after(self, moment: float, *, is_ready: bool) -> float | None:
        firsts: dict[int, float] = {}
        for sight in self.sights:
            if sight.at > moment and sight.is_ready == is_ready:
                firsts.setdefault(sight.node, sight.at - moment)
        return max(firsts.values()) if firsts.keys() == {sight.node for sight in self.sights} else None


async def outage(world: World, how: str, length: float) -> Outage:
    """Take the store away for `length` seconds, and watch."""
    posting = Posting(world, f"outage-{how}")
    seen = Outage(how=how, begun=0.0, wait=world.store.wait)
    async with asyncio.TaskGroup() as watching:
        watchers = [watching.create_task(_watch(node.number, node.port or 0, seen)) for node in world.nodes]
        world.faults[f"store {how}"] += 1
        await world.store.go_away(how)
        seen.begun = time.monotonic()
        seen.answers = [*await asyncio.gather(*(posting.post(node.number, node.port or 0) for node in world.nodes))]
        await asyncio.sleep(max(0.0, seen.begun + length - time.monotonic()))
        await world.store.come_back(how)
        seen.over = time.monotonic()
        for _ in range(int(2 * GREEN_WITHIN / _EVERY)):
            if seen.green_after is None:
                await asyncio.sleep(_EVERY)
        await posting.again(world.ports)
        seen.until = time.monotonic()
        for watcher in watchers:
            watcher.cancel()
    return seen


async def _watch(node: int, port: int, seen: Outage) -> None:
    """Ask a node again and again whether it is ready."""
    while True:
        answer = await _asked(port, "/readyz", {})
        seen.sights.append(Sight(node=node, at=time.monotonic(), is_ready=answer.status == 200))
        await asyncio.sleep(_EVERY)


async def _asked(port: int, target: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    """One request, and how it was answered."""
    begun = time.monotonic()
    try:
        async with (
            asyncio.timeout(_ANSWER_WITHIN),
            await RawClient.connect(f"http://127.0.0.1:{port}") as client,
        ):
            method = "POST" if body else "GET"
            head = await client.request(target, {"Connection": "close", **headers}, method=method, body=body)
            content = await client.read_body()
    except (OSError, EOFError, TimeoutError):
        return Answer(status=0, took=time.monotonic() - begun, retry_after=None)
    ids = tuple(msgspec.json.decode(content)["ids"]) if head.status == 201 else ()
    took, retry_after = time.monotonic() - begun, head.headers.get("retry-after")
    return Answer(status=head.status, took=took, retry_after=retry_after, ids=ids)


class Posting:
    """A publisher that notes how exactly it is refused."""

    def __init__(self, world: World, name: str) -> None:
        self._name = name
        self._channels = world.plan.names
        self._journal = Journal(Path(world.folder / f"publisher-{name}.jsonl"))
        self._open: list[int] = []  # batches without an answer
        self._token = mint(SECRET, sub=name, publish=["**"], ttl=3600)

    def _said(self, number: int) -> tuple[Said, ...]:
        return tuple(
            Said(id=f"{self._name}-{number}-{index}", channel=channel, permissions=(), size=10)
            for index, channel in enumerate(self._channels[:3])
        )

    async def post(self, number: int, port: int) -> Answer:
        """Publish a batch of three through a node."""
        self._journal.write(Meant(f"{self._name}-{number}", 1, time.monotonic(), True, self._said(number)))
        return await self._try(number, port)

    async def again(self, ports: dict[int, int]) -> None:
        """Publish whatever was not answered again, with the same keys, until it is."""
        for number in tuple(self._open):
            for _ in range(_ATTEMPTS):
                if (await self._try(number, ports[number])).ids:
                    break
                await asyncio.sleep(_EVERY)
        self._journal.close()

    async def _try(self, number: int, port: int) -> Answer:
        batch = [
            {
                "channel": said.channel,
                "type": "said",
                "data": msgspec.Raw(said.data.encode()),
                "idempotency_key": said.id,
            }
            for said in self._said(number)
        ]
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {self._token}"}
        answer = await _asked(port, "/events", headers, msgspec.json.encode(batch))
        self._note(number, answer)
        return answer

    def _note(self, number: int, answer: Answer) -> None:
        if answer.ids:
            self._open = [each for each in self._open if each != number]
            self._journal.write(Acknowledged(f"{self._name}-{number}", 1, time.monotonic(), answer.ids))
        else:
            self._open = sorted({*self._open, number})
            self._journal.write(
                Refused(f"{self._name}-{number}", 1, time.monotonic(), f"status {answer.status}", False)
            )


def judge_outage(seen: Outage, lines: Iterable[StreamLine], *, heartbeat: float) -> list[Violation]:
    """What was promised and not kept, but for the records themselves.

    Args:
        seen: the outage.
        lines: of all streams, each in its order.
        heartbeat: seconds between heartbeats.
    """
    wrong = [*_judge_readiness(seen), *_judge_answers(seen.answers, seen.wait), *_judge_streams(seen, lines, heartbeat)]
    return [Violation(kind="outage", what=f"store {seen.how}: {what}") for what in wrong]


def _judge_readiness(seen: Outage) -> Iterator[str]:
    red, green = seen.red_after, seen.green_after
    if red is None or red > RED_WITHIN:
        yield f"not every node said within {RED_WITHIN:g} s that it is not ready ({red} s)"
    else:
        early = [each for each in seen.sights if seen.begun + red < each.at < seen.over and each.is_ready]
        yield from (f"node {each.node} said that it is ready, {each.at - seen.begun:.1f} s into it" for each in early)
    if green is None or green > GREEN_WITHIN:
        yield f"not every node said within {GREEN_WITHIN:g} s after the return that it is ready ({green} s)"


def _judge_answers(answers: Sequence[Answer], wait: float) -> Iterator[str]:
    for answer in answers:
        if answer.status != 503:
            yield f"publishing was answered with {answer.status}"
        elif not (answer.retry_after or "").isdigit():
            yield f"a refusal to publish has Retry-After {answer.retry_after!r}"
        elif not 0.5 * wait <= answer.took <= wait + LATE:
            yield f"a refusal to publish took {answer.took:.1f} s, where {wait:g} s are configured"


def _judge_streams(seen: Outage, lines: Iterable[StreamLine], heartbeat: float) -> Iterator[str]:
    """Streams that were open when it began neither end nor fall silent before it is over."""
    is_open: set[int] = set()
    beats: dict[int, list[float]] = defaultdict(list)
    for line in lines:
        match line:
            case Hello(stream=stream, at=at) if at < seen.begun:
                is_open.add(stream)
            case Ended(stream=stream, at=at) if at < seen.begun:
                is_open.discard(stream)
            case Ended(stream=stream, at=at) if at < seen.until and stream in is_open:
                yield f"stream {stream} ended ({line.why}) {at - seen.begun:.1f} s into it"
                is_open.discard(stream)
            case Beat(stream=stream, at=at) if seen.begun < at < seen.over:
                beats[stream].append(at)
            case _:
                pass
    for stream in sorted(is_open):
        times = [seen.begun, *beats[stream], seen.over]
        silence = max(later - earlier for earlier, later in pairwise(times))
        if silence > 2 * heartbeat + LATE:
            yield f"stream {stream} heard no heartbeat for {silence:.1f} s"
