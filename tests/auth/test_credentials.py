"""Credentials: where they are found, which of them counts, who may use a cookie, and what stays out of logs."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from headwater.auth.credentials import NO_CREDENTIALS, REDACTED, Credentials, Source, find_token, redact
from headwater.errors import InvalidInput, NotAllowed
from tests.support.tokens import signed

HOST = [("host", "hub.example")]


def find(
    *headers: tuple[str, str], query: Any = (), cookie: str | None = None, method: str = "GET", origins: Any = ()
) -> Credentials:
    """The credentials of a request to hub.example whose token cookie is called `session`."""
    cookies = {} if cookie is None else {"session": cookie, "other": "x"}
    return find_token([*HOST, *headers], query, cookies, method=method, cookie_name="session", allowed_origins=origins)


def test_a_request_may_carry_nothing() -> None:
    """Then its caller is anonymous; other parameters, cookies and schemes are not looked at."""
    assert find(("authorization", "Basic dXNlcjpwYXNz"), query=[("channel", "a")]) == NO_CREDENTIALS
    assert find_token(HOST, [], {"session": "x"}, method="GET") == NO_CREDENTIALS
    assert find(cookie="") == NO_CREDENTIALS


@pytest.mark.parametrize("value", ["Bearer abc", "bearer abc", "BEARER  abc ", " Bearer abc"])
@pytest.mark.parametrize("name", ["authorization", "Authorization"])
def test_a_bearer_token_is_found(name: str, value: str) -> None:
    """The header's name and the scheme are read in any case."""
    assert find((name, value)) == Credentials(token="abc", source=Source.HEADER)


def test_tokens_and_tickets_are_found_in_the_query() -> None:
    """Each is what its name says."""
    assert find(query=[("channel", "a"), ("token", "abc")]) == Credentials(token="abc", source=Source.QUERY)
    assert find(query=[("ticket", "abc")]) == Credentials(ticket="abc", source=Source.QUERY)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([("authorization", "Bearer")], []),
        ([("authorization", "Bearer ")], []),
        ([], [("token", "")]),
        ([], [("ticket", "")]),
        ([("authorization", "Bearer abc")], [("ticket", "")]),
    ],
)
def test_an_empty_credential_is_a_mistake(headers: list[tuple[str, str]], query: list[tuple[str, str]]) -> None:
    """Whoever sends one meant to send something, and is not treated as anonymous."""
    with pytest.raises(InvalidInput, match="is empty"):
        find(*headers, query=query)


@pytest.mark.parametrize(
    ("headers", "query"),
    [
        ([("authorization", "Bearer a")], [("token", "b")]),
        ([("authorization", "Bearer a")], [("ticket", "a")]),
        ([("authorization", "Bearer a"), ("authorization", "Bearer b")], []),
        ([], [("token", "a"), ("token", "b")]),
        ([], [("token", "a"), ("ticket", "a")]),
    ],
)
def test_different_credentials_are_refused(headers: list[tuple[str, str]], query: list[tuple[str, str]]) -> None:
    """The caller meant one of them, and it is not for the hub to guess which."""
    with pytest.raises(InvalidInput, match="different credentials") as caught:
        find(*headers, query=query)
    assert caught.value.status == 400


def test_the_same_credential_twice_is_one() -> None:
    """A token in the header and in the query is a token."""
    assert find(("authorization", "Bearer a"), query=[("token", "a")]) == Credentials(token="a", source=Source.HEADER)


def test_an_explicit_credential_goes_before_a_cookie() -> None:
    """The cookie came along by itself, from whatever page; so its origin does not matter either."""
    evil = ("origin", "https://evil.example")
    assert find(("authorization", "Bearer a"), evil, cookie="b", method="POST").token == "a"
    assert find(evil, query=[("ticket", "a")], cookie="b", method="POST").ticket == "a"


ALLOWED = ["https://app.example", "*"]


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("GET", []),
        ("HEAD", []),
        ("GET", [("sec-fetch-site", "same-origin")]),
        ("GET", [("sec-fetch-site", "none")]),
        ("GET", [("origin", "https://hub.example")]),
        ("GET", [("origin", "https://app.example"), ("sec-fetch-site", "cross-site")]),
        ("POST", [("origin", "https://hub.example")]),
        ("POST", [("origin", "http://hub.example:80")]),
        ("POST", [("origin", "https://HUB.example:443")]),
        ("POST", [("Origin", "https://app.example")]),
        ("DELETE", [("origin", "https://hub.example")]),
    ],
)
def test_a_cookie_counts_from_our_own_pages(method: str, headers: list[tuple[str, str]]) -> None:
    """Pages of this host and of allowed origins may use it; reading may also come from what is no browser."""
    assert find(*headers, cookie="abc", method=method, origins=ALLOWED) == Credentials(
        token="abc", source=Source.COOKIE
    )


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("POST", []),
        ("DELETE", []),
        ("POST", [("sec-fetch-site", "same-origin")]),
        ("GET", [("sec-fetch-site", "cross-site")]),
        ("GET", [("sec-fetch-site", "same-site")]),
        ("GET", [("sec-fetch-site", "")]),
        ("GET", [("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")]),
        *[
            (method, [("origin", origin)])
            for method in ("GET", "POST")
            for origin in (
                "null",
                "*",
                "",
                "https://evil.example",
                "https://hub.example.evil.example",
                "https://hub.example:8443",
                "http://hub.example:443",
                "https://evil.example/hub.example",
                "https://hub.example@evil.example",
                "https://app.example.evil.example",
                "file://hub.example",
                "hub.example",
                "https://[::1",
                "https://hub.example:port",
            )
        ],
        ("POST", [("origin", "https://hub.example"), ("origin", "https://evil.example")]),
        ("POST", [("origin", "https://hub.example"), ("host", "evil.example")]),
    ],
)
def test_a_cookie_from_elsewhere_is_refused(method: str, headers: list[tuple[str, str]]) -> None:
    """No page of another site publishes or listens in its visitor's name, whatever it makes the browser send."""
    with pytest.raises(NotAllowed, match=r"cookie") as caught:
        find(*headers, cookie="abc", method=method, origins=ALLOWED)
    assert caught.value.status == 403


