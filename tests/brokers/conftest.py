"""What tests of brokers share."""

from __future__ import annotations

import pytest

from tests.brokers.redis_stores import Place
from tests.support.redis import SharedServers, Version


@pytest.fixture(
    params=[("7.0", 3), ("7.0", 2), ("6.2", 3), ("6.2", 2)], ids=lambda param: f"redis{param[0]}-resp{param[1]}"
)
def place(request: pytest.FixtureRequest, redis_servers: SharedServers) -> Place:
    """A log in Redis: of each version, with each protocol."""
    version: Version
    version, protocol = request.param
    return redis_servers.server(version), redis_servers.url(version, protocol=protocol)
