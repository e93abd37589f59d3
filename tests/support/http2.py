"""A small HTTP/2 client that can end one stream of its connection, which ordinary clients do not."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived

from headwater.wire import Decoder, Message


class Http2Client:
    """One connection. Reads the event stream of one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.headers: dict[str, str] = {}
        self._reader = reader
        self._writer = writer
        self._h2 = H2Connection()
        self._h2.initiate_connection()
        self._decoder = Decoder()
        self._messages: list[Message] = []

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> int:
        """Send a GET; the stream's number."""
        number = self._h2.get_next_available_stream_id()
        fields = [(":method", "GET"), (":path", path), (":scheme", "http"), (":authority", "localhost")]
        fields += (headers or {}).items()
        self._h2.send_headers(number, fields, end_stream=True)
        self._writer.write(self._h2.data_to_send())
        return number

    async def message(self) -> Message:
        """The next message of the event stream."""
        async with asyncio.timeout(10):
            while not self._messages:
                await self._read()
        return self._messages.pop(0)

    async def _read(self) -> None:
        data = await self._reader.read(65536)
        assert data, "the server closed the connection"
        for event in self._h2.receive_data(data):
            if isinstance(event, ResponseReceived):
                self.headers = {_text(name): _text(value) for name, value in event.headers or []}
            elif isinstance(event, DataReceived):
                self._messages += self._decoder.feed(event.data or b"")
                if event.stream_id and event.flow_controlled_length:
                    self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        self._writer.write(self._h2.data_to_send())

    def reset(self, number: int) -> None:
        """End one stream (RST_STREAM); the connection stays."""
        self._h2.reset_stream(number, error_code=8)  # CANCEL
        self._writer.write(self._h2.data_to_send())


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


@asynccontextmanager
async def http2(url: str, tls: ssl.SSLContext | None = None) -> AsyncIterator[Http2Client]:
    """A connection to the host and port of `url`: over TLS, or with prior knowledge that it speaks HTTP/2."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=tls)
    if tls is not None:
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
    try:
        yield Http2Client(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()