def test_hosts_with_ports_are_compared_with_them() -> None:
    """As browsers write them: without a default port."""
    cookies = {"session": "abc"}

    def publish(host: str, origin: str) -> Credentials:
        return find_token([("host", host), ("origin", origin)], [], cookies, method="POST", cookie_name="session")

    for host, origin in [
        ("localhost:8000", "http://localhost:8000"),
        ("hub.example:443", "https://hub.example"),
        ("[::1]:8000", "http://[::1]:8000"),
    ]:
        assert publish(host, origin).token == "abc"
    for host, origin in [("localhost:8000", "http://localhost:3000"), ("hub.example:port", "https://hub.example")]:
        with pytest.raises(NotAllowed):
            publish(host, origin)
    with pytest.raises(NotAllowed):
        find_token([("origin", "https://hub.example")], [], cookies, method="POST", cookie_name="session")


def test_a_starlette_request_fits() -> None:
    """Its headers, query and cookies are what `find_token` takes."""
    scope = {
        "type": "http",
        "headers": [(b"cookie", b"session=abc"), (b"host", b"hub.example")],
        "query_string": b"token=a&channel=b",
    }
    request = Request(scope)
    found = find_token(request.headers.items(), request.query_params.multi_items(), request.cookies, method="GET")
    assert found == Credentials(token="a", source=Source.QUERY)


def test_credentials_do_not_show_themselves() -> None:
    """What ends up in a log or a traceback says only what kind there is."""
    assert repr(Credentials(token="s3cret", source=Source.HEADER)) == "Credentials(token from header)"
    assert repr(Credentials(ticket="s3cret", source=Source.QUERY)) == "Credentials(ticket from query)"
    assert repr(NO_CREDENTIALS) == "Credentials(nothing)"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("/events?channel=a&token=s3cret", "/events?channel=a&token=[redacted]"),
        ("/events?token=s3cret&channel=a", "/events?token=[redacted]&channel=a"),
        ("/events?ticket=s3cret#top", "/events?ticket=[redacted]#top"),
        ("/events?TOKEN=s3cret", "/events?TOKEN=[redacted]"),
        ("/events?access_token=s3cret;a=b", "/events?access_token=[redacted];a=b"),
        ("/events?%74oken=s3cret", "/events?%74oken=[redacted]"),
        ("/events?to%6Ben=s3cret", "/events?to%6Ben=[redacted]"),
        ("/events?%54%49%43%4b%45%54=s3cret", "/events?%54%49%43%4b%45%54=[redacted]"),
        ("/login?next=%2Fevents%3Ftoken%3Ds3cret", "/login?next=%2Fevents%3Ftoken%3D[redacted]"),
        ("/login?next=%252Fevents%253Ftoken%253ds3cret", "/login?next=%252Fevents%253Ftoken%253d[redacted]"),
        ('"GET /events?token=s3cret HTTP/1.1" 200', '"GET /events?token=[redacted] HTTP/1.1" 200'),
        ("a?token=s3cret b?token=s3cret", "a?token=[redacted] b?token=[redacted]"),
        ("authorization: Bearer s3cret", "authorization: Bearer [redacted]"),
        ("bearer   s3cret, more", "bearer   [redacted], more"),
        ("the token is 9000 characters long", "the token is 9000 characters long"),
        ("/events?channel=token:7", "/events?channel=token:7"),
        ("", ""),
    ],
)
def test_secrets_stay_out_of_logs(text: str, redacted: str) -> None:
    """However the parameter's name is written, its value is not logged, and the rest is."""
    assert redact(text) == redacted


def test_anything_like_a_jwt_is_redacted() -> None:
    """Also where no name says what it is."""
    token = signed()
    assert redact(f"cannot read {token}, sorry") == f"cannot read {REDACTED}, sorry"


@given(st.text(alphabet="tokenicTOKEN%25=&?3dD ", max_size=40), st.sampled_from(["token", "ticket"]), st.integers(0, 2))
def test_no_spelling_of_the_name_lets_a_value_through(before: str, name: str, rounds: int) -> None:
    """Whatever stands before it, and however often the query was encoded."""
    query = f"?{name}=s3cretvalue"
    for _ in range(rounds):
        query = quote(query, safe="")
    assert "s3cretvalue" not in redact(before + query)


@pytest.mark.parametrize(
    "text", ["token" * 20_000, "%25" * 40_000, "t%25" * 30_000, "eyJ-" * 30_000, "bearer " * 20_000]
)
def test_redacting_takes_time_in_proportion(text: str) -> None:
    """A hostile text of 100 KB is done in milliseconds; trying every start against every end would take minutes."""
    start = time.perf_counter()
    redact(text)
    assert time.perf_counter() - start < 1.0
