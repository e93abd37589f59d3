"""Databases of both versions, for tests of row changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.changes.database import VERSIONS, Database, new_database


@pytest.fixture(scope="module", params=VERSIONS)
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database that the tests of a module share: each makes tables of its own."""
    with new_database(request.param) as made:
        yield made


@pytest.fixture(params=VERSIONS)
def own_database(request: pytest.FixtureRequest) -> Iterator[Database]:
    """A database for one test alone."""
    with new_database(request.param) as made:
        yield made
