"""The worker of the projects: what it reads out of texts, and what it writes into rows, with no idea of live updates."""

from __future__ import annotations

import ast
import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import Any

import psycopg

from examples.projects.texts import MOST, propose, read
from examples.projects.worker import claimed, step
from tests.examples.projecting import Desk, projecting, up_to_mark
from tests.support.postgres import rows
from tests.support.source import ROOT
from tests.support.waiting import PATIENCE, until

TEXTS = {
    "kettle.md": "# The kettle\n\nIts water has a temperature; whisking asks for it.\n```\n# Not a heading\n```\n",
    "matcha.md": "# Whisking matcha\n\nWhisking matcha takes `water`.\n\n## Water temperature\n\nBelow 80 degrees.\n",
    "bowl.py": '"""The bowl, in which matcha is."""\n\n\nclass MatchaBowl:\n    """A bowl."""\n',
    "plain.txt": "No heading at all.",
}


def test_words_titles_and_headings_are_found() -> None:
    """In Markdown, in Python and in plain text; what is code is no heading."""
    kettle, matcha, bowl, plain = (read(name, text) for name, text in TEXTS.items())
    headings = ["Whisking matcha", "Water temperature"]
    assert (matcha.title, [each.heading for each in matcha.sections]) == ("Whisking matcha", headings)
    assert [each.heading for each in kettle.sections] == ["The kettle"]
    headings = ["Matcha Bowl"]
    assert (bowl.title, [each.heading for each in bowl.sections]) == ("The bowl, in which matcha is.", headings)
    assert (plain.title, plain.words) == ("plain.txt", 4)
    assert read("broken.py", "def (").sections == ()


def test_confidence_is_how_far_the_texts_bear_a_heading_out() -> None:
    """A half for the section itself, a quarter for the others that use its words, a quarter for those that do not."""
    texts = {
        "a.md": "# Green kettles\n\nKettles may be green.",
        "b.md": "Green kettles.",
        "c.md": "Red pots.",
        "d.md": "",
    }
    (found,) = propose([read(name, text) for name, text in texts.items()])
    assert (found.source, found.title, found.summary) == ("a.md", "Green kettles", "Kettles may be green.")
    assert found.confidence == round(0.5 + 0.25 / 4 + 0.25 * (1 - 1 / 3), 2)


def test_only_the_best_are_proposed_and_each_once() -> None:
    """Not more than anybody decides on; a heading of several documents only where it is borne out most."""
    many = [
        read(f"{number}.md", f"# Kettle number {number:05} teapot{'x' * number}\n\nKettle.\n") for number in range(30)
    ]
    same = [read("a.md", "# Green kettles\n\nRed."), read("b.md", "# Green kettles\n\nGreen kettles.")]
    assert len(propose(many)) == MOST
    assert [each.source for each in propose(same)] == ["b.md"]
    assert propose([read("a.md", "# The\n\nWho."), read("b.md", "# Green kettles\n")]) == []


def test_the_worker_knows_no_headwater() -> None:
    """Neither it nor what it imports of the application: it writes rows, and that is all."""
    for name in ("worker", "texts"):
        tree = ast.parse((ROOT / f"examples/projects/{name}.py").read_text())
        names = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        names |= {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
        assert not [each for each in names if each.startswith(("headwater", "examples.shared"))]


async def start(url: str, *arguments: str) -> Process:
    """A worker in a process of its own."""
    env = {**os.environ, "DATABASE_URL": url, "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-m", "examples.projects.worker", *arguments)
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stderr=DEVNULL, env=env, cwd="/")


def write(folder: Path) -> None:
    """The texts to index, and what is none."""
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
    (folder / "latin.md").write_bytes(b"# Caf\xe9")
    (folder / "picture.png").write_bytes(b"")
    (folder / ".hidden.md").write_text("# Hidden thing\n\nHidden thing.")


async def test_a_job_is_done_and_watched(tmp_path: Path) -> None:
    """From the request that begins it to “data.progress.stage === 'complete'”: progress only grows, each file is processed
    and then completed, and what it proposes is announced."""
    write(tmp_path)
    async with projecting(tmp_path) as desk:
        async with desk.watching() as stream:
            await desk.call("POST", "/api/projects/test/jobs")
            worker = await start(desk.url, "--once")
            assert await asyncio.wait_for(worker.wait(), PATIENCE) == 0
            found = await up_to_mark(stream, desk.url)
        check(found)
        state = await desk.state()
        by_name = {source["sourceName"]: source for source in state["sources"]}
        assert set(by_name) == {*TEXTS, "latin.md", "that was all"}
        assert (by_name["latin.md"]["status"], by_name["latin.md"]["error"]) == ("failed", "is no UTF-8")
        assert (by_name["plain.txt"]["words"], by_name["matcha.md"]["title"]) == (4, "Whisking matcha")


