"""What handlers get."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.asgi.access import Caller
from headwater.asgi.limits import Limiter, Limits
from headwater.asgi.site import ADMIN, Call, json_response
from headwater.auth import NO_CREDENTIALS
from headwater.channels import Principal
from headwater.errors import NotAllowed, TooLarge


class Parts:
    """As much of a site as reading a body needs."""

    limiter = Limiter(Limits(max_body_bytes=4))
    body_time = 1.0


def call(principal: Principal | None = None, *, headers: Any = (), body: bytes = b"") -> Call:
    """A call by somebody, with a body."""

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    caller = None if principal is None else Caller(principal, NO_CREDENTIALS)
    site: Any = Parts()
    return Call(
        site=site, scope={"headers": list(headers)}, receive=receive, query=[("a", "1"), ("a", "2")], caller=caller
    )


def test_a_field_is_the_first_of_its_name() -> None:
    """Or what the handler expects without it."""
    assert (call().field("a"), call().field("b"), call().field("b", "x")) == ("1", "", "x")


def test_a_caller_is_somebody() -> None:
    """On a route that asks for credentials; on an open one nobody is there to ask about."""
    assert call(Principal(id="ada")).principal.id == "ada"
    with pytest.raises(AssertionError):
        _ = call().principal


def test_an_administrator_holds_the_permission() -> None:
    """Or all permissions there are; nothing else makes one."""
    for permission in (ADMIN, "*"):
        call(Principal(permissions=frozenset({permission}))).require_admin()
    with pytest.raises(NotAllowed, match="needs an administrator"):
        call(Principal(id="admin", publish=("**",), subscribe=("**", "$**"))).require_admin()


async def test_a_body_is_read_within_the_limits() -> None:
    """By what it says it is, and by what it is."""
    assert await call(body=b"four").body() == b"four"
    with pytest.raises(TooLarge):
        await call(body=b"fives").body()
    with pytest.raises(TooLarge):
        await call(headers=[(b"content-length", b"5")]).body()


def test_json_is_for_this_moment() -> None:
    """It is not to be stored, unless a handler knows better."""
    response = json_response({"a": 1}, 201)
    assert (response.status_code, response.body) == (201, b'{"a":1}')
    assert response.headers["cache-control"] == "no-store"
    assert json_response(1, headers={"cache-control": "private"}).headers["cache-control"] == "private"
