"""The SQLite broker keeps the contract, and is opened by URL."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from headwater.brokers import open_broker
from headwater.brokers.base import Broker, Retention
from headwater.brokers.sqlite import Options, SqliteBroker, from_url
from headwater.errors import ConfigurationError
from headwater.event import Draft
from headwater.testing import BrokerContract
from tests.brokers.nodes import RELAXED, delete


class TestContract(BrokerContract):
    """Everything that any broker promises."""

    can_wipe = True

    @pytest.fixture(autouse=True)
    def path(self, tmp_path: Path) -> None:
        """Where this test's log is."""
        self._path = tmp_path / "events.db"

    def connect(self, retention: Retention) -> Broker:
        """Another node on the same file."""
        return SqliteBroker(self._path, RELAXED, retention=retention)

    async def wipe(self, broker: Broker) -> None:
        """Delete the file, as an operator might."""
        delete(self._path)


async def test_three_slashes_are_relative_and_four_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the directory of the moment in which the broker was made; escapes are read."""
    monkeypatch.chdir(tmp_path)
    brokers = [open_broker("sqlite:///one%20%C3%A9%3F.db"), open_broker(f"sqlite:///{tmp_path}/two.db?busy_timeout=1")]
    monkeypatch.chdir("/")
    for broker in brokers:
        await broker.open()
        await broker.append([Draft(channel="a")])
        await broker.aclose()
    assert set(os.listdir(tmp_path)) == {"one é?.db", "two.db"}


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite://events.db", "sqlite:///:memory:", "sqlite:///dir/", "sqlite:///a.db#x"],
)
def test_a_url_without_a_file_is_refused(url: str) -> None:
    """Two slashes are a common slip: the name would be a host."""
    with pytest.raises(ConfigurationError, match=r"names no file.*sqlite:///relative.db"):
        from_url(url, Retention())


@pytest.mark.parametrize(
    "query",
    ["synchronous=off", "busy_timeout=soon", "busy_timeout=-1", "timeout=5", "synchronous", "busy_timeout="],
)
def test_a_malformed_option_is_refused(query: str) -> None:
    """With the options that there are."""
    with pytest.raises(ConfigurationError, match=r"options of .* are malformed.*synchronous=full"):
        from_url(f"sqlite:///events.db?{query}", Retention())


@pytest.mark.parametrize("url", ["sqlite://me:hunter2@h/x.db", "sqlite:///x.db?user=:hunter2@h"])
def test_a_password_is_not_repeated(url: str) -> None:
    """A URL that was meant for another store may have one."""
    with pytest.raises(ConfigurationError, match=r":\*\*\*@h") as caught:
        from_url(url, Retention())
    assert "hunter2" not in str(caught.value)


async def test_options_reach_the_file(tmp_path: Path) -> None:
    """`synchronous=normal` is what SQLite is told; the default is full."""
    for query, level in (("", 2), ("?synchronous=full", 2), ("?synchronous=normal", 1)):
        broker = from_url(f"sqlite:///{tmp_path}/events.db{query}", Retention())
        await broker.open()
        try:
            assert await broker._do(partial(_pragma, broker, "synchronous")) == level
        finally:
            await broker.aclose()
    assert Options() == Options(synchronous="full", busy_timeout=5000)


def _pragma(broker: SqliteBroker, name: str) -> object:
    """What the writer's connection says, in its thread."""
    (value,) = broker._writer._link.use().execute(f"PRAGMA {name}").fetchone()
    return value
