"""The workflows: a few steps of real work each, with the files of one folder.

There is none that runs what somebody typed. Knows files; must not know events, users or databases. Steps are plain
functions, for a thread: they hash and compress.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

KEPT: Final = 3
"""Archives that are kept."""

MAX_FILES: Final = 500
MAX_BYTES: Final = 64 << 20
"""Of all files together."""

MANIFEST: Final = "MANIFEST.json"
"""Checksums of an archive's files, at its beginning."""

SAMPLES: Final = {
    "handbook.txt": "How we work\n\n"
    + "".join(f"{n}. Tell people what concerns them, and nobody else.\n" for n in range(1, 241)),
    "prices.csv": "article,price\n" + "".join(f"A-{1000 + n},{n * 7 % 97}.{n % 10}0\n" for n in range(800)),
    "minutes.txt": "Minutes\n\n"
    + "".join(f"{9 + n // 60:02}:{n % 60:02} Item {n + 1} was agreed on.\n" for n in range(90)),
}
"""What the folder begins with."""


class WorkflowFailed(Exception):
    """The work was done, and what it found is not good."""


class Bench:
    """What the steps of one run work with.

    Attributes:
        files: the folder.
        archives: the folder for archives of it.
        sums: checksums by name, once they were made.
        archive: the one that was written or found.
    """

    def __init__(self, files: Path, archives: Path) -> None:
        self.files = files
        self.archives = archives
        self.sums: dict[str, str] = {}
        self.archive = archives / "none"


Work = Callable[[Bench], str]
"""One step; returns what it found, in a few words. Raises WorkflowFailed, OSError."""


class Step(msgspec.Struct, frozen=True):
    """A step: what people call it, and its work."""

    title: str
    work: Work


class Workflow(msgspec.Struct, frozen=True):
    """Steps, one after the other; what the last one says is the result."""

    name: str
    title: str
    description: str
    steps: tuple[Step, ...]

    def shown(self) -> dict[str, Any]:
        """As clients get it."""
        steps = [step.title for step in self.steps]
        return {"name": self.name, "title": self.title, "description": self.description, "steps": steps}


def prepare(files: Path, archives: Path) -> None:
    """Make the folders; the first one with something in it."""
    archives.mkdir(parents=True, exist_ok=True)
    if not files.exists():
        files.mkdir(parents=True)
        for name, text in SAMPLES.items():
            (files / name).write_text(text, encoding="utf-8")


def archives_of(folder: Path) -> list[Path]:
    """The archives there are, oldest first."""
    return sorted(folder.glob("files-*.tar.gz"))


def contents(folder: Path) -> list[Path]:
    """The files to work with, by name. Links are none: they may lead anywhere.

    Raises:
        WorkflowFailed: there are too many, or they are too large.
    """
    found = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
    size = sum(path.stat().st_size for path in found)
    if len(found) > MAX_FILES or size > MAX_BYTES:
        raise WorkflowFailed(f"{len(found):,} files with {size:,} bytes are too much for a workflow")
    return found


def write_report(bench: Bench) -> str:
    """Name every file with its size, in another one."""
    lines = [
        f"{path.stat().st_size:>10,}  {path.name}\n" for path in contents(bench.files) if path.name != "report.txt"
    ]
    head = f"Files on {datetime.now(UTC):%Y-%m-%d at %H:%M:%S.%f} UTC\n\n"
    (bench.files / "report.txt").write_text(head + "".join(lines), encoding="utf-8")
    return f"report.txt names {_files(len(lines))}"


def list_files(bench: Bench) -> str:
    """See what there is."""
    found = contents(bench.files)
    if not found:
        raise WorkflowFailed("the folder is empty")
    return f"{_files(len(found))}, {sum(path.stat().st_size for path in found):,} bytes"


def checksum(bench: Bench) -> str:
    """Hash every file."""
    bench.sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in contents(bench.files)}
    return f"{_files(len(bench.sums))} hashed with SHA-256"


