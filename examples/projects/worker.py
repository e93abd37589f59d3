"""The worker: `DATABASE_URL=postgresql://... python -m examples.projects.worker`. Indexes folders into the database.

A process of its own that takes jobs, reads files, and says how far it is by updating rows. It knows no Headwater: whatever
it commits, somebody may see. It may be killed at any moment: what it has not finished is begun again by the next one.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from examples.projects.texts import Document, Proposal, propose, read

SUFFIXES: Final = (".md", ".txt", ".rst", ".py")
MAX_FILES: Final = 200
MAX_BYTES: Final = 1 << 20
IDLE: Final = 0.3
"""Seconds between looks for a job."""

KEPT: Final = 20
"""Jobs of a project that are kept."""

log = logging.getLogger("examples.projects.worker")

Connection = psycopg.Connection[tuple[Any, ...]]


class Job:
    """One job, and how it tells what it does.

    Args:
        connection: in autocommit mode; nobody else has this job while it is open.
        pace: seconds to pause after each step.
    """

    def __init__(self, connection: Connection, id: str, project: str, folder: str, pace: float) -> None:
        self._connection = connection
        self._id = id
        self._project = project
        self._folder = Path(folder)
        self._pace = pace

    def run(self) -> None:
        """Do it. What is wrong with it is said in its row."""
        try:
            names = self._list()
            documents = [found for number, name in enumerate(names) if (found := self._read(name, number, len(names)))]
            count = self._propose(propose(documents))
            words = sum(document.words for document in documents)
            said = f"{len(documents)} files, {words} words, {count} new proposals"
            self._progress("complete", len(names), len(names), said, status="complete")
        except OSError as error:
            log.warning("%s: %s", self._folder, error)
            self._progress("failed", 0, 0, f"{self._folder.name} cannot be read: {error.strerror}", status="failed")
        except psycopg.Error:
            raise  # somebody else may do it when the database is back
        except Exception:
            log.exception("%s cannot be indexed", self._folder)
            self._progress("failed", 0, 0, "The worker could not do it: its log says why", status="failed")

    def _list(self) -> list[str]:
        self._progress("listing", 0, 0, f"Looking into {self._folder.name}")
        found = sorted(
            path.relative_to(self._folder).as_posix() for path in self._walk() if path.stat().st_size <= MAX_BYTES
        )[:MAX_FILES]
        with self._connection.transaction():
            self._connection.execute(
                "INSERT INTO ingestion_sources (project_id, source_name) SELECT %s, unnest(%s::text[])"
                " ON CONFLICT (project_id, source_name) DO NOTHING",
                (self._project, found),
            )
            self._connection.execute(
                "UPDATE ingestion_sources SET status = 'missing', updated_at = now()"
                " WHERE project_id = %s AND status <> 'missing' AND source_name <> ALL (%s::text[])",
                (self._project, found),
            )
        return found

    def _walk(self) -> Iterator[Path]:
        os.listdir(self._folder)  # says why if it cannot be read; rglob would find nothing
        for path in self._folder.rglob("*"):
            parts = path.relative_to(self._folder).parts
            if path.suffix in SUFFIXES and not any(part.startswith((".", "__")) for part in parts) and path.is_file():
                yield path

    def _read(self, name: str, number: int, total: int) -> Document | None:
        self._progress("reading", number, total, f"Reading {name}")
        self._source(name, "processing")
        self._wait()
        try:
            text = (self._folder / name).read_text(encoding="utf-8").replace("\0", "�")  # PostgreSQL's texts have none
        except (OSError, UnicodeDecodeError) as error:
            why = "is no UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)
            self._source(name, "failed", error=why)
            return None
        document = read(name, text)
        self._source(name, "completed", title=document.title, words=document.words, content=text)
        return document

    def _source(self, name: str, status: str, **found: Any) -> None:
        row = {"error": None, "title": None, "words": None, "content": None} | found
        self._connection.execute(
            "UPDATE ingestion_sources SET status = %(status)s, error = %(error)s, title = coalesce(%(title)s, title),"
            " words = coalesce(%(words)s, words), content = coalesce(%(content)s, content), updated_at = now()"
            " WHERE project_id = %(project)s AND source_name = %(name)s",
            {"status": status, "project": self._project, "name": name, **row},
        )

    def _propose(self, proposals: list[Proposal]) -> int:
        """Propose what nobody has decided on yet, and take back what is no longer there."""
        titles = [each.title for each in proposals]
        self._connection.execute(
            "DELETE FROM proposed_nodes WHERE project_id = %s AND status = 'pending' AND title <> ALL (%s::text[])",
            (self._project, titles),
        )
        new = 0
        for number, proposal in enumerate(proposals):
            self._progress("proposing", number, len(proposals), f"Weighing “{proposal.title}”")
            new += self._connection.execute(
                "INSERT INTO proposed_nodes AS p (project_id, source_id, title, summary, confidence)"
                " SELECT project_id, id, %(title)s, %(summary)s, %(confidence)s FROM ingestion_sources"
                " WHERE project_id = %(project)s AND source_name = %(source)s"
                " ON CONFLICT (project_id, title) DO UPDATE SET confidence = excluded.confidence"
                " WHERE p.status = 'pending' AND p.confidence <> excluded.confidence RETURNING xmax = 0",
                {"project": self._project, **vars(proposal)},
            ).fetchall() == [(True,)]
            self._wait()
        return new

    def _progress(self, stage: str, current: int, total: int, message: str, *, status: str = "running") -> None:
        self._connection.execute(
            "UPDATE jobs SET progress_stage = %s, progress_current = %s, progress_total = %s, progress_message = %s,"
            " status = %s, progress_updated_at = clock_timestamp() WHERE id = %s",
            (stage, current, total, message, status, self._id),
        )

    def _wait(self) -> None:
        time.sleep(self._pace)


@contextmanager
def claimed(connection: Connection) -> Iterator[tuple[str, str, str] | None]:
    """The oldest job that nobody works on; None if there is none. A lock that ends with the connection says who does, so
    a job whose worker was killed is free at once."""
    open_jobs = (
        "SELECT id::text, project_id, folder FROM jobs WHERE status IN ('queued', 'running') ORDER BY created_at"
    )
    for job in connection.execute(open_jobs).fetchall():
        key = ("projects", job[0])
        if connection.execute("SELECT pg_try_advisory_lock(hashtext(%s), hashtext(%s))", key).fetchone() == (True,):
            try:
                still = connection.execute(
                    "SELECT FROM jobs WHERE id = %s AND status IN ('queued', 'running')", (job[0],)
                )
                yield job if still.fetchone() is not None else None
            finally:
                connection.execute("SELECT pg_advisory_unlock(hashtext(%s), hashtext(%s))", key)
            return
    yield None


def step(connection: Connection, pace: float) -> bool:
    """Do one job, if there is one."""
    with claimed(connection) as job:
        if job is None:
            return False
        Job(connection, *job, pace).run()
        connection.execute(
            "DELETE FROM jobs WHERE project_id = %s AND status IN ('complete', 'failed') AND id NOT IN"
            " (SELECT id FROM jobs WHERE project_id = %s ORDER BY created_at DESC LIMIT %s)",
            (job[1], job[1], KEPT),
        )
        return True


def work(url: str, pace: float, *, once: bool = False) -> None:
    """Do jobs for ever, through outages of the database; `once` ends when there are none."""
    while True:
        try:
            with psycopg.connect(url, autocommit=True, application_name="projects worker") as connection:
                while True:
                    if not step(connection, pace):
                        if once:
                            return
                        time.sleep(IDLE)
        except psycopg.OperationalError as error:
            log.warning("the database is away: %s", str(error).splitlines()[0])
            time.sleep(1)


def _end_with_parent() -> None:
    """In a thread: stdin ends when whoever has started us does, however that happens."""
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Index folders into the database.")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds to pause after each step")
    parser.add_argument("--once", action="store_true", help="end when there are no more jobs")
    parser.add_argument("--attached", action="store_true", help="end when stdin does")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if given.attached:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    work(os.environ["DATABASE_URL"], given.pace, once=given.once)
