"""What an application on Django does, in a process of its own, because Django's settings are the process's.

python -m tests.brokers.postgres_django DATABASE-URL SCHEMA
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from psycopg.conninfo import conninfo_to_dict

from headwater.brokers.postgres import position, publish
from headwater.errors import InvalidInput


def main(url: str, schema: str) -> None:
    """Publish 1 and 2, and two events that are rolled back."""
    connections = connected(url)
    connection = connections["default"]
    connection.set_autocommit(False)
    publish(connection, "a", "x", 1, schema=schema)
    savepoint = connection.savepoint()
    publish(connection, "a", "x", "rolled back to a savepoint", schema=schema)
    connection.savepoint_rollback(savepoint)
    connection.commit()
    publish(connection, "a", "x", "rolled back", schema=schema)
    connection.rollback()
    connection.set_autocommit(True)
    print(position(connection, first=True, schema=schema).position.seq)
    publish(connection, "a", "x", 2, schema=schema)
    try:
        publish(connections["other"], "a", schema=schema)
    except InvalidInput as error:
        print(error)
    connections.close_all()


def connected(url: str) -> Any:
    """`django.db.connections`, with a database of each of two kinds."""
    parts = conninfo_to_dict(url)
    names = {"HOST": parts["host"], "PORT": parts["port"], "USER": parts["user"], "NAME": parts["dbname"]}
    importlib.import_module("django.conf").settings.configure(
        DATABASES={
            "default": {"ENGINE": "django.db.backends.postgresql", **names},
            "other": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
        },
        USE_TZ=True,
    )
    importlib.import_module("django").setup()
    return importlib.import_module("django.db").connections


if __name__ == "__main__":
    main(*sys.argv[1:])
