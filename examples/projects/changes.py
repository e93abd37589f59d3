"""What changes of rows become: the rules, which is all that the application says about live updates.

    headwater pg install --changes examples.projects.changes:RULES

puts their triggers there; the application does it when it starts. Only columns that are named here leave the database.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from headwater.changes import Change, Rule

CHANNEL: Final = "project:{$new.project_id}"
"""As documented (`filter: project_id=eq.${projectId}` asks the new row): where the row is now."""

SHOWN: Final = {"title": "title", "confidence": "confidence", "status": "status", "summary": "summary"}
"""Columns of a proposal that an update tells of, by their names on the wire."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def progress(change: Change) -> dict[str, Any]:
    """The data of `progress_update`; its time is that of JavaScript's `getTime()`."""
    row = change.row
    updated_at = datetime.fromisoformat(row["progress_updated_at"])
    return {
        "type": "progress_update",
        "jobId": row["id"],
        "progress": {
            "stage": row["progress_stage"],
            "current": row["progress_current"],
            "total": row["progress_total"],
            "message": row["progress_message"],
            "timestamp": (updated_at - EPOCH) // timedelta(milliseconds=1),
        },
    }


def updated(change: Change) -> dict[str, Any]:
    """The data of `proposal_update`: which one, and the fields that are not what they were."""
    assert change.new is not None
    assert change.old is not None
    fields = {name: change.new[column] for name, column in SHOWN.items() if change.new[column] != change.old[column]}
    return {"type": "proposal_update", "proposalId": change.new["id"], **fields}


RULES: Final = (
    Rule(
        name="status_update",
        table="ingestion_sources",
        event="UPDATE",
        channel=CHANNEL,
        type="message",
        data={
            "type": "=status_update",
            "sourceId": "id",
            "status": "status",
            "sourceName": "source_name",
            "updatedAt": "updated_at",
        },
    ),
    Rule(
        name="progress_update",
        table="jobs",
        event="UPDATE",
        when_changed=["progress_updated_at"],  # Only broadcast if progress fields were updated
        channel=CHANNEL,
        type="message",
        columns=[
            *("id", "progress_stage", "progress_current", "progress_total"),
            *("progress_message", "progress_updated_at"),
        ],
        data=progress,
    ),
    Rule(
        name="new_proposal",
        table="proposed_nodes",
        event="INSERT",
        channel=CHANNEL,
        type="message",
        data={
            "type": "=new_proposal",
            "proposalId": "id",
            "title": "title",
            "confidence": "confidence",
            "createdAt": "created_at",
        },
    ),
    Rule(
        name="proposal_update",
        table="proposed_nodes",
        event="UPDATE",
        when_changed=list(SHOWN.values()),
        channel=CHANNEL,
        type="message",
        columns=["id", *SHOWN.values()],
        old=list(SHOWN.values()),
        data=updated,
    ),
    Rule(
        name="proposal_deleted",
        table="proposed_nodes",
        event="DELETE",
        channel="project:{$old.project_id}",
        type="message",
        data={"type": "=proposal_deleted", "proposalId": "id"},
    ),
)
