"""Where a subscriber keeps its place between runs. Knows files and ids; must not know connections.

The place is that of the last event the consumer has finished with, so after a crash the event it was working on comes again:
at least once, never lost. Make the work idempotent by the event's id where that matters.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from headwater.errors import ConfigurationError

SAVE_EVERY = 1.0
"""Seconds after which a place is saved although more events are at hand. With none at hand it is saved at once."""

_MAX_LENGTH = 1024


class Cursor(Protocol):
    """A place to keep one id. Both methods may block; they are called in a thread, never two at once."""

    def load(self) -> str | None:
        """The id kept; None if there is none yet."""

    def save(self, id: str) -> None:
        """Keep `id` in place of the one before. When this returns it survives a crash."""


class FileCursor:
    """Keeps the id in a file of its own, which at any moment holds either the old id or the new one, whole.

    Args:
        path: the file; its directory must exist. Two subscriptions must not share one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def load(self) -> str | None:
        """The id in the file; None if there is no file.

        Raises:
            ConfigurationError: the file is not one of ours, or cannot be read.
        """
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise self._unusable(str(error)) from error
        id = text.removesuffix("\n")
        if not _may_be_kept(id):
            raise self._unusable("it holds no id")
        return id

    def save(self, id: str) -> None:
        """Replace the file. The new one is written beside it and on the disk before it takes the name, and the name is on
        the disk before this returns.

        Raises:
            ConfigurationError: the file cannot be written, or the id is none that `load` would take; the file is as before.
        """
        if not _may_be_kept(id):
            raise self._unusable(f"the id {id[:80]!r} of {len(id)} characters does not fit one line of it")
        try:
            self._replace(f"{id}\n".encode())
        except OSError as error:
            raise self._unusable(str(error)) from error

    def _replace(self, data: bytes) -> None:
        descriptor, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise
        _sync_directory(self.path.parent)

    def _unusable(self, why: str) -> ConfigurationError:
        return ConfigurationError(
            f"the cursor file {self.path} cannot be used: {why}",
            fix="name a file that this program may read and replace, or delete it to begin anew",
        )


def _may_be_kept(id: str) -> bool:
    return 0 < len(id) <= _MAX_LENGTH and id.isprintable()


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Place:
    """How far the consumer has come, and how much of that is saved.

    Args:
        cursor: where it is kept; None to keep it in memory only.
        clock: seconds that only grow.

    Attributes:
        id: the last id that was dealt with; None before the first.
    """

    def __init__(self, cursor: Cursor | None, clock: Callable[[], float]) -> None:
        self.id: str | None = None
        self._cursor = cursor
        self._clock = clock
        self._saved: str | None = None
        self._saved_at = clock()
        self._writing = asyncio.Lock()

    async def load(self, default: str | None) -> str | None:
        """The id to begin after: the one kept, else `default`."""
        if self._cursor is not None:
            self.id = self._saved = await asyncio.to_thread(self._cursor.load)
        if self.id is None:
            self.id = default
        return self.id

    def move(self, id: str | None) -> None:
        """`id` is dealt with. An event without an id moves nothing."""
        self.id = id or self.id

    async def save(self, *, within: float = 0.0) -> None:
        """Save the place, unless it is saved already or was less than `within` seconds ago."""
        if self._cursor is None or self._clock() - self._saved_at < within:
            return
        async with self._writing:
            id = self.id
            if id is None or id == self._saved:
                return
            await asyncio.to_thread(self._cursor.save, id)
            self._saved, self._saved_at = id, self._clock()
