"""The log in one SQLite file: the default broker, embedded, for any number of processes on one machine.

broker     the event loop's side: the protocol
writer     the thread that appends, many at a time, and removes what retention does not keep
watcher    the thread that sees what other processes append
delivery   what the feed has been given: the hand-off between the two
appends, retention, reads    what the threads do with a connection
file, sql  opening the file, what goes wrong with it, and the statements
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from headwater.brokers import redacted
from headwater.brokers.base import Retention
from headwater.brokers.sqlite.broker import SqliteBroker
from headwater.brokers.sqlite.file import Options
from headwater.errors import ConfigurationError

__all__ = ["Options", "SqliteBroker", "from_url"]

_EXPECTED = "sqlite:///relative.db or sqlite:////absolute/path.db"


def from_url(url: str, retention: Retention) -> SqliteBroker:
    """The broker for `sqlite:///path`, with the fields of `Options` as query options.

    Raises:
        ConfigurationError: the URL names no file, or an option is unknown or malformed.
    """
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.netloc or parts.fragment or not path or path.endswith("/") or path == ":memory:":
        raise ConfigurationError(f"the URL {redacted(url)!r} names no file", expected=_EXPECTED)
    try:
        given: dict[str, Any] = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        options = msgspec.convert(given, Options, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigurationError(
            f"the options of {redacted(url)!r} are malformed: {error}", expected=_OPTIONS
        ) from error
    return SqliteBroker(path, options, retention=retention)


_OPTIONS = "synchronous=full, synchronous=normal or busy_timeout=milliseconds"
