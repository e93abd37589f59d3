"""The log in a PostgreSQL database, for any number of nodes; and the outbox, through which transactions publish.

broker      the hub's side: the protocol
writer      the task that appends, many at a time
session     the task that hears what others tell, and does the duties: the watcher's and the leader's
watcher     reads the log for the feed
leader      takes from the outbox, in one node at a time, and applies retention
delivery    what the feed has been given: the hand-off between the writer, the leader and the watcher
sequencer   where the outbox's events go: into this log, or into another broker
publish, snapshot, foreign    what the application does on its own connections
appends, outbox, reads, retention    what they do in the database
address, link, migrate, sql, schema/ the URL, the connection, the tables and the statements
"""

from __future__ import annotations

from headwater.brokers.base import Retention
from headwater.brokers.postgres.address import Address, Options, parse
from headwater.brokers.postgres.broker import PostgresBroker
from headwater.brokers.postgres.outbox import Mapping, Row
from headwater.brokers.postgres.publish import publish, publish_draft
from headwater.brokers.postgres.snapshot import Snapshot, position

__all__ = [
    "Address",
    "Mapping",
    "Options",
    "PostgresBroker",
    "Row",
    "Snapshot",
    "from_url",
    "parse",
    "position",
    "publish",
    "publish_draft",
]


def from_url(url: str, retention: Retention) -> PostgresBroker:
    """The broker for `postgresql://user@host/database`, with the fields of `Options` as query options.

    Raises:
        ConfigurationError: the URL or an option is malformed.
    """
    return PostgresBroker(parse(url), retention=retention)
