"""What is found in the output of processes, and what happens to those that do not do what they should."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from torture.processes import Failed, Node, Worker, complaints, tail


class Nothing(msgspec.Struct):
    """An order or a report without content."""


def test_errors_and_tracebacks_are_complaints(tmp_path: Path) -> None:
    """In whatever form, each with what follows it."""
    log = tmp_path / "node.log"
    log.write_text('{"level":"info"}\n{"level":"error","message":"no"}\nnext\nTraceback (most recent call last):\n')
    found = complaints([log])
    assert [each[:30] for each in found] == ['node.log: {"level":"error","me', "node.log: Traceback (most rece"]
    assert "next" in found[0]


def test_a_start_that_failed_is_none(tmp_path: Path) -> None:
    """All that is said about it; what comes after it counts again."""
    log = tmp_path / "node.log"
    start = (
        '{"level":"error","message":"startup failed: no store","error":"Traceback"}\n{"level":"error","message":"no"}\n'
    )
    end = '{"level":"error","message":"Application startup failed. Exiting."}\n'
    log.write_text(start + end)
    assert complaints([log]) == []
    log.write_text(start + end + '{"level":"error","message":"later"}\n')
    assert len(complaints([log])) == 1


def test_the_end_of_a_log(tmp_path: Path) -> None:
    """Its last lines."""
    log = tmp_path / "a.log"
    log.write_text("\n".join(map(str, range(100))))
    assert tail(log, 2) == "98\n99"


async def test_a_node_that_does_not_start_says_why(tmp_path: Path) -> None:
    """With the end of its output; and it can be ended all the same."""
    node = Node(1, "nonsense://", {}, tmp_path / "node.log")
    with pytest.raises(Failed, match=r"node 1 ended instead of starting:\nheadwater: no key is configured"):
        await node.start()
    assert node.has_crashed
    await node.stop()
    assert not node.has_crashed
    assert node.resident == 0


async def test_a_worker_that_does_not_start_says_why(tmp_path: Path) -> None:
    """With the end of what it complained about; ending it again changes nothing."""
    worker = Worker("torture.nothing", Nothing(), Nothing, tmp_path / "worker.log")
    await worker.kill()
    with pytest.raises(Failed, match=r"No module named torture\.nothing"):
        await worker.start()
    worker.order(Nothing())
    with pytest.raises(Failed, match="ended with status 1"):
        await worker.stop()
    await worker.kill()
