"""The pulse: what flows through the hub, told twice a second to those who look at the home page, through the hub itself.

Knows the hub and channel names; must not know what any application publishes: events' data stay out of the pulse, because
whoever looks at the home page may not see them all. What agents and debaters say is for everybody here, and is told.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import msgspec

from examples.gallery.settings import PULSE
from examples.projects.projects import Projects
from headwater import Draft, Hub, Position
from headwater.errors import HeadwaterError
from headwater.hub import Subscription
from headwater.hub.start import After, Now

log = logging.getLogger("examples.gallery")

EVERY: Final = 0.5
"""Seconds between two beats."""

WINDOW: Final = 10.0
"""Seconds over which events per second are counted."""

HELD: Final = 30.0
"""Seconds for which the projects' hub is asked for something to come."""

AGAIN: Final = 0.5
"""Seconds after which it is asked again while it does not run."""

SHOWN: Final = 24
"""Events that one beat names; what comes faster is only counted."""


PUBLIC: Final = re.compile(r"(room|debate):[^:]+\Z")
"""Channels of which everybody here may read every word. What follows a debate's id is a channel of one window."""

APPLICATIONS: Final = frozenset({"room", "debate", "user", "everyone", "operations", "project"})
"""First parts of the names of channels of which the last event is remembered."""

WORDS: Final = 140
"""Characters of what was said that are told."""


class Passed(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that was published: where, as what, and what somebody said in it, if it is for everybody."""

    channel: str
    type: str
    text: str = ""


class Said(msgspec.Struct, frozen=True, rename="camel"):
    """As much of a line or an utterance as is told."""

    agent_type: str = ""
    speaker: str = ""
    message: str = ""
    content: str = ""

    def __str__(self) -> str:
        """Who says what; nothing, if it says nothing."""
        what = self.message or self.content
        return f"{self.agent_type or self.speaker}: {what}"[:WORDS] if what else ""


def passed(channel: str, type: str, data: str) -> Passed:
    """What may be told of an event."""
    if not PUBLIC.match(channel):
        return Passed(channel, type)
    try:
        return Passed(channel, type, str(msgspec.json.decode(data, type=Said)))
    except msgspec.DecodeError:  # somebody else's
        return Passed(channel, type)


class Beat(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the home page is told.

    Attributes:
        events: that were published since the last beat, oldest first.
        rate: events per second.
        streams: open now.
        published: events since the hub began.
        delivered: times that one of them was written to a stream.
        latency_ms: from acceptance to write, at the median.
    """

    events: Sequence[Passed]
    rate: float
    streams: int
    published: int
    delivered: int
    latency_ms: float


class GalleryHub(Hub):
    """A hub that notes what is published through it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.passed: deque[tuple[str, str, str]] = deque(maxlen=SHOWN)  # channels, types and data
        self.latest: dict[str, tuple[str, str, str]] = {}  # the last of each application
        self.times: deque[float] = deque(maxlen=10_000)
        self.own = 0  # beats, which are no news
        self.others = 0  # events of the projects' own hub

    async def publish_all(self, drafts: Sequence[Draft]) -> tuple[Position, ...]:
        """Append all events or none; returns their positions."""
        positions = await super().publish_all(drafts)
        for draft in drafts:
            if draft.channel != PULSE:
                self.note(draft.channel, draft.type, draft.data)
            else:
                self.own += 1
        return positions

    def note(self, channel: str, type: str, data: str = "") -> None:
        """Something was published."""
        self.passed.append((channel, type, data))
        if (kind := channel.partition(":")[0]) in APPLICATIONS:
            self.latest.pop(kind, None)  # the newest is the last
            self.latest[kind] = (channel, type, data)
        self.times.append(asyncio.get_running_loop().time())

    def beat(self) -> Beat:
        """What has passed since this was last asked."""
        events = [passed(*each) for each in self.passed]
        self.passed.clear()
        since = asyncio.get_running_loop().time() - WINDOW
        while self.times and self.times[0] < since:
            self.times.popleft()
        statistics = self.statistics()
        return Beat(
            events=events,
            rate=round(len(self.times) / WINDOW, 1),
            streams=statistics.streams,
            published=statistics.published - self.own + self.others,
            delivered=statistics.deliveries,
            latency_ms=statistics.latency_p50_ms,
        )


class Typed(msgspec.Struct):
    """As much of the projects' data as everybody may know."""

    type: str


@asynccontextmanager
async def overhearing(hub: GalleryHub, projects: Projects) -> AsyncIterator[None]:
    """Note what the database makes the projects' own hub say. Within the lifespans of both."""
    task = asyncio.create_task(_overhear(hub, projects), name="overhearing")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _overhear(hub: GalleryHub, projects: Projects) -> None:
    start: Now | After = Now()
    while True:
        try:
            other, _ = await projects.running()
            polled = await other.poll(Subscription(channels=tuple(projects.channels), start=start), HELD)
        except HeadwaterError:
            await asyncio.sleep(AGAIN)
            continue
        start = After(str(polled.end))
        for event in polled.events:
            hub.others += 1
            hub.note(event.channel, msgspec.json.decode(event.data, type=Typed).type)


@asynccontextmanager
async def beating(hub: GalleryHub) -> AsyncIterator[None]:
    """Publish the pulse while somebody listens to it. Within the hub's lifespan."""
    task = asyncio.create_task(_beat(hub), name="pulse")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _beat(hub: GalleryHub) -> None:
    while True:
        await asyncio.sleep(EVERY)
        if not hub.count(PULSE):
            hub.passed.clear()  # what nobody saw is no news to whoever comes next
            continue
        try:
            await hub.publish(PULSE, "beat", hub.beat())
        except HeadwaterError as error:
            log.warning("the pulse is skipped: %s", error)
