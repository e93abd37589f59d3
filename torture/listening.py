"""One stream's client: connects, reads, sometimes slowly, leaves in bad manners, and comes back somewhere else.

A protocol of its own instead of a client library, so that two hundred of them cost little and can do what no library would.
Writes down everything it is sent; judges nothing. Knows HTTP and the event stream; must not know the log.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import time
import zlib
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from headwater import wire
from headwater.auth import mint
from headwater.errors import ProtocolError
from headwater.wire import Decoder, Message
from torture.plan import SECRET, Listener
from torture.polling import lines_of, poll
from torture.records import Beat, Closing, Ended, Hello, Journal, Opening, Reset, Seen

CONNECT_WITHIN = 5.0
ANSWER_WITHIN = 10.0
SILENCE = 20.0
"""Seconds without a byte, with heartbeats every second or two, after which a stream counts as silent."""

POLLS = 0.1
"""Share of the connections for which a client polls instead."""

_BACKOFF = 0.1
_MAX_BACKOFF = 2.0


class Manners(msgspec.Struct, frozen=True, kw_only=True):
    """How clients behave.

    Attributes:
        stay: seconds a connection lasts on average before its client leaves; 0 for never.
        polite: keep to the time to come back that the hub names.
    """

    stay: float = 8.0
    polite: bool = True


class Connection(asyncio.Protocol):
    """One connection: takes the chunks apart and hands the body on."""

    def __init__(self, client: Client) -> None:
        self.status = 0
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.last_byte = time.monotonic()
        self.transport: asyncio.Transport
        self._client = client
        self._buffer = bytearray()
        self._left = 0  # of the chunk being read, its line end included

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self.last_byte = time.monotonic()
        self._buffer += data
        if not self.status and not self._take_head():
            return
        try:
            self._take_chunks()
        except (ValueError, ProtocolError) as error:
            self.over(f"broken: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.over("lost")

    def over(self, why: str) -> None:
        """The connection is over, for the first reason given."""
        if not self.ended.done():
            self.ended.set_result(why)

    def _take_head(self) -> bool:
        head, blank, rest = self._buffer.partition(b"\r\n\r\n")
        if not blank:
            return False
        self.status = int(head[9:12])
        self._buffer = rest
        if self.status != 200:
            self.over(f"refused {self.status}")
        elif b"transfer-encoding: chunked" not in head.lower():
            self.over("broken: the body is not chunked")
        return True

    def _take_chunks(self) -> None:
        while not self.ended.done():
            if not self._left:
                size, line_end, rest = self._buffer.partition(b"\r\n")
                if not line_end:
                    return
                self._buffer = rest
                self._left = int(size, 16) + 2
                if self._left == 2:
                    self.over("whole")
                    return
            piece = bytes(self._buffer[: self._left])
            if not piece:
                return
            del self._buffer[: len(piece)]
            # The last two of a chunk are its line end.
            self._client.take(piece[: max(0, self._left - 2)])
            self._left -= len(piece)


class Client:
    """A stream over all of its connections.

    Args:
        listener: who it is.
        ports: of the nodes that run now, by their numbers; changed by whoever starts them.
        journal: takes what happens.
        seed: decides what it does.

    Attributes:
        decoder: knows the last event id.
        connections, events: how many so far.
        is_open: a connection has said `connected`.
    """

    def __init__(
        self, listener: Listener, ports: Mapping[int, int], journal: Journal, manners: Manners, seed: int
    ) -> None:
        self.decoder = Decoder()
        self.connections = self.events = 0
        self.is_open = False
        self.manners = manners
        self._listener = listener
        self._ports = ports
        self._journal = journal
        self._chance = random.Random(f"{seed} client {listener.number}")
        self._retry: int | None = None
        self._failures = 0
        channels = [("channel", name) for name in listener.channels]
        self._target = f"/events?{urlencode([*channels, ('since', listener.since)])}"
        self._token = mint(
            SECRET, sub=f"s{listener.number}", subscribe=["**"], permissions=sorted(listener.permissions), ttl=86400
        )

    async def live(self) -> None:
        """Connect, again and again."""
        while True:
            if not self._ports:
                await asyncio.sleep(_BACKOFF)
                continue
            node = self._chance.choice(sorted(self._ports))
            cursor = self.decoder.last_event_id
            self._journal.put(Opening(self._listener.number, time.monotonic(), node, cursor))
            self.connections += 1
            self._retry = None
            polls = cursor and self.manners.stay and self._chance.random() < POLLS
            was_open, why = await (self._poll if polls else self._connect)(self._ports[node])
            self.is_open = False
            self.decoder.close()
            self._journal.put(Ended(self._listener.number, time.monotonic(), why))
            self._failures = 0 if was_open else self._failures + 1
            await asyncio.sleep(self._wait(why))

    def take(self, piece: bytes) -> None:
        """Read a part of the body."""
        number, now = self._listener.number, time.monotonic()
        for message in self.decoder.feed(piece):
            self._journal.put(self._line(number, now, message))
        if piece == wire.COMMENT and self.decoder.last_event_id:  # the heartbeat of a stream that is behind
            self._journal.put(Beat(number, now, self.decoder.last_event_id))

    def _line(self, number: int, now: float, message: Message) -> Hello | Seen | Beat | Reset | Closing:
        match message.type:
            case "connected":
                self.is_open = True
                cursor = str(msgspec.json.decode(message.data)["cursor"])
                return Hello(number, now, cursor, message.id)
            case "heartbeat":
                return Beat(number, now, message.id)
            case "reset":
                return Reset(number, now, str(msgspec.json.decode(message.data)["reason"]), message.id)
            case "closing":
                self._retry = message.retry
                reason = str(msgspec.json.decode(message.data)["reason"])
                return Closing(number, now, reason, message.id, message.retry)
        self.events += 1
        return Seen(number, message.id, message.channel, message.type, zlib.crc32(message.data.encode()))

    async def _connect(self, port: int) -> tuple[bool, str]:
        """One connection from beginning to end; whether it was ever open, and why it ended."""
        try:
            async with asyncio.timeout(CONNECT_WITHIN):
                connection = await self._open(port)
        except (OSError, TimeoutError):
            return False, "unreachable"
        try:
            connection.transport.write(self._request())
            why = await self._stay(connection)
        finally:
            self._leave(connection)
        return self.is_open, why

    async def _open(self, port: int) -> Connection:
        sock = socket.socket()
        sock.setblocking(False)
        if self._listener.slow:
            # Segments of a real network, or the kernel's timers would decide how fast a small window drains.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_connect(sock, ("127.0.0.1", port))
            _, connection = await loop.create_connection(lambda: Connection(self), sock=sock)
        except BaseException:
            sock.close()
            raise
        return connection

    async def _poll(self, port: int) -> tuple[bool, str]:
        """A poll instead of a connection."""
        answer = await poll(port, self._target, self._headers())
        if isinstance(answer, str):
            return False, answer
        for line in lines_of(self._listener, answer):
            self._journal.put(line)
        self.events += len(answer.events)
        self.decoder.last_event_id = answer.cursor
        return True, "polled"

    def _headers(self) -> dict[str, str]:
        cursor = self.decoder.last_event_id
        return {"Authorization": f"Bearer {self._token}", **({"Last-Event-ID": cursor} if cursor else {})}

    def _request(self) -> bytes:
        headers = [f"{name}: {value}" for name, value in self._headers().items()]
        lines = [f"GET {self._target} HTTP/1.1", "Host: torture", *headers]
        return "\r\n".join([*lines, "", ""]).encode()

    async def _stay(self, connection: Connection) -> str:
        """Until the connection ends, or its client has had enough of it."""
        loop = asyncio.get_running_loop()
        until = loop.time() + (self._chance.expovariate(1 / self.manners.stay) if self.manners.stay else 1e9)
        while True:
            pause = self._chance.uniform(0.5, 3.0) if self._listener.slow and self.manners.stay else 0.0
            if pause:
                connection.transport.pause_reading()
                await asyncio.wait([connection.ended], timeout=pause)
                connection.last_byte = time.monotonic()
                if not connection.transport.is_closing():
                    connection.transport.resume_reading()
            await asyncio.wait([connection.ended], timeout=max(0.0, min(1.0, until - loop.time())))
            if connection.ended.done():
                return connection.ended.result()
            if self.manners.stay and loop.time() >= until:
                return "left"
            silent = time.monotonic() - connection.last_byte
            if silent > (SILENCE if connection.status else ANSWER_WITHIN):
                return "silent" if connection.status else "unanswered"

    def _leave(self, connection: Connection) -> None:
        """Close, politely or not."""
        connection.over("left")  # nothing more is taken
        if not connection.transport.is_closing():
            if self._chance.random() < 0.5:
                linger = struct.pack("ii", 1, 0)
                connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            connection.transport.abort()

    def _wait(self, why: str) -> float:
        """Seconds before the next connection."""
        if self._retry is not None and self.manners.polite:
            return self._retry / 1000
        if why in ("left", "polled"):
            return self._chance.choice((0.0, 0.0, self._chance.uniform(0, 1)))
        most: float = min(_MAX_BACKOFF, _BACKOFF * 2.0 ** min(self._failures, 10))
        return self._chance.uniform(0, most)
