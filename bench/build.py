"""Builds what the suite runs, into .build/bench: the floor and the load generator with cc, better-sse with npm.

Knows compilers and package managers, and nothing of measuring. What cannot be built is a sentence, not a crash: the suite
leaves the system out and says why.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

SOURCES = Path(__file__).parent
BUILD = SOURCES.parent / ".build" / "bench"
FLOOR = BUILD / "floor"
LOADGEN = BUILD / "loadgen"
BETTER_SSE = BUILD / "better-sse"
BETTER_SSE_VERSION = "0.16.1"


class BuildFailed(Exception):
    """The floor or the load generator cannot be built, so nothing can be measured."""


def build_programs() -> None:
    """Compile floor.c and loadgen.c.

    Raises:
        BuildFailed: there is no C compiler, or it refused the code.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise BuildFailed("there is no C compiler; install one (apt-get install gcc libc6-dev)")
    BUILD.mkdir(parents=True, exist_ok=True)
    for program in (FLOOR, LOADGEN):
        source = SOURCES / f"{program.name}.c"
        done = subprocess.run([compiler, "-O2", "-o", program, source], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildFailed(f"{source.name} does not compile: {done.stderr.strip()}")


@cache
def better_sse_problem() -> str | None:
    """Install better-sse unless it is there; why it cannot be measured, or None."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return "Node.js and npm are not installed"
    if (BETTER_SSE / "node_modules" / "better-sse" / "package.json").exists():
        return None
    BETTER_SSE.mkdir(parents=True, exist_ok=True)
    options = ["--prefix", str(BETTER_SSE), "--ignore-scripts", "--no-audit", "--no-fund", "--no-save"]
    done = subprocess.run(
        [npm, "install", *options, f"better-sse@{BETTER_SSE_VERSION}"], capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else f"npm could not install it: {done.stderr.strip().splitlines()[-1:]}"
