"""The tables of client behaviour, and how what a client reports is compared with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.replies import CASES, WIRE_CASES, Replies, expected, sent
from tests.support.source import ROOT


def files(prefix: str) -> dict[str, Path | str]:
    """What a client of the tables asks the server for. `prefix` begins the names of its runs."""
    tables = {"cases": CASES, "wire": WIRE_CASES, "prefix": prefix}
    return {
        "/cases.json": json.dumps(tables),
        "/headwater.js": ROOT / "js/headwater.js",
        "/behaviour.mjs": ROOT / "js/test/behaviour.mjs",
        "/": "<!doctype html><title>Cases</title>",
    }


def faults(outcome: Mapping[str, Any], server: Replies, prefix: str) -> list[str]:
    """What did not come out as the tables say, one line for each case."""
    wrong = []
    for index, (case, got) in enumerate(zip(CASES, outcome["behaviour"], strict=True)):
        requests = sent(case, server.requests[f"{prefix}{index}"])
        if got != expected(case) or requests:
            wrong.append(f"{case['name']}: {got} {requests}")
    for case, outcomes in zip(WIRE_CASES, outcome["wire"], strict=True):
        wrong += [f"{case['name']}: {got}" for got in outcomes if not _is_decoded(case, got)]
    return wrong


def _is_decoded(case: Mapping[str, Any], got: Mapping[str, Any]) -> bool:
    if "error" in case:
        return bool(got["error"])
    events = [{"type": "message", "id": "", "channel": None, **event} for event in case["events"]]
    state = {"last_event_id": case["last_event_id"], "retry": case["retry"], "error": False}
    return got == {"events": events, **state}
