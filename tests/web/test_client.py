"""The browser's client in Node, where it is tested and checked without a browser; and the Python client by the same table."""

from __future__ import annotations

import asyncio
import gzip
import json
import tomllib
from collections.abc import Mapping
from importlib.resources import files as resources
from typing import Any
from urllib.parse import urlencode

import pytest

from headwater.client import Policy, State, Status, subscribe
from headwater.errors import ClientError
from tests.support.node import JS, NODE_TEST, printed, program
from tests.support.replies import CASES, Replies, expected, replying, sent
from tests.support.source import ROOT
from tests.web.behaviour import faults, files

MAX_SIZE = 6 * 1024
"""Bytes of the core, minified and compressed."""


async def test_its_own_tests_pass() -> None:
    """Those in js/test, with clocks and hubs of their own."""
    tests = [str(path.relative_to(JS)) for path in sorted((JS / "test").glob("*.test.mjs"))]
    output = await printed(*NODE_TEST, *tests)
    assert "# fail 0" in output


async def test_a_program_is_not_kept_alive() -> None:
    """p22: it ends although its clients wait for something, in every state in which they do: for a try, a first byte, a
    heartbeat, a token, another tab or the end of a throttle."""
    async with asyncio.timeout(20):
        found = json.loads(await printed("node", "--no-warnings", "test/alive.mjs"))
    waits = {each: each for each in ("connecting", "open", "waiting", "polling", "suspended")}
    assert found == {**waits, "shared": "open", "token": "connecting", "let go": "open"}


async def test_the_tables_hold_in_node() -> None:
    """p21: each case of the format, whole, in pieces and byte by byte, and each of behaviour: a stream is open only with a
    status of 200 and the right media type, and its last id is kept whoever listens."""
    async with replying(files("node")) as server:
        outcome = json.loads(await printed("node", "test/behaviour.mjs", server.url))
        assert faults(outcome, server, "node") == []


async def test_the_table_of_behaviour_holds_for_the_python_client() -> None:
    """Both clients do the same with the same answers."""
    async with replying() as server:
        wrong = await asyncio.gather(*(python_fault(server, case, f"python{n}") for n, case in enumerate(CASES)))
    assert [each for each in wrong if each] == []


async def python_fault(server: Replies, case: Mapping[str, Any], run: str) -> str:
    """What the Python client does other than the table says; empty if nothing."""
    states: list[State] = []
    events: list[list[str]] = []
    tokens = iter(case.get("tokens", ()))
    subscription = subscribe(
        f"{server.url}/case?{urlencode({'run': run, 'name': case['name']})}",
        token=(lambda: next(tokens)) if "tokens" in case else None,
        policy=Policy(base=0.01, cap=0.02),
        on_status=lambda status: _note(states, status),
    )
    try:
        async with subscription as received:
            async for event in received:
                events.append([event.type, event.data, event.id])
    except ClientError:
        pass
    got = {"events": events, "final": states[-1].value, "opened": states.count(State.OPEN)}
    requests = sent(case, server.requests[run])
    return "" if got == expected(case, python=True) and not requests else f"{case['name']}: {got} {requests}"


def _note(states: list[State], status: Status) -> None:
    states.append(status.state)


async def test_types_are_right() -> None:
    """tsc finds no fault in the client, nor in a program that uses it as it may; where it must complain it does."""
    await printed(program("tsc"), "--project", ".")


async def test_the_package_is_right() -> None:
    """publint finds no fault with what would be published."""
    await printed(program("publint"), "--strict", "--pack", "npm")


async def test_the_core_is_small() -> None:
    """Minified and compressed it has at most 6 KiB."""
    code = await printed(
        program("esbuild"), "headwater.js", "--minify", "--target=es2022", "--format=esm", "--log-level=error"
    )
    assert len(gzip.compress(code.encode(), 9, mtime=0)) <= MAX_SIZE


def test_the_wheel_serves_the_same_file() -> None:
    """`/client.js` is the package's core, and the core imports nothing."""
    served = (resources("headwater") / "web/client.js").read_text()
    assert served == (JS / "headwater.js").read_text()
    assert not [line for line in served.splitlines() if line.startswith(("import ", "} from"))]


@pytest.mark.parametrize("field", ["name", "version", "license"])
def test_the_packages_have_one_name_and_version(field: str) -> None:
    """What is installed with pip and with npm belongs together."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert json.loads((JS / "package.json").read_text())[field] == project[field]
