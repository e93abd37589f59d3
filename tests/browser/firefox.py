"""Firefox from Debian, which Playwright cannot drive, over its own remote protocol (Marionette): JSON on a socket.

Knows the protocol's frames and the few commands that the tests need; must not know what they are about.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
from asyncio import StreamReader, StreamWriter
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.support.waiting import until

MAKE = """
    const [options, before] = arguments
    return import('/client.js').then(({ createClient }) => {
        const client = createClient(options)
        Object.assign(window, { client, record: before })
        client.on('*', ({ data }) => window.record.push(data))
        return new Promise((resolve) => {
            client.onStatus(({ state }) => state === 'open' && resolve(true))
            client.connect()
        })
    })
"""


class Firefox:
    """A running browser with one window after the other in hand; use `firefox`."""

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count(1)

    async def greet(self) -> None:
        """Begin the session."""
        await self._read()
        await self.ask("WebDriver:NewSession", capabilities={})
        await self.ask("WebDriver:SetTimeouts", script=30_000)

    async def ask(self, command: str, **parameters: Any) -> Any:
        """What a command comes to.

        Raises:
            AssertionError: it failed.
        """
        number = next(self._numbers)
        frame = json.dumps([0, number, command, parameters]).encode()
        self._writer.write(b"%d:%b" % (len(frame), frame))
        _, answered, error, result = await self._read()
        assert answered == number
        assert not error, error
        return result

    async def run(self, script: str, *arguments: Any) -> Any:
        """What a script in the page returns, or the promise that it returns."""
        return (await self.ask("WebDriver:ExecuteScript", script=script, args=list(arguments)))["value"]

    async def go(self, url: str) -> None:
        """Load a page in the window in hand."""
        await self.ask("WebDriver:Navigate", url=url)

    async def tab(self, url: str) -> str:
        """A new tab with a page, taken in hand; its handle."""
        handle = str((await self.ask("WebDriver:NewWindow", type="tab"))["handle"])
        await self.take(handle)
        await self.go(url)
        return handle

    async def take(self, handle: str) -> None:
        """Take another tab in hand."""
        await self.ask("WebDriver:SwitchToWindow", handle=handle)

    async def _read(self) -> Any:
        length = (await self._reader.readuntil(b":")).removesuffix(b":")
        return json.loads(await self._reader.readexactly(int(length)))


@asynccontextmanager
async def firefox(folder: Path) -> AsyncIterator[Firefox]:
    """A browser whose profile is in an empty folder."""
    path = shutil.which("firefox-esr")
    assert path, "there is no Firefox here; install it with: apt-get install firefox-esr"
    (folder / "user.js").write_text('user_pref("marionette.port", 0);\n')
    process = await asyncio.create_subprocess_exec(
        *(path, "--headless", "--marionette", "--no-remote", "--profile", str(folder)),
        stdout=DEVNULL,
        stderr=DEVNULL,
        env={**os.environ, "HOME": str(folder)},
        start_new_session=True,
    )
    try:
        port = folder / "MarionetteActivePort"
        await until(lambda: port.exists() and port.read_text().isdigit(), "Firefox to say its port")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port.read_text()))
        browser = Firefox(reader, writer)
        await browser.greet()
        yield browser
        writer.close()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
