"""The error tree: what an error says, and which status tells the same to a client."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from headwater import errors
from headwater.errors import (
    HeadwaterError,
    InvalidCursor,
    InvalidInput,
    NotAuthenticated,
    PositionLost,
    RequestRefused,
    TooManyRequests,
)

CLASSES = [value for _, value in inspect.getmembers(errors, inspect.isclass) if value.__module__ == errors.__name__]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "It broke"),
        ({"expected": "a whole one"}, "It broke. expected a whole one"),
        ({"fix": "mend it"}, "It broke. mend it"),
        ({"expected": "a whole one", "fix": "mend it"}, "It broke. expected a whole one. mend it"),
    ],
)
def test_an_error_says_what_it_knows(kwargs: dict[str, Any], message: str) -> None:
    """The message is what happened, what was expected and what to do, as far as they are given."""
    error = HeadwaterError("It broke", **kwargs)
    assert str(error) == message
    assert (error.what, error.expected, error.fix) == ("It broke", kwargs.get("expected"), kwargs.get("fix"))
    assert error.retry_after is None


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: str(error.__name__))
def test_every_error_is_in_the_tree(error: type[HeadwaterError]) -> None:
    """Each error is one of ours, explains itself, has a title of its own, and is drawn in the tree of the module."""
    assert issubclass(error, HeadwaterError)
    assert error.__doc__
    assert error.title
    assert error.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.ConfigurationError, 500),
        (errors.RequestError, 400),
        (errors.InvalidInput, 400),
        (errors.InvalidEvent, 400),
        (errors.InvalidChannel, 400),
        (errors.InvalidCursor, 400),
        (errors.NotAuthenticated, 401),
        (errors.NotAllowed, 403),
        (errors.NotFound, 404),
        (errors.MethodNotAllowed, 405),
        (errors.NotAcceptable, 406),
        (errors.RequestTimeout, 408),
        (errors.IdempotencyConflict, 409),
        (errors.TooLarge, 413),
        (errors.UnsupportedMedia, 415),
        (errors.TooManyRequests, 429),
        (errors.Unavailable, 503),
        (errors.BrokerUnavailable, 503),
        (errors.HubFull, 503),
        (errors.Draining, 503),
    ],
)
def test_each_error_has_its_status(error: type[HeadwaterError], status: int) -> None:
    """The status is the one that the contract promises."""
    assert error("x").status == status


def test_invalid_input_is_a_value_error() -> None:
    """Code that knows nothing of Headwater may catch malformed values as it always does."""
    with pytest.raises(ValueError, match="not this"):
        raise InvalidCursor("not this")
    assert isinstance(InvalidCursor("x"), InvalidInput)


def test_an_authentication_error_carries_its_code() -> None:
    """The code of RFC 6750 goes into `WWW-Authenticate`; there is none where no token was sent."""
    assert NotAuthenticated("expired", fix="get a new one", code="invalid_token").code == "invalid_token"
    assert NotAuthenticated("no token").code is None


def test_a_limit_says_when_to_come_back() -> None:
    """`retry_after` is in seconds."""
    assert TooManyRequests("too fast", retry_after=1.5).retry_after == 1.5


def test_a_lost_position_carries_its_reason() -> None:
    """The reason is what the reset event will say."""
    lost = PositionLost("expired", "events after e-1 are gone")
    assert lost.reason == "expired"
    assert "load the current state again" in str(lost)


def test_a_refusal_carries_the_status_received() -> None:
    """The status is the hub's, not one of our own."""
    refused = RequestRefused(403, "Not allowed: no grant", retry_after=2)
    assert (refused.status, refused.retry_after, str(refused)) == (403, 2, "Not allowed: no grant")
