"""What is kept: sources, jobs and proposals, in PostgreSQL. Plain SQL, one connection for each request.

Knows the tables; of live updates only that the position of the log can be read in the same transaction as the state.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, LiteralString

import psycopg
from psycopg.rows import dict_row

from examples.projects.changes import RULES
from headwater.brokers.postgres import Snapshot, position
from headwater.changes import install_rules
from headwater.errors import NotFound, Unavailable

SCHEMA: Final = Path(__file__).parent / "schema.sql"
AT_ONCE: Final = 8
"""Connections that requests may have at the same time; more wait for their turn."""

Connection = psycopg.AsyncConnection[dict[str, Any]]

STATE: Final[dict[str, LiteralString]] = {
    "jobs": """
        SELECT id::text AS "jobId", status, json_build_object(
            'stage', progress_stage, 'current', progress_current, 'total', progress_total, 'message', progress_message,
            'timestamp', floor(extract(epoch FROM progress_updated_at) * 1000)::bigint
        ) AS progress
        FROM jobs WHERE project_id = %s ORDER BY created_at DESC LIMIT 5""",
    "sources": """
        SELECT id::text AS "sourceId", source_name AS "sourceName", status, error, title, words,
            updated_at AS "updatedAt"
        FROM ingestion_sources WHERE project_id = %s ORDER BY source_name""",
    "proposals": """
        SELECT p.id::text AS "proposalId", p.title, p.summary, p.confidence, p.status, p.created_at AS "createdAt",
            s.source_name AS "sourceName"
        FROM proposed_nodes AS p LEFT JOIN ingestion_sources AS s ON s.id = p.source_id
        WHERE p.project_id = %s ORDER BY p.created_at, p.id""",
}
"""What a page shows, under the names that the events have, too."""


class Store:
    """The database of the application.

    Args:
        url: of the database.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def prepare(self) -> None:
        """Make the tables, and the triggers of the rules. May be repeated, at the same time by several, too."""
        async with self._transaction() as connection:
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('examples.projects'))")
            await connection.execute(SCHEMA.read_bytes())
        await install_rules(self._url, RULES)

    async def state(self, project: str) -> tuple[dict[str, Any], Snapshot]:
        """Everything of a project, and the position of the log that belongs to exactly this state."""
        async with self._transaction(psycopg.IsolationLevel.REPEATABLE_READ) as connection:
            state = {name: await _rows(connection, query, project) for name, query in STATE.items()}
            return state, await position(connection)

    async def begin(self, project: str, folder: Path) -> dict[str, Any]:
        """The job that is under way, or a new one, for a worker to find."""
        async with self._transaction() as connection:
            await connection.execute(
                "INSERT INTO jobs (project_id, folder) VALUES (%s, %s)"
                " ON CONFLICT (project_id) WHERE status IN ('queued', 'running') DO NOTHING",
                (project, str(folder)),
            )
            jobs = await _rows(connection, STATE["jobs"], project)
            return jobs[0]

    async def decide(self, project: str, proposal: str, status: str | None) -> None:
        """Set the status of a proposal; None deletes it. Raises NotFound."""
        does: LiteralString = (
            "DELETE FROM proposed_nodes" if status is None else "UPDATE proposed_nodes SET status = %(to)s"
        )
        async with self._transaction() as connection:
            done = await connection.execute(
                does + " WHERE project_id = %(project)s AND id::text = %(proposal)s",
                {"to": status, "project": project, "proposal": proposal},
            )
            if not done.rowcount:
                raise NotFound(f"the project has no proposal {proposal[:60]!r}")

    @asynccontextmanager
    async def _transaction(self, level: psycopg.IsolationLevel | None = None) -> AsyncIterator[Connection]:
        """A connection in a transaction of its own.

        Raises:
            Unavailable: the database does not answer.
        """
        try:
            async with (
                self._turns,
                await psycopg.AsyncConnection.connect(self._url, row_factory=dict_row, connect_timeout=5) as connection,
            ):
                if level is not None:
                    await connection.set_isolation_level(level)
                yield connection
        except psycopg.OperationalError as error:
            raise Unavailable("the database does not answer", retry_after=2) from error


async def _rows(connection: Connection, query: LiteralString, project: str) -> list[dict[str, Any]]:
    return await (await connection.execute(query, (project,))).fetchall()
