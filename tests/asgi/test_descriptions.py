"""The words of the OpenAPI document."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.asgi.descriptions import OPERATIONS, SCHEMAS, Operation, ref
from headwater.asgi.openapi import ERRORS
from headwater.asgi.poll import PollAnswer
from headwater.asgi.routes import ROUTES


def test_there_are_words_for_every_route() -> None:
    """And for nothing else."""
    assert set(OPERATIONS) == {route.name for route in ROUTES}


def references(value: Any) -> set[str]:
    """Names of all schemas that something refers to."""
    if isinstance(value, dict):
        found = {value["$ref"].rpartition("/")[2]} if "$ref" in value else set[str]()
        return found.union(*map(references, value.values()))
    return set[str]().union(*map(references, value)) if isinstance(value, list | tuple) else set()


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_an_operation_is_described_in_sentences(operation: Operation) -> None:
    """What it does, what each parameter means, what each answer is; and it refers to schemas that exist."""
    assert operation.text.endswith(".")
    for parameter in operation.parameters:
        assert parameter["description"].endswith("."), parameter
    for response in operation.success.values():
        assert response["description"].endswith("."), response
    assert references([operation.success, operation.body]) <= {schema.__name__ for schema in SCHEMAS}
    assert set(operation.errors) <= set(ERRORS)


def test_a_reference_is_by_name() -> None:
    """As OpenAPI writes it."""
    assert ref(PollAnswer) == {"$ref": "#/components/schemas/PollAnswer"}
