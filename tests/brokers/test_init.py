"""Opening brokers by URL."""

from __future__ import annotations

import importlib
import subprocess
import sys
from types import ModuleType

import pytest

from headwater.brokers import open_broker, redacted
from headwater.brokers.base import Retention
from headwater.brokers.memory import MemoryBroker
from headwater.brokers.sqlite import SqliteBroker
from headwater.errors import ConfigurationError


def test_the_scheme_chooses_the_broker() -> None:
    """Each gets the retention."""
    assert isinstance(open_broker("memory://", retention=Retention(key_age=1)), MemoryBroker)
    assert isinstance(open_broker("sqlite:///events.db"), SqliteBroker)


@pytest.mark.parametrize("url", ["", "events.db", "/events.db", "mongodb://x", "Memory"])
def test_an_unknown_scheme_is_refused(url: str) -> None:
    """With the schemes that there are."""
    with pytest.raises(ConfigurationError, match="expected memory://"):
        open_broker(url)


def test_a_password_is_not_repeated() -> None:
    """Errors go into logs."""
    with pytest.raises(ConfigurationError, match=r"'mongodb://:\*\*\*@h' names no broker"):
        open_broker("mongodb://:hunter2@h")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hunter2@h:1/0", "redis://:***@h:1/0"),
        (
            "redis+sentinel://me:hun:ter@2@h:1,h:2/m?sentinel_password=x&wait=1",
            "redis+sentinel://me:***@h:1,h:2/m?sentinel_password=***&wait=1",
        ),
        ("postgresql://me@h/d?password=hunter2", "postgresql://me@h/d?password=***"),
        ("redis+sentinel://h:1/m?sentinel_password=a@b&wait=1", "redis+sentinel://h:1/m?sentinel_password=***&wait=1"),
        ("redis://:password=a@h:1/0", "redis://:password=***"),
        ("sqlite:///a@b.db", "sqlite:///a@b.db"),
        ("redis://:hun/t?e#r2@h:1/0", "redis://:***@h:1/0"),
        ("the port of 'redis://me:hunter2@h:x' is no number", "the port of 'redis://me:***@h:x' is no number"),
        ("nonnumeric port: 'hunter2@h'", "nonnumeric port:***@h'"),
        ("postgresql://me@h:5432/d?password=hunter2", "postgresql://me@h:5432/d?password=***"),
    ],
)
def test_a_url_can_be_shown_without_its_passwords(url: str, shown: str) -> None:
    """And says everything else."""
    assert redacted(url) == shown


def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs it."""

    def import_module(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'driver'", name="driver")

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(ConfigurationError, match=r"needs driver.*pip install 'headwater\[postgres\]'"):
        open_broker("postgresql://localhost/db")


def test_a_driver_is_imported_only_when_asked_for() -> None:
    """Importing the package loads no broker."""
    code = (
        "import sys, headwater.brokers; print(*(name for name in sys.modules if 'sqlite' in name or 'memory' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
