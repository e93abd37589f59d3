"""How long an event takes from a publisher through Redis and a node to a stream, against Redis' own pub/sub.

Every burst follows one of the same size and pace through pub/sub, on the same Redis and the same cores: the node stands where
the floor's subscriber stands, with a core of its own; Redis, the publisher and the load generator share the other.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import median

from bench.generator import Answer, Generator
from bench.process import GENERATOR_CORE, SERVER_CORE, Server
from bench.redis.payload import Times
from bench.redis.publisher import CHANNEL
from bench.redis.server import running_redis
from bench.scenarios import Plan, checked, running
from bench.systems.headwater import headwater
from bench.worker import Worker

STREAMS = 1000
RATE = 200
"""Events per second, each of which goes to all the streams: somewhat more than an application had that watched a thousand
users and wanted every event on their screens within 100 ms."""

_PACE = 0.004  # seconds between events that are measured one at a time
_WARM = 50


@dataclass(frozen=True, kw_only=True)
class Latency:
    """From just before publishing to the reading of the event by a subscriber.

    Attributes:
        floor: PUBLISH in one process, a redis-py subscriber in another.
        one: append in one process, Redis, a node, one stream.
        one_ratio: of its median to the floor's, typical of the pairs.
        posted, posted_ratio: the same with a POST to another node in place of the append.
        many: as `one`, with 1,000 streams and 200 events per second that all of them receive.
        many_cpu_us: the node's CPU per delivery under that load.
        many_busy: share of its core that the node used.
        stream_bytes: read from a stream's socket per event.
        node_memory: resident, of a node without streams, in bytes.
    """

    floor: Times
    one: Times
    one_ratio: float
    posted: Times
    posted_ratio: float
    many: Times
    many_cpu_us: float
    many_busy: float
    stream_bytes: float
    node_memory: float


class Numbers:
    """Numbers for events, none of them used twice."""

    def __init__(self) -> None:
        self._next = 1

    def take(self, count: int) -> int:
        """The first of so many."""
        first = self._next
        self._next += count
        return first


Burst = Callable[[int], Times]
"""So many events, one at a time."""


def latency(plan: Plan) -> Latency:
    """Measure all of it.

    Raises:
        ScenarioFailed: an event did not arrive exactly once.
        ServerFailed, WorkerFailed: a process did not start, or ended.
    """
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis(GENERATOR_CORE))
        other, _unused = stack.enter_context(running(headwater(redis.url)))
        node, generator = stack.enter_context(running(headwater(redis.url)))

        def worker(name: str, *arguments: str, core: int = GENERATOR_CORE) -> Worker:
            return stack.enter_context(Worker(f"bench.redis.{name}", *arguments, core=core))

        subscriber = worker("subscriber", redis.url, CHANNEL, core=SERVER_CORE)
        log = worker("publisher", "log", redis.url)
        post = worker("publisher", "post", f"http://127.0.0.1:{other.port}")
        numbers = Numbers()
        checked(generator.open(1, window=1))
        floor = through_pubsub(subscriber, worker("publisher", "pubsub", redis.url))
        one, posted = (through_node(generator, publisher, numbers) for publisher in (log, post))
        rounds = paired([floor, one, posted], plan)
        memory = node.rss_bytes()
        checked(generator.open(STREAMS - 1, window=100))
        loads = [_load(node, generator, log, numbers, plan.load_seconds) for _ in range(plan.bursts + 1)][1:]
    return Latency(
        floor=typical([found[0] for found in rounds]),
        one=typical([found[1] for found in rounds]),
        one_ratio=median(found[1].p50_us / found[0].p50_us for found in rounds),
        posted=typical([found[2] for found in rounds]),
        posted_ratio=median(found[2].p50_us / found[0].p50_us for found in rounds),
        many=typical([load.times for load in loads]),
        many_cpu_us=median(load.cpu_us for load in loads),
        many_busy=median(load.busy for load in loads),
        stream_bytes=median(load.stream_bytes for load in loads),
        node_memory=memory,
    )


def paired(ways: list[Burst], plan: Plan) -> list[list[Times]]:
    """Rounds in which each way has one burst, after one to warm up."""
    for way in ways:
        way(_WARM)
    return [[way(plan.latency_events) for way in ways] for _ in range(plan.bursts)]


def typical(found: list[Times]) -> Times:
    """The median of each number."""
    return Times(median(times.p50_us for times in found), median(times.p99_us for times in found))


def through_pubsub(subscriber: Worker, publisher: Worker) -> Burst:
    """The floor."""
    subscriber.ask("ready")  # it has subscribed: what was published before would be waited for without end

    def burst(events: int) -> Times:
        subscriber.tell("receive", events=events)
        publisher.ask("paced", first=0, events=events, interval=_PACE)
        return Times(**subscriber.answer())

    return burst


def through_node(generator: Generator, publisher: Worker, numbers: Numbers) -> Burst:
    """To the streams that the load generator has open."""

    def burst(events: int) -> Times:
        answer = _received(generator, publisher, numbers.take(events), events, _PACE)
        return Times(answer.p50_us, answer.p99_us)

    return burst


@dataclass(frozen=True)
class _Load:
    times: Times
    cpu_us: float
    busy: float
    stream_bytes: float


def _load(node: Server, generator: Generator, publisher: Worker, numbers: Numbers, seconds: float) -> _Load:
    events, before = round(RATE * seconds), node.cpu_ns()
    answer = _received(generator, publisher, numbers.take(events), events, 1 / RATE, hurry=True)
    cpu = node.cpu_ns() - before
    return _Load(
        times=Times(answer.p50_us, answer.p99_us),
        cpu_us=cpu / answer.deliveries / 1e3,
        busy=cpu / 1e9 / answer.seconds,
        stream_bytes=answer.bytes / answer.deliveries,
    )


def _received(
    generator: Generator, publisher: Worker, first: int, events: int, interval: float, hurry: bool = False
) -> Answer:
    def publish() -> None:
        publisher.ask("paced", first=first, events=events, interval=interval, hurry=hurry)

    return checked(generator.listening(first, events, publish))
