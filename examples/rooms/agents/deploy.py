"""The deploy agent: everything the others made, packed, with checksums that are checked in the package itself.

Makes room.zip in a temporary folder and moves it to the room only when it is known to be good.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import tempfile
import zipfile
from pathlib import Path

from examples.rooms.agents.job import AgentFailed, Job, Metadata
from examples.rooms.logs import Level

FILES = ("story.md", "house.svg", "tour.py", "transcript.txt")
PACKAGE = "room.zip"
SUMS = "SHA256SUMS"


async def deploy(job: Job) -> Metadata:
    """Pack, verify, publish."""
    sums = {name: checksum((job.folder / name).read_bytes()) for name in FILES}
    for name, digest in sums.items():
        await job.say(
            Level.INFO, f"Adding {name}", {"sha256": digest[:16], "bytes": (job.folder / name).stat().st_size}
        )
    with tempfile.TemporaryDirectory(prefix="headwater-room-") as folder:
        package = Path(folder) / PACKAGE
        await asyncio.to_thread(pack, job.folder, package, sums)
        wrong = await asyncio.to_thread(broken, package)
        if wrong:
            raise AgentFailed(f"{wrong[0]} in {PACKAGE} does not match its checksum")
        await job.say(Level.INFO, f"Verified {len(sums)} checksums in {PACKAGE}")
        digest, size = checksum(package.read_bytes()), package.stat().st_size
        shutil.move(package, job.folder / PACKAGE)
    return {"file": PACKAGE, "bytes": size, "sha256": digest}


def checksum(data: bytes) -> str:
    """SHA-256, as `sha256sum` prints it."""
    return hashlib.sha256(data).hexdigest()


def pack(folder: Path, package: Path, sums: dict[str, str]) -> None:
    """Write the package: the files, and their checksums in a form that `sha256sum -c` reads."""
    with zipfile.ZipFile(package, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sums:
            archive.write(folder / name, name)
        archive.writestr(SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def broken(package: Path) -> list[str]:
    """Names in a package whose bytes are not what their checksum says."""
    with zipfile.ZipFile(package) as archive:
        lines = archive.read(SUMS).decode().splitlines()
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        return [name for name, digest in sums.items() if checksum(archive.read(name)) != digest]
