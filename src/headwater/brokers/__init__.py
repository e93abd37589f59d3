"""Brokers: where the log lives. `open_broker` turns a URL into one.

A broker's module, and with it its driver, is imported only when a URL asks for it.
"""

from __future__ import annotations

import importlib
from typing import cast
from urllib.parse import urlsplit

from headwater.brokers.base import Broker, Retention
from headwater.errors import ConfigurationError

_MODULES = {
    "memory": "headwater.brokers.memory",
    "sqlite": "headwater.brokers.sqlite",
}
_EXPECTED = "memory://, sqlite:///relative.db or sqlite:////absolute/path.db"


def open_broker(url: str, *, retention: Retention = Retention()) -> Broker:  # noqa: B008 (frozen, so safe to share)
    """The broker that `url` names, not yet connected: its `open` does that.

    Args:
        url: `memory://`, `sqlite:///relative.db` or `sqlite:////absolute/path.db`; options follow as a query.
        retention: what the log keeps.

    Raises:
        ConfigurationError: the URL is malformed, its scheme or an option is unknown, or the driver is not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _MODULES:
        shown = repr(url[:80]) if "@" not in url else f"a {scheme} URL"  # which may hold a password
        raise ConfigurationError(f"{shown} names no broker", expected=_EXPECTED)
    try:
        module = importlib.import_module(_MODULES[scheme])
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"the {scheme} broker needs {error.name}, which is not installed",
            fix=f"install it with: pip install 'headwater[{scheme}]'",
        ) from error
    return cast(Broker, module.from_url(url, retention))
