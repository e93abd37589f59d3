"""Node and the programs of js/node_modules, as commands.

Knows where they are and how they fail; must not know what they are asked.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from tests.support.source import ROOT

JS = ROOT / "js"

NODE_TEST = ("node", "--no-warnings", "--test", "--test-reporter=tap", "--test-concurrency=2", "--test-force-exit")
"""Runs files of tests, two at a time, and does not wait for what they leave behind: a page forgets things later."""


def program(name: str) -> str:
    """A program of the JavaScript packages.

    Raises:
        AssertionError: it is not installed; with what installs it.
    """
    path = JS / "node_modules/.bin" / name
    assert path.exists(), f"there is no {name}: scripts/setup-js"
    return str(path)


async def printed(*words: str, cwd: Path = JS, env: Mapping[str, str] | None = None) -> str:
    """What a command prints.

    Args:
        env: variables added to ours.

    Raises:
        AssertionError: it failed; with all it printed.
    """
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode()
