"""How a refusal looks over HTTP."""

from __future__ import annotations

import logging

import msgspec
import pytest

from headwater import errors
from headwater.asgi.problems import (
    MEDIA_TYPE,
    Problem,
    handle_error,
    method_not_allowed,
    problem_of,
    problem_response,
    refuse,
)
from headwater.brokers import open_broker
from headwater.errors import HeadwaterError, NotAllowed, NotAuthenticated, TooManyRequests, Unavailable
from headwater.hub import Hub


def test_a_problem_says_all_that_the_error_says() -> None:
    """Type and title name the kind, detail is the whole text, and the parts are there for programs."""
    error = errors.InvalidChannel("channel ' ' is malformed", expected="a name", fix="choose another")
    assert problem_of(error) == Problem(
        type="urn:headwater:problem:invalid-channel",
        title="Invalid channel",
        status=400,
        detail="channel ' ' is malformed. expected a name. choose another",
        expected="a name",
        fix="choose another",
    )


def test_a_problem_leaves_out_what_the_error_does_not_say() -> None:
    """There are no nulls in the body."""
    response = problem_response(errors.NotFound("gone"))
    assert msgspec.json.decode(response.body) == {
        "type": "urn:headwater:problem:not-found",
        "title": "Not found",
        "status": 404,
        "detail": "gone",
    }
    assert response.headers["content-type"] == MEDIA_TYPE
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "error",
    [errors.ConfigurationError("the password is 1234"), errors.PositionLost("expired", "secret"), HeadwaterError("x")],
)
def test_what_is_our_fault_is_not_shown(error: HeadwaterError) -> None:
    """A status of 500 comes with the same words whatever went wrong."""
    problem = problem_of(error)
    assert (problem.status, problem.title) == (500, "Internal error")
    assert problem.detail == "something went wrong inside the hub. its log has the details"


@pytest.mark.parametrize(
    ("error", "challenge"),
    [
        (NotAuthenticated("no token"), 'Bearer realm="headwater"'),
        (
            NotAuthenticated('bad "to\\ken"\nü', code="invalid_token"),
            'Bearer realm="headwater", error="invalid_token", error_description="bad ?to?ken???"',
        ),
        (NotAllowed("no"), 'Bearer realm="headwater", error="insufficient_scope", error_description="no"'),
    ],
)
def test_who_may_not_is_told_how(error: HeadwaterError, challenge: str) -> None:
    """401 and 403 carry the RFC 6750 challenge: no code without credentials, and no character that would break the header."""
    assert problem_response(error).headers["www-authenticate"] == challenge


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (TooManyRequests("slow down", retry_after=0.01), "1"),
        (TooManyRequests("slow down", retry_after=2.1), "3"),
        (TooManyRequests("slow down"), None),
        (Unavailable("not now"), "1"),
        (errors.HubFull("full", retry_after=5), "5"),
        (errors.InvalidInput("no"), None),
    ],
)
def test_who_may_come_back_is_told_when(error: HeadwaterError, seconds: str | None) -> None:
    """Retry-After is in whole seconds, rounded up, at least 1; a 503 always has it."""
    assert problem_response(error).headers.get("retry-after") == seconds


def test_a_wrong_method_is_told_the_right_ones() -> None:
    """405 lists them in Allow, and an absurd method is cut."""
    response = method_not_allowed("X" * 100, {"POST", "GET"})
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"
    assert b"X" * 20 + b" is not possible here" in response.body
    assert b"X" * 21 not in response.body


def test_further_headers_are_added() -> None:
    """They win over the usual ones."""
    assert (
        problem_response(HeadwaterError("x"), headers={"cache-control": "private"}).headers["cache-control"]
        == "private"
    )


def test_refusals_are_counted_by_title() -> None:
    """Each adds one to the hub's count for its title, and is not logged."""
    hub = Hub(open_broker("memory://"))
    for _ in range(2):
        assert refuse(hub, errors.NotFound("gone")).status_code == 404
    assert hub.rejections == {"Not found": 2}


@pytest.mark.parametrize("error", [KeyError("the secret"), errors.ConfigurationError("the secret")])
def test_failures_are_logged_and_hidden(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """What nobody expected is a 500 for the client, and whole with its traceback in the log."""
    hub = Hub(open_broker("memory://"))
    with caplog.at_level(logging.ERROR, "headwater"):
        response = refuse(hub, error)
    assert response.status_code == 500
    assert b"secret" not in response.body
    assert "the secret" in caplog.text
    assert caplog.records[0].exc_info == (type(error), error, error.__traceback__)
    assert sum(hub.rejections.values()) == 1


async def test_applications_may_use_the_same_answers() -> None:
    """`handle_error` has the shape of Starlette's exception handlers."""
    assert (await handle_error(None, errors.NotFound("gone"))).status_code == 404
