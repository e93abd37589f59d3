"""One connection to Redis: replies find those who asked, whatever the other end does."""

from __future__ import annotations

import asyncio
import gc
import select
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headwater.brokers.redis.line import Line, Refused
from headwater.errors import BrokerUnavailable
from tests.support.proxy import proxying
from tests.support.redis import SharedServers

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def peer(handle: Handler) -> AsyncIterator[int]:
    """A server that does with its one connection what the test wants; its port."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        finally:
            writer.transport.abort()
            done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
        await done.wait()
    finally:
        server.close()


async def read_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take everything, and answer nothing."""
    await reader.read()


@asynccontextmanager
async def to_redis(servers: SharedServers, patience: float = 30) -> AsyncIterator[Line]:
    """A connection to a real server."""
    line = await Line.open(("127.0.0.1", servers.server().port), patience, None)
    try:
        yield line
    finally:
        line.close()
        await line.closed


async def test_replies_come_to_those_who_asked(redis_servers: SharedServers) -> None:
    """Also when many ask at once, and when one of them has gone meanwhile."""
    async with to_redis(redis_servers) as line:
        futures = [line.request("ECHO", str(number)) for number in range(100)]
        futures[50].cancel()
        assert [await future for future in futures if not future.cancelled()] == [
            str(number).encode() for number in range(100) if number != 50
        ]
        assert await line.ask("ECHO", b"\x00\r\n") == b"\x00\r\n"


async def test_an_error_reply_is_an_error(redis_servers: SharedServers) -> None:
    """With its code."""
    async with to_redis(redis_servers) as line:
        with pytest.raises(Refused, match="unknown command") as raised:
            await line.ask("NONSENSE")
        assert raised.value.code == "ERR"
        assert isinstance(await line.request("NONSENSE"), Refused)
        assert await line.ask("PING") == b"PONG"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("OOM command not allowed", "OOM"),
        ("ERR Error running script (call to f_1): @user_script:1: @user_script: 1: -OOM command not allowed", "OOM"),
        ("ERR Error running script (call to f_1): @user_script:1: WRONGTYPE Operation against", "WRONGTYPE"),
        ("ERR unknown command", "ERR"),
    ],
)
def test_the_code_of_an_error_within_a_script_is_found(text: str, code: str) -> None:
    """Redis 6 wraps it into another one."""
    assert Refused(text).code == code


