"""Where the numbers come from: the machine, the versions, and the limits that bound a run.

Knows how to ask a Linux machine about itself. Knows nothing of what is measured.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.build import BETTER_SSE_VERSION
from tests.support.postgres import VERSIONS, binaries

_SPARE_FILES = 300  # a server's own, beside its streams


def most_streams() -> int:
    """How many streams one process can hold, after raising the open-file limit as far as it goes."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 1_000_000 if hard == resource.RLIM_INFINITY else hard - _SPARE_FILES


class Company:
    """What else ran on the machine since this was made: other processes cost the systems under test caches and time."""

    def __init__(self) -> None:
        self._before = self._used()

    def share(self) -> float:
        """CPU time that neither this process nor anything it started and ended has used, as a share of all cores' time."""
        everyone, ours, elapsed = (now - then for now, then in zip(self._used(), self._before, strict=True))
        return max(0.0, everyone - ours) / (elapsed * (os.cpu_count() or 1))

    @staticmethod
    def _used() -> tuple[float, float, float]:
        fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        busy = sum(fields) - fields[3] - fields[4]  # all but idle and waiting for a disk
        own = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return busy / os.sysconf("SC_CLK_TCK"), sum(used.ru_utime + used.ru_stime for used in own), time.monotonic()


def describe() -> dict[str, str]:
    """The machine and the versions, as what a reader wants to know."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _said("git", "rev-parse", "--short", "HEAD"),
        "cpu": f"{_cpu()}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        **{name: _version(name) for name in ("uvicorn", "uvloop", "httptools", "sse-starlette", "fastapi")},
        "node": _said("node", "--version").removeprefix("v"),
        "better-sse": BETTER_SSE_VERSION,
        "nginx": _said("nginx", "-v").rpartition("/")[2],
        "nchan": _nchan(),
        "redis": (re.search(r"v=([\d.]+)", _said("redis-server", "--version")) or ["", "not installed"])[1],
        **{name: _version(package) for name, package in (("redis-py", "redis"), ("hiredis", "hiredis"))},
        "postgres": _postgres(),
        "psycopg": _version("psycopg"),
    }


def _said(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return "not installed"
    return (done.stdout or done.stderr).strip()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _nchan() -> str:
    found = re.search(r"^Version: (?:\d+:)?(.+)$", _said("dpkg", "-s", "libnginx-mod-nchan"), re.MULTILINE)
    return found[1] if found else "not installed"


def _postgres() -> str:
    try:
        return _said(str(binaries(max(VERSIONS)) / "postgres"), "--version").rpartition(" ")[2]
    except AssertionError:
        return "not installed"


def _cpu() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()
