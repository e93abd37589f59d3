"""URLs of Redis."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from headwater.brokers.base import Retention
from headwater.brokers.redis import RedisBroker, from_url
from headwater.brokers.redis.address import Options, Target, parse, tls_context
from headwater.errors import ConfigurationError
from tests.support.certificates import self_signed


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("redis://host", Target(hosts=(("host", 6379),))),
        ("redis://host:7000/3", Target(hosts=(("host", 7000),), db=3)),
        ("redis://host/", Target(hosts=(("host", 6379),))),
        ("rediss://h", Target(hosts=(("h", 6379),), tls=True)),
        ("redis://us%40er:p%3Aw%2F@h", Target(hosts=(("h", 6379),), username="us@er", password="p:w/")),
        ("redis://:pw@h", Target(hosts=(("h", 6379),), password="pw")),
        ("redis://[::1]:7000,[fe80::1],c", Target(hosts=(("::1", 7000), ("fe80::1", 6379), ("c", 6379)))),
        ("redis+sentinel://a,b:1/mine", Target(hosts=(("a", 26379), ("b", 1)), master="mine")),
        ("rediss+sentinel://a/mine/2", Target(hosts=(("a", 26379),), master="mine", db=2, tls=True)),
    ],
)
def test_a_url_says_where_the_log_is(url: str, target: Target) -> None:
    """Hosts, ports, database, login, TLS and the name that Sentinels know; escapes are read."""
    assert parse(url) == (target, Options())


def test_options_are_in_the_query() -> None:
    """With their types."""
    url = "redis://h?prefix=a:{b}:c&wait=2.5&timeout=1&protocol=2&ssl_check_hostname=false&sentinel_password=x"
    _, options = parse(url)
    assert options == Options(
        prefix="a:{b}:c", wait=2.5, timeout=1, protocol=2, ssl_check_hostname=False, sentinel_password="x"
    )


@pytest.mark.parametrize(
    "url",
    [
        *("redis://", "redis:///0", "redis://h#f", "redis://h/0/1", "redis://h/x", "redis://h/-1"),
        *("redis://h:0", "redis://h:65536", "redis://h:x", "redis://a,,b", "redis://[h]", "redis://h/9999999999"),
        *("redis+sentinel://h", "redis+sentinel://h/", "redis+sentinel://h/m/0/1", "redis://h]"),
    ],
)
def test_a_url_that_names_no_redis_is_refused(url: str) -> None:
    """With the form that it should have."""
    with pytest.raises(ConfigurationError, match="redis://"):
        parse(url)


@pytest.mark.parametrize(
    "query",
    [
        *(
            "prefix=",
            "prefix={a",
            "prefix=a}b",
            "prefix={}",
            "prefix=a%20b",
            "prefix=a%0A",
            "wait=0",
            "wait=soon",
            "timeout=-1",
        ),
        *("protocol=4", "ssl_check_hostname=maybe", "nonsense=1", "wait", "prefix={a}{b}"),
    ],
)
def test_a_malformed_option_is_refused(query: str) -> None:
    """With the options that there are."""
    with pytest.raises(ConfigurationError, match=r"options .* malformed.*sentinel_password"):
        parse(f"redis://h?{query}")


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:secret@",
        "redis://u:secret@h/x",
        "redis://u:secret@h?wait=x",
        "redis://:secret@h#",
        "redis://h?sentinel_password=a&secret",
    ],
)
def test_no_error_shows_the_password(url: str) -> None:
    """Whatever else is wrong with the URL."""
    with pytest.raises(ConfigurationError) as raised:
        parse(url)
    assert "secret" not in str(raised.value)


def test_nothing_that_is_printed_shows_a_password() -> None:
    """Nor does a report of a crash, with the values of all variables in it."""
    target, options = parse("redis+sentinel://u:secret@h/m?sentinel_password=secret&wait=2")
    assert "secret" not in f"{target} {options!r}"
    assert "username='u', password=***" in repr(target)
    assert "wait=2.0" in repr(options)
    assert "password=None" in repr(parse("redis://h")[0])


def test_a_url_makes_a_broker() -> None:
    """Which does not connect before it is opened."""
    assert isinstance(from_url("redis://nowhere.invalid", Retention()), RedisBroker)


def test_certificates_are_loaded_at_once(tmp_path: Path) -> None:
    """So that a wrong path is known before anything starts; and hosts are checked unless told otherwise."""
    certificate, key = self_signed(tmp_path)
    files = f"ssl_ca_certs={certificate}&ssl_certfile={certificate}&ssl_keyfile={key}"
    assert tls_context(*parse("redis://h")) is None
    strict = tls_context(*parse(f"rediss://h?{files}"))
    lax = tls_context(*parse(f"rediss://h?{files}&ssl_check_hostname=false"))
    assert strict is not None
    assert lax is not None
    assert (strict.check_hostname, strict.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert (lax.check_hostname, lax.verify_mode) == (False, ssl.CERT_REQUIRED)
    for query in ("ssl_ca_certs=/nowhere", f"ssl_certfile={certificate}&ssl_keyfile=/nowhere"):
        with pytest.raises(ConfigurationError, match="certificates for Redis cannot be loaded"):
            from_url(f"rediss://h?{query}", Retention())
