"""What tests of the debates share: the application in this process, with a debate that has just been opened.

Knows the application's routes; must not know its modules.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from examples.debates.app import MODERATE, create_app
from examples.debates.settings import Settings
from headwater.testing.asgi import StreamReply
from tests.examples.reading import SECRET, Api, bearer, data_of, running_app

ID = "550e8400-e29b-41d4-a716-446655440000"
DEBATE = f"/api/debates/{ID}"
STREAM = f"{DEBATE}/stream"
UTTERANCE = {"speaker": "pro", "content": "I disagree."}


def settings(folder: Path, **given: Any) -> Settings:
    """Settings for a folder; whoever speaks is done at once."""
    return Settings(**{"data": str(folder), "jwt_secret": SECRET, "speed": 1e9, **given})


@asynccontextmanager
async def debating(folder: Path) -> AsyncIterator[Api]:
    """The application, a moderator, and a debate without a script, which has just been opened."""
    async with running_app(create_app(settings(folder)), bearer(MODERATE)) as found:
        await found.made("/api/debates", {"id": ID, "topic": "Is this on?"})
        await found.made(f"{DEBATE}/phase", {"phase": "opening"})
        async with found.stream(STREAM) as stream:
            await open_to(stream)  # it is broadcast
        yield found


async def open_to(stream: StreamReply) -> dict[str, Any]:
    """Read up to the phase in which the debate is; returns what `connected` said."""
    first = data_of(await stream.message_of("connected"))
    await stream.message_of("phase_transition")
    assert isinstance(first, dict)
    return first
