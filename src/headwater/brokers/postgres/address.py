"""The broker's URL: where the database is, and how it is used.

Pure. Options of ours are taken out of the query; what is left is libpq's, which knows `sslmode` and the like. The result
is never shown, because it may hold a password.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from headwater.brokers import redacted
from headwater.brokers.postgres.sql import check_schema
from headwater.errors import ConfigurationError

Seconds = Annotated[float, msgspec.Meta(gt=0, le=60)]
Lease = Annotated[float, msgspec.Meta(ge=60, le=10 * 366 * 86400)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the database is used.

    Attributes:
        schema: where the log is; created if it is missing.
        wait: seconds for which an append outlasts an outage, or a question waits for its answer, before it fails.
        timeout: seconds after which a statement that is not answered means that the server has stalled.
        capture_for: seconds for which changes of rows are still noted in the outbox when no hub takes them.
        publish_for: the same for events that are published in transactions; later ones are refused.
    """

    schema: str = "headwater"
    wait: Annotated[float, msgspec.Meta(ge=1, le=60)] = 5.0
    timeout: Seconds = 5.0
    capture_for: Lease = 86400.0
    publish_for: Lease = 7 * 86400.0


class Address:
    """Where the database is, and how it is used. Its text form has no password.

    Args:
        parameters: of libpq, by name.
        options: ours.
    """

    def __init__(self, parameters: dict[str, Any], options: Options = Options()) -> None:  # noqa: B008 (frozen)
        check_schema(options.schema)
        self.parameters = {**_defaults(options), **parameters}
        self.options = options
        shown = {name: parameters.get(name, "") for name in ("host", "port", "dbname")}
        self._text = f"{shown['host']}:{shown['port']}/{shown['dbname']}".replace(":/", "/")

    def __str__(self) -> str:
        return self._text


def parse(url: str) -> Address:
    """Read `postgresql://user:password@host:port/database?schema=headwater&wait=5`.

    Raises:
        ConfigurationError: the URL or an option is malformed.
    """
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    names = Options.__struct_fields__
    try:
        options = msgspec.convert({name: value for name, value in query if name in names}, Options, strict=False)
        theirs = urlencode([(name, value) for name, value in query if name not in names])
        parameters = conninfo_to_dict(urlunsplit(parts._replace(query=theirs)))
    except (msgspec.ValidationError, ProgrammingError) as error:
        why = str(error).replace(url, "").strip()
        raise ConfigurationError(
            f"the URL {redacted(url)!r} is malformed: {redacted(why)}", expected=_EXPECTED
        ) from None
    return Address(parameters, options)


_EXPECTED = (
    "postgresql://user@host:5432/database, with schema=, wait=, timeout=, capture_for=, publish_for="
    " or a parameter of libpq, such as sslmode=, as options"
)


def _defaults(options: Options) -> dict[str, Any]:
    """What libpq is told unless the URL says otherwise."""
    milliseconds = int(options.timeout * 1000)
    settings = {
        "statement_timeout": milliseconds,
        "idle_in_transaction_session_timeout": milliseconds,
        "default_transaction_isolation": r"read\ committed",  # what waits for a lock must see what it waited for
        "enable_seqscan": "off",  # a plan that was made while a table was small would be kept when it is large
        "jit": "off",
        # A node that is gone without a word must not keep its session, and with it the leaders' lock.
        "tcp_keepalives_idle": 10,
        "tcp_keepalives_interval": 3,
        "tcp_keepalives_count": 3,
    }
    return {
        "application_name": "headwater",
        "client_encoding": "UTF8",
        "target_session_attrs": "read-write",
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
        "tcp_user_timeout": 3 * milliseconds,
        "connect_timeout": max(2, round(options.timeout)),
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
    }