async def test_pushes_are_no_replies(redis_servers: SharedServers) -> None:
    """With RESP3 Redis may announce something to whoever asks something else."""
    async with to_redis(redis_servers) as line:
        await line.ask("HELLO", 3)
        await line.ask("CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "pushes-are-no-replies")
        await line.ask("SET", "pushes-are-no-replies", "1")
        assert await line.ask("PING") == b"PONG"


@pytest.mark.parametrize("protocol", [2, 3])
async def test_a_listener_gets_what_one_read_brought(redis_servers: SharedServers, protocol: int) -> None:
    """In order, and in the same form in both protocols."""
    async with to_redis(redis_servers) as line, to_redis(redis_servers) as other:
        await line.ask("HELLO", protocol)
        brought: list[Sequence[Any]] = []
        news = asyncio.Event()

        def take(messages: Sequence[Any]) -> None:
            brought.append(messages)
            news.set()

        line.listen(take, lambda _: None)
        name = f"listener-{protocol}"
        line.send("SUBSCRIBE", name, f"{name}-2")
        await news.wait()
        assert [message for messages in brought for message in messages] == [
            [b"subscribe", name.encode(), 1],
            [b"subscribe", f"{name}-2".encode(), 2],
        ]
        news.clear()
        await other.ask("EVAL", "for i = 1, 3 do redis.call('PUBLISH', ARGV[1], i) end", 0, name)
        await news.wait()
        assert [list(message) for message in brought[-1]] == [
            [b"message", name.encode(), str(number).encode()] for number in (1, 2, 3)
        ]


async def test_a_listener_is_told_of_the_end_once(redis_servers: SharedServers) -> None:
    """And not when it has closed the connection itself."""
    for closes in (False, True):
        async with to_redis(redis_servers) as line:
            ends: list[Exception] = []
            line.listen(lambda _: None, ends.append)
            if closes:
                line.close()
            else:
                line.drop("went wrong")
            await line.closed
            line.send("PING")
            line.drop("again")
            await asyncio.sleep(0)
            assert len(ends) == (0 if closes else 1)
            assert closes or "went wrong" in str(ends[0])


async def test_who_listens_too_late_is_told_so(redis_servers: SharedServers) -> None:
    """The connection may have ended before."""
    async with to_redis(redis_servers) as line:
        line.drop("went wrong")
        await line.closed
        ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        line.listen(lambda _: None, ended.set_result)
        assert "went wrong" in str(await ended)


async def test_everyone_who_waits_hears_of_the_end() -> None:
    """The other end went away, in order or not."""

    async def take_some(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(5)

    async with peer(take_some) as port:
        line = await Line.open(("127.0.0.1", port), 30, None)
        futures = line.request_all([("PING",)] * 3)
        futures[1].cancel()
        for future in (futures[0], futures[2]):
            with pytest.raises(BrokerUnavailable, match=rf"Redis at 127.0.0.1:{port} closed the connection"):
                await future
        with pytest.raises(BrokerUnavailable, match="closed the connection"):
            await line.ask("PING")


async def test_an_answer_that_nobody_waits_for_any_more_is_missed_by_nobody(redis_servers: SharedServers) -> None:
    """When a pipeline is given up half-way, the event loop has nothing to complain of."""
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with to_redis(redis_servers) as line:
        line.request_all([("PING",)] * 3)
    gc.collect()
    assert not complaints


async def test_listeners_are_told_before_the_publisher(redis_servers: SharedServers) -> None:
    """What the publisher does with its reply must not keep its event from those who wait for it."""
    async with to_redis(redis_servers) as listener, to_redis(redis_servers) as line:
        loop = asyncio.get_running_loop()
        subscribed: asyncio.Future[None] = loop.create_future()
        was_answered: asyncio.Future[bool] = loop.create_future()

        def take(messages: Sequence[Any]) -> None:
            if messages[0][0] == b"message":
                was_answered.set_result(reply.done())
            else:
                subscribed.set_result(None)

        listener.listen(take, lambda _: None)
        listener.send("SUBSCRIBE", "told-first")
        await subscribed
        [reply] = line.request_all([("PUBLISH", "told-first", "news")], publishing=True)
        for connection in (line, listener):  # until both have something: then they are read in the order of its arrival
            select.select([connection._transport.get_extra_info("socket")], [], [])
        assert await was_answered is False
        assert await reply == 1


async def test_no_answer_in_time_is_the_end() -> None:
    """The clock runs while something is due, and begins anew with each answer."""

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(5)
        writer.write(b"+PONG\r\n")
        await reader.read()

    async with peer(answer_once) as port:
        line = await Line.open(("127.0.0.1", port), 0.05, None)
        first, second = line.request("PING"), line.request("PING")
        assert await first == b"PONG"
        with pytest.raises(BrokerUnavailable, match=r"gave no answer within 0\.05 s"):
            await second


async def test_a_quiet_connection_lives_on(redis_servers: SharedServers) -> None:
    """While nothing is due no clock runs."""
    async with to_redis(redis_servers, 0.5) as line:  # long enough for a busy machine to answer
        assert await line.ask("PING") == b"PONG"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(line.closed), 0.75)
        assert await line.ask("PING") == b"PONG"


async def test_what_is_no_redis_is_left() -> None:
    """Somebody else listens at that port."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        await reader.read()

    async with peer(greet) as port:
        line = await Line.open(("127.0.0.1", port), 30, None)
        with pytest.raises(BrokerUnavailable, match="brought what is not of Redis"):
            await line.ask("PING")


async def test_a_reply_that_nobody_asked_for_is_ignored() -> None:
    """As the one that a full server sends before it closes."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"-ERR max number of clients reached\r\n")
        await writer.drain()

    async with peer(refuse) as port:
        line = await Line.open(("127.0.0.1", port), 30, None)
        await line.closed
        assert not line.is_open


async def test_nobody_there_is_unavailable(redis_servers: SharedServers) -> None:
    """At once where the connection is refused, and after a while where nothing answers, as with TLS to a port without."""
    async with proxying(redis_servers.server().port) as proxy:
        await proxy.cut()
        with pytest.raises(BrokerUnavailable, match=f"Redis at 127.0.0.1:{proxy.port} cannot be reached"):
            await Line.open(("127.0.0.1", proxy.port), 30, None)
    async with peer(read_all) as port:
        context = ssl.create_default_context()
        with pytest.raises(BrokerUnavailable, match="cannot be reached: no answer"):
            await Line.open(("127.0.0.1", port), 0.05, context)


async def test_waiting_for_the_end_may_be_cancelled(redis_servers: SharedServers) -> None:
    """Without harm to whoever is told of it."""
    async with to_redis(redis_servers) as line:
        ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        line.listen(lambda _: None, ended.set_result)
        line.closed.cancel()
        line.drop("went wrong")
        assert "went wrong" in str(await ended)
        line.closed = asyncio.get_running_loop().create_future()
        line.closed.set_result(None)