def check(found: list[dict[str, Any]]) -> None:
    """That a job was told as it should be."""
    progress = [each["progress"] for each in found if each["type"] == "progress_update"]
    stages = [each["stage"] for each in progress]
    assert list(dict.fromkeys(stages)) == ["listing", "reading", "proposing", "complete"]
    assert [each["current"] for each in progress if each["stage"] == "reading"] == [0, 1, 2, 3, 4]
    assert [each["timestamp"] for each in progress] == sorted(each["timestamp"] for each in progress)
    assert progress[-1]["message"] == "4 files, 38 words, 3 new proposals"
    matcha = [each["status"] for each in found if each.get("sourceName") == "matcha.md"]
    assert matcha == ["processing", "completed"]
    titles = {each["title"] for each in found if each["type"] == "new_proposal"}
    assert titles == {"Whisking matcha", "Water temperature", "Matcha Bowl"}


def connect(desk: Desk) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection as the worker has it."""
    return psycopg.connect(desk.url, autocommit=True)


async def test_indexing_again_keeps_what_was_decided(tmp_path: Path) -> None:
    """A proposal that nobody has decided on and that is no longer there is taken back, as “proposal_deleted”; a decided one
    stays; a file that is gone is missing."""
    write(tmp_path)
    async with projecting(tmp_path) as desk:
        with connect(desk) as connection:
            await desk.call("POST", "/api/projects/test/jobs")
            assert step(connection, 0)
            rows(desk.url, "UPDATE proposed_nodes SET status = 'rejected' WHERE title = 'Whisking matcha'")
            (tmp_path / "matcha.md").unlink()
            async with desk.watching() as stream:
                await up_to_mark(stream, desk.url)  # what the first job has said may still come
                await desk.call("POST", "/api/projects/test/jobs")
                assert step(connection, 0)
                assert not step(connection, 0)
                found = await up_to_mark(stream, desk.url)
    assert [each["type"] for each in found if each["type"].startswith("proposal")] == ["proposal_deleted"]
    assert [each["status"] for each in found if each.get("sourceName") == "matcha.md"] == ["missing"]


async def test_a_folder_that_is_not_there_fails_the_job(tmp_path: Path) -> None:
    """And says so, without where it would have been."""
    async with projecting(tmp_path, folders=f"test={tmp_path}/nowhere") as desk:
        await desk.call("POST", "/api/projects/test/jobs")
        with connect(desk) as connection:
            assert step(connection, 0)
        (job,) = (await desk.state())["jobs"]
        assert (job["status"], job["progress"]["stage"]) == ("failed", "failed")
        assert job["progress"]["message"] == "nowhere cannot be read: No such file or directory"


async def test_a_job_has_one_worker_and_outlives_it(tmp_path: Path) -> None:
    """Two workers do not do the same job; one that is killed leaves it to the next."""
    write(tmp_path)
    async with projecting(tmp_path) as desk:
        await desk.call("POST", "/api/projects/test/jobs")
        with connect(desk) as one, connect(desk) as other, claimed(one) as job:
            assert job is not None
            assert not step(other, 0)
        slow = await start(desk.url, "--pace", "60")
        try:
            await until(lambda: rows(desk.url, "SELECT progress_stage FROM jobs") == [("reading",)], "it to begin")
        finally:
            slow.send_signal(signal.SIGKILL)
            await slow.wait()
        quick = await start(desk.url, "--once")
        assert await asyncio.wait_for(quick.wait(), PATIENCE) == 0
        if rows(desk.url, "SELECT status FROM jobs") != [("complete",)]:  # the killed one's session had not ended yet
            with connect(desk) as connection:
                await until(lambda: step(connection, 0), "the job to be free")
        assert rows(desk.url, "SELECT status FROM jobs") == [("complete",)]


async def test_a_worker_ends_with_who_started_it(tmp_path: Path) -> None:
    """However that ends: its stdin does."""
    async with projecting(tmp_path) as desk:
        worker = await start(desk.url, "--attached")
        assert worker.stdin is not None
        worker.stdin.close()
        assert await asyncio.wait_for(worker.wait(), PATIENCE) == 0
