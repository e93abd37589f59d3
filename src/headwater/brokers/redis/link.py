"""The one place that makes connections to Redis, and knows to which of several servers.

Finds the master (directly, by asking Sentinels, by following where a cluster points), logs in, and enters the log: each new
connection checks that nothing this process knows of was lost. It must not know events, or what the scripts are for.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headwater.brokers.redis.address import Options, Target, tls_context
from headwater.brokers.redis.calls import Calls
from headwater.brokers.redis.line import Address, Line, Refused
from headwater.brokers.redis.refusals import explain
from headwater.brokers.redis.scripts import SCRIPTS
from headwater.errors import BrokerUnavailable, ConfigurationError

OLDEST_VERSION = (6, 2)
MAX_HOPS = 5  # times that a cluster may point to another node before we give up for now

_MOVED = re.compile(r"MOVED \d+ (.*):(\d+)\Z")


class Link:
    """Makes connections.

    Args:
        target: where to connect.
        options: how.
        calls: enters the log on each.

    Raises:
        ConfigurationError: a file of certificates cannot be read.
    """

    def __init__(self, target: Target, options: Options, calls: Calls) -> None:
        self._target = target
        self._options = options
        self._calls = calls
        self._tls = tls_context(target, options)
        self._hosts = list(target.hosts)  # the one that answered last comes first
        self._moved: Address | None = None  # where a cluster has pointed to
        self._lines: set[Line] = set()

    async def connect(self) -> Line:
        """A new connection for commands, on which the log was entered. May be cancelled.

        Raises:
            BrokerUnavailable: not now; another attempt may succeed. Nothing is tried twice here.
            ConfigurationError: not as things are set: a wrong password, a right that is missing, a Redis that is too old.
        """
        if self._target.master is not None:
            line = await self._enter_at(await self._ask_sentinels(self._target.master))
        else:
            line = await self._enter_anywhere()
        self._register(line)
        return line

    async def listen(self, take: Callable[[Sequence[Any]], None], ended: Callable[[Exception], None]) -> Line:
        """The same for pub/sub: nothing has been subscribed yet. Send `SUBSCRIBE` and `UNSUBSCRIBE` with `Line.send`; for
        `take` and `ended` see `Line.listen`."""
        line = await self.connect()
        line.listen(take, ended)
        return line

    def _register(self, line: Line) -> None:
        """A connection to another server than the others have makes those worthless: the log is not there any more."""
        for other in tuple(self._lines):
            if other.address != line.address:
                other.drop("is not where the log is any more")
        self._lines.add(line)
        line.closed.add_done_callback(lambda _: self._lines.discard(line))

    # -- where -----------------------------------------------------------------------------------------------------------

    async def _enter_anywhere(self) -> Line:
        if self._moved is not None:
            try:
                return await self._enter_at(self._moved)
            except BrokerUnavailable:
                self._moved = None  # any node of the cluster knows who has its place
        line: Line = await self._try_each(self._enter_at)
        return line

    async def _try_each(self, attempt: Callable[[Address], Any]) -> Any:
        """What the first host says with which `attempt` succeeds. None of several gets the time of the others: whoever opens
        the log waits for all of them together."""
        problem: BrokerUnavailable | None = None
        share = self._options.wait / len(self._hosts) if len(self._hosts) > 1 else None
        for host in tuple(self._hosts):
            try:
                async with asyncio.timeout(share):
                    result = await attempt(host)
            except TimeoutError:
                problem = problem or BrokerUnavailable(f"{host[0]}:{host[1]} gave no answer", retry_after=1)
            except BrokerUnavailable as error:
                problem = problem or error
            else:
                self._hosts.sort(key=lambda other, host=host: other != host)  # type: ignore[misc]
                return result
        assert problem is not None
        raise problem

    async def _ask_sentinels(self, master: str) -> Address:
        address: Address = await self._try_each(lambda host: self._ask_sentinel(host, master))
        return address

    async def _ask_sentinel(self, host: Address, master: str) -> Address:
        line = await Line.open(host, self._options.timeout, self._tls)
        try:
            await self._greet(line, self._options.sentinel_username, self._options.sentinel_password)
            found = await line.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master)
        except Refused as refused:
            raise explain(refused) from refused
        finally:
            line.close()
        if found is None:
            raise BrokerUnavailable(
                f"the Sentinel at {host[0]}:{host[1]} watches nothing called {master!r}",
                fix="correct the name in the broker's URL: redis+sentinel://host/name",
                retry_after=1,
            )
        return found[0].decode(), int(found[1])

    # -- handshake -------------------------------------------------------------------------------------------------------

    async def _enter_at(self, address: Address) -> Line:
        """A connection to this address, or to where it points."""
        for _ in range(MAX_HOPS):
            line = await Line.open(address, self._options.timeout, self._tls)
            try:
                await self._shake_hands(line)
            except Refused as refused:
                line.close()
                if (moved := _MOVED.match(str(refused))) is None:
                    raise explain(refused) from refused
                address = self._moved = moved[1] or address[0], int(moved[2])
            except BaseException:
                line.close()
                raise
            else:
                return line
        raise BrokerUnavailable("the nodes of the Redis cluster point to each other", retry_after=1)

    async def _shake_hands(self, line: Line) -> None:
        greeting = await self._greet(line, self._target.username, self._target.password)
        _check_server(greeting, line.address)
        if self._target.db:
            await line.ask("SELECT", self._target.db)
        try:
            reply = await line.ask(*self._calls.enter())
        except Refused as refused:
            if refused.code != "NOSCRIPT":
                raise
            await load_scripts(line)
            reply = await line.ask(*self._calls.enter())
        line.life = self._calls.entered(reply).life

    async def _greet(self, line: Line, username: str | None, password: str | None) -> Mapping[bytes, Any]:
        login = ("AUTH", username or "default", password or "") if username or password else ()
        try:
            reply = await line.ask("HELLO", self._options.protocol, *login, "SETNAME", "headwater")
        except Refused as refused:
            if "unknown command" in str(refused):
                raise _too_old("older than 6") from None  # what was refused repeats the password
            raise
        return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


async def load_scripts(line: Line) -> None:
    """Give Redis all the scripts.

    Raises:
        Refused, BrokerUnavailable: see `Line.ask`.
    """
    for future in line.request_all([("SCRIPT", "LOAD", script.text) for script in SCRIPTS.values()]):
        if isinstance(reply := await future, Refused):
            raise reply


def _check_server(greeting: Mapping[bytes, Any], address: Address) -> None:
    version = greeting[b"version"].decode()
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST_VERSION:
        raise _too_old(version)
    if greeting[b"mode"] == b"sentinel":
        raise ConfigurationError(
            f"the server at {address[0]}:{address[1]} is a Sentinel",
            expected="redis+sentinel://host/name, with the name of what it watches",
        )
    # A replica in a cluster points to its master by itself.
    if greeting[b"role"] != b"master" and greeting[b"mode"] != b"cluster":
        raise BrokerUnavailable(
            f"the Redis at {address[0]}:{address[1]} is a replica",
            fix="connect to the master, or through Sentinel",
            retry_after=1,
        )


def _too_old(version: str) -> ConfigurationError:
    return ConfigurationError(f"this Redis is {version}", expected="Redis 6.2 or later, or Valkey")
