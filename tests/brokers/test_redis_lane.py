"""A connection for commands: what is asked again, and what is not."""

from __future__ import annotations

import asyncio

import pytest

from headwater.brokers.redis.address import parse
from headwater.brokers.redis.calls import Calls
from headwater.brokers.redis.keys import Keys
from headwater.brokers.redis.lane import Lane
from headwater.brokers.redis.line import Line
from headwater.brokers.redis.link import Link
from headwater.errors import BrokerUnavailable, ConfigurationError
from tests.brokers.redis_stores import Place
from tests.support.redis import SharedServers, ask


def lane_to(url: str) -> Lane:
    """A lane, not yet connected."""
    target, options = parse(url)
    return Lane(Link(target, options, Calls(Keys(options.prefix), lambda _: None)))


async def test_a_broken_connection_is_replaced(place: Place) -> None:
    """Unless what was asked may not be done twice: the other end may have done it."""
    _, url = place
    lane = lane_to(url)
    assert await lane.ask(lambda: ("ECHO", "1")) == b"1"
    for is_safe in (True, False):
        line = await lane.line()
        asking = asyncio.create_task(lane.ask(lambda: ("ECHO", "2"), is_safe=is_safe))
        await asyncio.sleep(0)
        line.drop("broke")
        if is_safe:
            assert await asking == b"2"
        else:
            with pytest.raises(BrokerUnavailable, match="broke"):
                await asking
    await lane.aclose()


async def test_who_asks_meanwhile_shares_the_connection(place: Place) -> None:
    """There is one, however many find that there is none."""
    _, url = place
    lane = lane_to(url)
    one, other = await asyncio.gather(lane.line(), lane.line())
    assert one is other
    await lane.aclose()


async def test_a_new_connection_that_breaks_is_not_replaced(place: Place) -> None:
    """One attempt more is enough for those that were only old."""
    _, url = place
    lane = lane_to(url)
    asking = asyncio.create_task(lane.ask(lambda: ("ECHO", "1")))
    while lane._line is None:  # noqa: ASYNC110 (the very turn in which it is there)
        await asyncio.sleep(0)
    lane._line.drop("broke")
    with pytest.raises(BrokerUnavailable, match="broke"):
        await asking
    await lane.aclose()


async def test_an_error_is_explained(place: Place) -> None:
    """Also that of the second attempt; and a right that is missing to load scripts."""
    server, url = place
    lane = lane_to(url)
    with pytest.raises(BrokerUnavailable, match=r"refused a command.*unknown command"):
        await lane.ask(lambda: ("NONSENSE",))
    with pytest.raises(BrokerUnavailable, match="NOSCRIPT"):
        await lane.ask(lambda: ("EVALSHA", "0" * 40, 0))
    name = f"user-{url.rpartition('prefix=')[2].partition('&')[0]}"
    async with server.client() as client:
        await ask(client, "ACL", "SETUSER", name, "on", ">one", "~*", "&*", "+@all")
        other = lane_to(url.replace("redis://", f"redis://{name}:one@"))
        await other.line()
        await ask(client, "ACL", "SETUSER", name, "-script")
        with pytest.raises(ConfigurationError, match="may not do what a broker must"):
            await other.ask(lambda: ("EVALSHA", "0" * 40, 0))
        await ask(client, "ACL", "DELUSER", name)
        await other.aclose()
    await lane.aclose()


async def test_a_lane_that_is_closed_while_it_connects_leaves_nothing(
    redis_servers: SharedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that comes too late is closed, too."""
    lane = lane_to(redis_servers.url())
    connect, may_go = lane._link.connect, asyncio.Event()

    async def connect_late() -> Line:
        line = await connect()
        await may_go.wait()
        return line

    monkeypatch.setattr(lane._link, "connect", connect_late)
    asking = asyncio.create_task(lane.ask(lambda: ("PING",)))
    while not lane._link._lines:  # noqa: ASYNC110 (the very turn in which it is there)
        await asyncio.sleep(0)
    (line,) = lane._link._lines
    await lane.aclose()
    may_go.set()
    with pytest.raises(BrokerUnavailable, match="was left"):
        await asking
    await line.closed
    await lane.aclose()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await lane.line()
