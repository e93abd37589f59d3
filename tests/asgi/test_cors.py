"""Which pages of other origins are let in, and what browsers are told."""

from __future__ import annotations

import pytest

from headwater.asgi.cors import Cors, Headers, host_of, is_local
from headwater.errors import ConfigurationError, NotAllowed

APP = "https://app.example"


def names(headers: Headers) -> dict[str, str]:
    """Headers as text."""
    return {name.decode(): value.decode() for name, value in headers}


@pytest.mark.parametrize(
    "origin", ["app.example", "https://app.example/", "https://*.example", "ftp://x", "https://", "null"]
)
def test_an_origin_is_a_scheme_and_a_host(origin: str) -> None:
    """Paths, patterns and other schemes are mistakes of configuration."""
    with pytest.raises(ConfigurationError, match="is not an origin"):
        Cors([origin])


def test_a_star_stands_alone() -> None:
    """Together with others it would be unclear who gets cookies."""
    with pytest.raises(ConfigurationError, match=r"\* alone"):
        Cors(["*", APP])


def test_without_origins_there_are_no_headers() -> None:
    """The hub is for its own pages, and answers do not depend on the origin."""
    cors = Cors()
    assert not cors.is_on
    assert cors.headers(APP) == []


def test_an_allowed_origin_is_named_with_credentials() -> None:
    """The page may read the answer and what it needs of its headers; caches keep answers apart by origin."""
    assert names(Cors([APP]).headers(APP)) == {
        "vary": "Origin",
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "Retry-After, WWW-Authenticate",
    }


@pytest.mark.parametrize("origin", [None, "https://evil.example", "null", "https://app.example.evil.example"])
def test_others_get_nothing_but_vary(origin: str | None) -> None:
    """Who is not on the list, or is no page, learns nothing; caches must still know that it depends."""
    assert names(Cors([APP]).headers(origin)) == {"vary": "Origin"}


def test_a_star_lets_every_page_in_without_credentials() -> None:
    """With `*` there is never a credentials header: any page could read what the visitor's cookies open."""
    headers = names(Cors(["*"]).headers("https://any.example"))
    assert headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in headers


def test_origins_are_compared_as_browsers_write_them() -> None:
    """A configured origin may be in capitals; browsers send small letters."""
    assert Cors(["HTTPS://App.Example"]).allows(APP)


@pytest.mark.parametrize(
    "origin", ["http://localhost:5173", "http://127.0.0.1:3000", "http://[::1]:80", "http://a.localhost"]
)
def test_development_lets_this_machine_in(origin: str) -> None:
    """Any port of localhost is another server of the same developer."""
    assert "access-control-allow-credentials" in names(Cors(local=True).headers(origin))
    assert not Cors().allows(origin)


@pytest.mark.parametrize(
    "origin", ["http://127.evil.example", "http://localhost.evil.example", "http://10.0.0.1", "http://["]
)
def test_development_lets_nobody_else_in(origin: str) -> None:
    """Names that only look local are not."""
    assert not Cors(local=True).allows(origin)


def test_a_preflight_says_what_may_be_sent() -> None:
    """All that a client of the hub sends: the cursor, the token, the key."""
    headers = names(Cors([APP]).preflight(APP, {"POST", "GET"}))
    assert headers["access-control-allow-methods"] == "GET, POST"
    assert {"Last-Event-ID", "Authorization", "Idempotency-Key", "Content-Type"} <= set(
        headers["access-control-allow-headers"].split(", ")
    )
    assert headers["access-control-max-age"] == "7200"


def test_a_preflight_from_elsewhere_is_refused_by_name() -> None:
    """The developer who looks at the network tab finds the setting."""
    with pytest.raises(NotAllowed, match=r"https://evil\.example.*HEADWATER_CORS_ORIGINS"):
        Cors([APP]).preflight("https://evil.example", {"GET"})


@pytest.mark.parametrize(
    ("text", "host"),
    [
        (APP, "app.example"),
        ("Localhost:80", "localhost"),
        ("[::1]:8000", "::1"),
        ("", ""),
        ("http://[", ""),
        ("null", "null"),
    ],
)
def test_hosts_are_found_in_origins_and_host_headers(text: str, host: str) -> None:
    """Without port, in lower case; empty if there is none."""
    assert host_of(text) == host


def test_local_is_what_never_leaves_this_machine() -> None:
    """Names are not looked up."""
    assert is_local("localhost")
    assert is_local("127.8.9.10")
    assert not is_local("hub")