def compress(bench: Bench) -> str:
    """Put all files, and their checksums, into an archive, which has its name only once it is complete."""
    if not bench.sums:
        raise WorkflowFailed("the folder is empty")
    bench.archive = bench.archives / f"files-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}.tar.gz"
    partial = bench.archive.with_suffix(".partial")
    with tarfile.open(partial, "w:gz") as archive:
        manifest = msgspec.json.encode(bench.sums)
        entry = tarfile.TarInfo(MANIFEST)
        entry.size = len(manifest)
        archive.addfile(entry, io.BytesIO(manifest))
        for name in bench.sums:
            archive.add(bench.files / name, name, recursive=False)
    partial.rename(bench.archive)
    before = sum((bench.files / name).stat().st_size for name in bench.sums)
    after = bench.archive.stat().st_size
    return f"{before:,} bytes in {after:,}"


def clear_out(bench: Bench) -> str:
    """Remove archives that are too many."""
    for path in archives_of(bench.archives)[:-KEPT]:
        path.unlink()
    return f"{_files(len(bench.sums))} in {bench.archive.name}"


def find_archive(bench: Bench) -> str:
    """Take the newest archive."""
    found = archives_of(bench.archives)
    if not found:
        raise WorkflowFailed("there is no archive yet")
    bench.archive = found[-1]
    return bench.archive.name


def read_back(bench: Bench) -> str:
    """Read an archive to its last byte, and hash what is in it."""
    try:
        manifest, found = _read(bench.archive)
    except (OSError, EOFError, zlib.error, tarfile.TarError, msgspec.DecodeError, KeyError) as error:
        raise WorkflowFailed(f"{bench.archive.name} is damaged") from error
    if manifest != found:
        raise WorkflowFailed(f"{bench.archive.name} is not what was put into it")
    bench.sums = manifest
    return f"{_files(len(found))}, every checksum is right"


def _read(path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """An archive's manifest, and the checksums that its files have."""
    with gzip.open(path) as whole:
        while whole.read(1 << 20):  # past the end of the tar file, where gzip keeps a checksum of its own
            pass
    found: dict[str, str] = {}
    manifest = b""
    with tarfile.open(path) as archive:
        for entry in archive:
            file = archive.extractfile(entry)
            data = file.read() if file else b""
            if entry.name == MANIFEST:
                manifest = data
            else:
                found[entry.name] = hashlib.sha256(data).hexdigest()
    return msgspec.json.decode(manifest, type=dict[str, str]), found


def compare(bench: Bench) -> str:
    """Compare the files with what the archive has of them."""
    present = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in contents(bench.files)}
    if differences := list(_differences(bench.sums, present)):
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise WorkflowFailed(f"{', '.join(differences[:3])}{more} since {bench.archive.name} was written")
    return f"{_files(len(present))} as they were archived"


def _differences(before: dict[str, str], present: dict[str, str]) -> Iterator[str]:
    for name in sorted(before.keys() | present.keys()):
        if name not in present:
            yield f"{name} has gone"
        elif name not in before:
            yield f"{name} is new"
        elif before[name] != present[name]:
            yield f"{name} has changed"


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


WORKFLOWS: Final = {
    each.name: each
    for each in (
        Workflow(
            "report",
            "Write a report",
            "Names every file with its size, in a file of its own",
            (Step("Look at the files", list_files), Step("Write report.txt", write_report)),
        ),
        Workflow(
            "archive",
            "Archive the files",
            "Checksums and compresses everything, then reads it back",
            (
                Step("Look at the files", list_files),
                Step("Checksum them", checksum),
                Step("Compress them", compress),
                Step("Read the archive back", read_back),
                Step("Clear out old archives", clear_out),
            ),
        ),
        Workflow(
            "verify",
            "Verify the archive",
            "Fails if there is none, or if a file has changed since",
            (
                Step("Find the newest archive", find_archive),
                Step("Read it to its last byte", read_back),
                Step("Compare the files with it", compare),
            ),
        ),
    )
}
"""By the name that is part of URLs."""
