"""`headwater doctor`: looks at the settings, this machine and a running hub, and says in plain words what is wrong.

Each check is a function that yields findings; the command prints them and ends with 1 if any of them must be mended.
Changes nothing but the log's probe channel. Must not serve.
"""

from __future__ import annotations

import asyncio
import resource
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

import msgspec

from headwater.auth import check_secure
from headwater.brokers import redacted
from headwater.brokers.base import Examinable, Finding, Grade
from headwater.cli.serve import make_hub, token_settings
from headwater.cli.settings import Settings, load
from headwater.errors import HeadwaterError
from headwater.server import self_check

FILES_PER_STREAM: Final = 1
SPARE_FILES: Final = 200  # the log, the listening socket, other requests' connections
MIN_SQLITE: Final = (3, 35, 0)  # RETURNING


def examine(
    environ: Mapping[str, str], file: Path | None, *, url: str | None, token: str | None, echo: Callable[[str], object]
) -> int:
    """Look at everything; print one line a finding; 0 if nothing must be mended, else 1."""
    findings = list(_all(environ, file, url, token))
    for finding in findings:
        echo(f"{finding.grade:5} {finding.text}")
    bad = sum(finding.grade is Grade.BAD for finding in findings)
    echo(f"{bad} to mend" if bad else "nothing to mend")
    return 1 if bad else 0


def _all(environ: Mapping[str, str], file: Path | None, url: str | None, token: str | None) -> Iterator[Finding]:
    try:
        settings = load({}, environ, file)
    except HeadwaterError as error:
        yield Finding(Grade.BAD, f"settings: {error}")
        return
    yield Finding(Grade.GOOD, "settings can be read")
    yield from security(settings)
    yield from machine(settings)
    yield from log(settings)
    if url is not None:
        yield from hub(url, token)


def security(settings: Settings) -> Iterator[Finding]:
    """Whether `headwater serve` would start."""
    try:
        check_secure(token_settings(settings), dev=settings.dev, host=settings.host)
    except HeadwaterError as error:
        yield Finding(Grade.BAD, f"security: {error}")
        return
    if settings.dev:
        yield Finding(Grade.NOTE, "security: development mode, every caller on this machine may do everything")
    else:
        yield Finding(Grade.GOOD, "security: tokens are required and can be checked")


def machine(settings: Settings) -> Iterator[Finding]:
    """Limits of the operating system, and versions."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = (settings.max_streams or 1_000_000) * FILES_PER_STREAM + SPARE_FILES
    if soft < wanted:
        yield Finding(
            Grade.NOTE,
            f"open files: {soft} allowed (at most {hard}), so at most about {max(0, soft - SPARE_FILES)} streams a process, "
            f"not {settings.max_streams}; raise it with ulimit -n or LimitNOFILE=, or lower max_streams",
        )
    else:
        yield Finding(Grade.GOOD, f"open files: {soft} allowed")
    if missing := self_check():
        yield Finding(Grade.NOTE, f"uvicorn: {', '.join(missing)} missing, so streams go the slower way through ASGI")
    else:
        yield Finding(Grade.GOOD, "uvicorn: streams can take their connections over")
    if settings.broker.startswith("sqlite") and sqlite3.sqlite_version_info < MIN_SQLITE:
        yield Finding(Grade.BAD, f"SQLite {sqlite3.sqlite_version} is too old: 3.35 is needed")


def log(settings: Settings) -> Iterator[Finding]:
    """Whether the log can be opened, written and read; then what its broker says of its store, if it can."""
    name = f"log {redacted(settings.broker)}"

    async def look() -> list[Finding]:
        hub = make_hub(settings)
        await hub.start()
        try:
            seconds = await hub.probe("$probe:doctor")
            found = [Finding(Grade.GOOD, f"{name}: a probe came back after {seconds * 1000:.1f} ms")]
            if isinstance(hub.broker, Examinable):
                found += await hub.broker.examine()
            return found
        finally:
            await hub.stop()

    try:
        yield from asyncio.run(look())
    except HeadwaterError as error:
        yield Finding(Grade.BAD, f"{name}: {error}")


def hub(url: str, token: str | None) -> Iterator[Finding]:
    """What a running hub says of itself."""
    shown = redacted(url.rstrip("/"))
    for path in ("/healthz", "/readyz", "/stats"):
        try:
            request = urllib.request.Request(url.rstrip("/") + path)
            if token:
                request.add_unredirected_header("Authorization", f"Bearer {token}")  # not for whoever it leads to
            with urllib.request.urlopen(request, timeout=10) as answer:
                body = answer.read(1 << 20)
        except (urllib.error.URLError, OSError, ValueError, HTTPException) as error:
            yield Finding(Grade.BAD, f"hub {shown}{path}: {redacted(str(error))}")
            continue
        yield Finding(Grade.GOOD, f"hub {shown}{path} answers")
        if path == "/stats":
            yield from _numbers_in(body, shown)


def _numbers_in(body: bytes, url: str) -> Iterator[Finding]:
    try:
        stats = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        yield Finding(Grade.BAD, f"hub {url}/stats: what answers there is no hub")
    else:
        yield from _numbers(stats)


def _numbers(stats: Mapping[str, object]) -> Iterator[Finding]:
    """What in a hub's statistics deserves a look."""
    if stats.get("lagging"):
        yield Finding(
            Grade.NOTE, f"{stats['lagging']} streams are lagging: their clients read more slowly than events come"
        )
    if stats.get("resets"):
        yield Finding(
            Grade.NOTE, f"resets were sent: {stats['resets']}; see docs/howto/resets.md for what each reason means"
        )
    if stats.get("rejections"):
        yield Finding(Grade.NOTE, f"requests were refused: {stats['rejections']}")
