"""Brokers: where the log lives. `open_broker` turns a URL into one.

A broker's module, and with it its driver, is imported only when a URL asks for it.
"""

from __future__ import annotations

import importlib
import re
from typing import cast
from urllib.parse import urlsplit

from headwater.brokers.base import Broker, Retention
from headwater.errors import ConfigurationError

_MODULES = {
    "memory": "headwater.brokers.memory",
    "sqlite": "headwater.brokers.sqlite",
    **dict.fromkeys(("redis", "rediss", "redis+sentinel", "rediss+sentinel"), "headwater.brokers.redis"),
    **dict.fromkeys(("postgresql", "postgres"), "headwater.brokers.postgres"),
}
_EXTRAS = {"headwater.brokers.redis": "redis", "headwater.brokers.postgres": "postgres"}
_EXPECTED = "memory://, sqlite:///file.db, redis://host:6379/0 or postgresql://user@host/database"
_OPTION = re.compile(r"(?<=password=)[^&#\s]*")
_PASSWORD = re.compile(r"(?<=:)(?!//).*(?=@)")


def open_broker(url: str, *, retention: Retention = Retention()) -> Broker:  # noqa: B008 (frozen, so safe to share)
    """The broker that `url` names, not yet connected: its `open` does that.

    Args:
        url: `memory://`, `sqlite:///relative.db`, `sqlite:////absolute/path.db`, `redis://host:6379/0` (or `rediss://`,
            `redis+sentinel://`) or `postgresql://user@host/database`; options follow as a query.
        retention: what the log keeps.

    Raises:
        ConfigurationError: the URL is malformed, its scheme or an option is unknown, or the driver is not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _MODULES:
        raise ConfigurationError(f"{redacted(url)[:80]!r} names no broker", expected=_EXPECTED)
    try:
        module = importlib.import_module(_MODULES[scheme])
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the {scheme} broker needs {error.name}, which is not installed",
            fix=f"install it with: pip install 'headwater[{_EXTRAS[_MODULES[scheme]]}]'",
        ) from error
    return cast(Broker, module.from_url(url, retention))


def redacted(url: str) -> str:
    """`url`, or a text with one, as it may be shown and logged: without its passwords. Rather too little is shown than too
    much: a password with a slash in it makes no URL, and would be in the very error that says so."""
    return _PASSWORD.sub("***", _OPTION.sub("***", url))
