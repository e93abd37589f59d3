"""The command lines of a documentation page, run as they stand there.

Knows Markdown's code blocks and curl; must not know any application.
"""

from __future__ import annotations

import asyncio
import re
import shlex
from asyncio.subprocess import PIPE
from collections.abc import Mapping

from tests.support.source import ROOT


def curl_lines(page: str) -> list[str]:
    """The `curl` commands in a page's `sh` blocks, continuation lines joined."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.startswith("curl ")]


async def curl(line: str, port: int, **values: str) -> str:
    """What a command prints, with this port and values in the places of the documented ones. A stream (`-N`) is read up to
    the end of its first frame.

    Raises:
        AssertionError: the server refused it; or anything else that curl calls a failure.
    """
    words = shlex.split(re.sub(r"localhost:\d+", f"127.0.0.1:{port}", _filled(line, values)))
    process = await asyncio.create_subprocess_exec(*words, "--fail-with-body", "--silent", stdout=PIPE, stderr=PIPE)
    assert process.stdout is not None
    if "-N" in words:
        shown = await process.stdout.readuntil(b"\n\n")
        process.terminate()
        await process.wait()
        return shown.decode()
    output, errors = await process.communicate()
    assert process.returncode == 0, (line, output, errors)
    return output.decode()


def _filled(line: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        line = line.replace(name, value)
    return line
