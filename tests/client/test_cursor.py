"""Where a subscriber's place is kept."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.client import FileCursor
from headwater.client.cursor import Place
from headwater.errors import ConfigurationError
from tests.client.scripted import World


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that does not exist yet."""
    return tmp_path / "place"


def test_no_file_is_no_place(path: Path) -> None:
    """Before the first save there is nothing to resume from."""
    assert FileCursor(path).load() is None


@pytest.mark.parametrize("id", ["e1-5", "größe 7", "x" * 1024])
def test_a_place_is_kept(path: Path, id: str) -> None:
    """What was saved last is loaded, by another object, too; nothing else is left in the directory."""
    FileCursor(path).save("e1-1")
    FileCursor(str(path)).save(id)
    assert FileCursor(path).load() == id
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("content", [b"", b"\n", b"a\nb\n", b"\xff", b"a\0", b"x" * 2000, b"\x1b[2J"])
def test_another_file_is_refused(path: Path, content: bytes) -> None:
    """A file that holds no id is not taken for one of ours, and the error names it."""
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="place cannot be used"):
        FileCursor(path).load()


@pytest.mark.parametrize("id", ["", "a\nb", "a\tb", "\x1b[2J", pytest.param("x" * 1025, id="long")])
def test_an_id_that_would_not_be_loaded_is_not_saved(path: Path, id: str) -> None:
    """Ids are the server's. One that the file cannot hold is an error when it comes, and not at the program's next start."""
    FileCursor(path).save("e1-1")
    with pytest.raises(ConfigurationError, match="does not fit"):
        FileCursor(path).save(id)
    assert FileCursor(path).load() == "e1-1"


def test_a_directory_is_refused(path: Path) -> None:
    """A path that cannot be read or replaced is a mistake in the configuration; nothing is left behind."""
    path.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        FileCursor(path).load()
    with pytest.raises(ConfigurationError, match="cannot be used"):
        FileCursor(path).save("e1-1")
    assert os.listdir(path.parent) == [path.name]


def test_a_missing_directory_is_refused(path: Path) -> None:
    """The directory must exist."""
    with pytest.raises(ConfigurationError, match="cannot be used"):
        FileCursor(path / "deeper").save("e1-1")


def noted(name: str, function: Callable[..., None], calls: list[str]) -> Callable[..., None]:
    """`function`, with its calls noted."""

    def call(*args: Any) -> None:
        calls.append(name)
        function(*args)

    return call


def broken(fd: int) -> None:
    """A disk that is full."""
    raise OSError("no space left")


def test_the_old_place_stays_until_the_new_one_is_on_the_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new id is synced before it takes the name, and the directory after; when syncing fails, the old id is still
    there."""
    FileCursor(path).save("e1-1")
    calls: list[str] = []
    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name), calls))
    FileCursor(path).save("e1-2")
    assert calls == ["fsync", "replace", "fsync"]
    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(ConfigurationError, match="no space left"):
        FileCursor(path).save("e1-3")
    assert FileCursor(path).load() == "e1-2"
    assert os.listdir(path.parent) == [path.name]


class Recorded:
    """A cursor that notes what it is told, and in which thread."""

    def __init__(self, id: str | None = None) -> None:
        self.id = id
        self.saved: list[str] = []
        self.threads: set[int] = set()

    def load(self) -> str | None:
        """What it was made with."""
        self.threads.add(threading.get_ident())
        return self.id

    def save(self, id: str) -> None:
        """Note `id`."""
        self.threads.add(threading.get_ident())
        self.saved.append(id)


async def test_a_place_is_saved_once() -> None:
    """Saving what is saved already does nothing; neither does saving before there is a place."""
    cursor = Recorded()
    place = Place(cursor, World().runtime.clock)
    assert await place.load(None) is None
    await place.save()
    place.move("e1-1")
    await place.save()
    await place.save()
    assert cursor.saved == ["e1-1"]


async def test_a_place_never_moves_to_nothing() -> None:
    """An event without an id leaves the place where it is."""
    place = Place(None, World().runtime.clock)
    place.move("e1-1")
    place.move(None)
    place.move("")
    await place.save()
    assert place.id == "e1-1"


async def test_what_is_kept_comes_before_the_default() -> None:
    """The default is for the first run only."""
    assert await Place(Recorded("e1-7"), World().runtime.clock).load("e1-1") == "e1-7"
    assert await Place(Recorded(), World().runtime.clock).load("e1-1") == "e1-1"
    assert await Place(None, World().runtime.clock).load("e1-1") == "e1-1"


async def test_saving_may_be_spared_for_a_while() -> None:
    """With events at hand the place is saved once in a while and not for each."""
    world = World()
    cursor = Recorded()
    place = Place(cursor, world.runtime.clock)
    for number in range(5):
        place.move(f"e1-{number}")
        await place.save(within=1.0)
        world.now += 0.4
    assert cursor.saved == ["e1-3"]


async def test_cursors_are_called_in_a_thread() -> None:
    """A slow disk or database does not hold up the loop."""
    cursor = Recorded()
    place = Place(cursor, World().runtime.clock)
    await place.load(None)
    place.move("e1-1")
    await place.save()
    assert threading.get_ident() not in cursor.threads


async def test_cursors_are_called_one_at_a_time() -> None:
    """Two saves at once become one after the other, and the later does not write an older id."""
    cursor = Recorded()
    place = Place(cursor, World().runtime.clock)
    place.move("e1-1")
    first = asyncio.ensure_future(place.save())
    second = asyncio.ensure_future(place.save())
    await asyncio.gather(first, second)
    assert cursor.saved == ["e1-1"]
