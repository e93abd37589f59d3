"""What applications do, as numbers: how many listen to a channel, how often something happens there, how long they stay."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Workload:
    """One kind of application. Every size of it does the same per stream.

    Attributes:
        name, title: for files and for people.
        about: one sentence.
        audience: streams of one channel; None where the number of channels is fixed and everybody shares them.
        channels: that number, where it is fixed.
        per_stream: channels that one stream follows.
        rate: events per second and channel.
        event_bytes: of data.
        batch: events per append.
        session: seconds that a stream stays open.
        divisible: whether streams keep to parts of the channels, so that the parts can be different logs.
    """

    name: str
    title: str
    about: str
    audience: float | None = None
    channels: int | None = None
    per_stream: float = 1.0
    rate: float
    event_bytes: int
    batch: int = 1
    session: float
    divisible: bool

    def __post_init__(self) -> None:
        if (self.audience is None) == (self.channels is None):
            raise ValueError("a workload has either an audience per channel or a number of channels")
        if self.rate <= 0 or self.session <= 0 or self.batch < 1:
            raise ValueError("a workload has events, in batches of at least 1, and streams that stay open")

    def channels_of(self, streams: float) -> float:
        """How many channels so many streams have."""
        return self.channels or streams * self.per_stream / (self.audience or 1.0)

    def audience_of(self, streams: float) -> float:
        """How many of so many streams listen to one channel."""
        return self.audience or streams * self.per_stream / (self.channels or 1)


WORKLOADS = (
    Workload(
        name="rooms",
        title="Agent logs by room",
        about="3 people watch each room, whose agents write a line of 300 bytes every second; they stay for 20 minutes.",
        audience=3,
        rate=1.0,
        event_bytes=300,
        session=1200,
        divisible=True,
    ),
    Workload(
        name="debate",
        title="Debate broadcast",
        about="Everybody watches one debate: 5 events of 500 bytes a second; they stay for half an hour.",
        channels=1,
        rate=5.0,
        event_bytes=500,
        session=1800,
        divisible=False,
    ),
    Workload(
        name="notifications",
        title="Notifications per user",
        about="A channel for each user, 1.2 tabs each; an event of 400 bytes every 5 minutes; a tab stays for 10 minutes.",
        audience=1.2,
        rate=1 / 300,
        event_bytes=400,
        session=600,
        divisible=True,
    ),
    Workload(
        name="ticker",
        title="Price ticker",
        about="500 symbols change twice a second, published 100 at a time, 80 bytes each; a stream follows any 20 of them.",
        channels=500,
        per_stream=20,
        rate=2.0,
        event_bytes=80,
        batch=100,
        session=1800,
        divisible=False,
    ),
)
"""The applications that Headwater was first written for, and one that is all bandwidth."""
