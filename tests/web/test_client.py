"""The browser client's decoder, held to the same table as the Python one."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.support.source import ROOT

CASES = json.loads((ROOT / "tests/data/wire_cases.json").read_text())["cases"]


def decoded() -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Each case with what Node made of it, byte by byte and whole."""
    source = (ROOT / "src/headwater/web/client.js").read_text()
    done = subprocess.run(
        ["node", str(ROOT / "tests/js/read_cases.mjs")],
        input=json.dumps({"source": source, "cases": CASES}),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return list(zip(CASES, json.loads(done.stdout), strict=True))


def test_the_client_reads_streams_as_the_standard_says() -> None:
    """Every case of the table comes out right, whole and byte by byte; what is too long is an error."""
    wrong = []
    for case, outcomes in decoded():
        expected = [{"type": "message", "id": "", "channel": None, **event} for event in case["events"]]
        for outcome in outcomes:
            if "error" in case:
                right = outcome["error"]
            else:
                got = outcome["events"], outcome["last_event_id"], outcome["retry"], outcome["error"]
                right = got == (expected, case["last_event_id"], case["retry"], False)
            if not right:
                wrong.append((case["name"], outcome))
    assert not wrong
