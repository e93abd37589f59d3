"""A hub with a database beside it: row changes in, events out."""

from __future__ import annotations

import sys

import pytest

from headwater import Hub
from headwater.changes import Rule
from headwater.errors import ConfigurationError
from tests.support.postgres import rows, shared_server
from tests.support.waiting import until


async def test_a_hub_takes_what_a_database_has_to_say() -> None:
    """As long as it runs."""
    with shared_server().database() as url:
        hub = Hub("memory://", database=url)
        async with hub.lifespan():
            assert hub.relay is not None
            await hub.broker.follow(["room"])
            rows(url, "SELECT headwater.publish('room', 'told', '1')")
            await until(lambda: hub.fanout.received == 1, "what was published")
            assert hub.statistics().broker["changes_dead"] == 0
        assert not hub.relay.is_leader


async def test_a_hub_without_a_database_counts_nothing_of_it() -> None:
    """What it counts is the broker's alone."""
    hub = Hub("memory://")
    async with hub.lifespan():
        assert "changes_dead" not in hub.statistics().broker


async def test_a_hub_that_cannot_start_is_as_before() -> None:
    """The database is there, and this role may not make what is missing: the broker is closed again."""
    with shared_server().database() as url:
        rows(url, "CREATE ROLE stranger LOGIN")
        hub = Hub("memory://", database=url.replace("postgres@", "stranger@"))
        with pytest.raises(ConfigurationError, match="may not install the schema"):
            await hub.start()
        with pytest.raises(ConfigurationError, match="may not install the schema"):
            await hub.start()
        rows(url, "DROP ROLE stranger")


def test_row_changes_need_a_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only they do."""
    monkeypatch.setitem(sys.modules, "headwater.changes.relay", None)
    assert Hub("memory://").relay is None
    with pytest.raises(ConfigurationError, match=r"pip install 'headwater\[postgres\]'"):
        Hub("memory://", changes=[Rule(table="jobs", channel="jobs")])
