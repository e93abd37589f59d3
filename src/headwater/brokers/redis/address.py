"""Where a log is: the broker's URL as data.

Pure, and never shows a password.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote

import msgspec

from headwater.errors import ConfigurationError

PORT = 6379
SENTINEL_PORT = 26379

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]
_EXPECTED = (
    "redis://[user:password@]host[:port][,host...][/database], rediss:// for TLS, or "
    "redis+sentinel://host[:port][,host...]/master[/database]"
)
# urllib's parser knows one host per URL.
_URL = re.compile(
    r"(?P<scheme>rediss?(?:\+sentinel)?)://(?:(?P<user>[^:@/?#]*)(?::(?P<password>[^@/?#]*))?@)?(?P<places>[^@/?#]+)"
    r"(?P<path>(?:/[^@/?#]+)*)/?(?:\?(?P<query>[^@#]*))?\Z"  # a later @ ends a password that is not encoded
)
_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-fA-F:.]+)\]|(?P<name>[^\[\]:,@/]+))(?::(?P<port>\d{1,5}))?\Z")


class _Discreet(msgspec.Struct, frozen=True, kw_only=True):
    """Does not show its passwords: what a debugger or a report of a crash prints is read by many."""

    def __repr__(self) -> str:
        shown = (
            f"{name}={'***' if value and name.endswith('password') else repr(value)}"
            for name, value in msgspec.structs.asdict(self).items()
        )
        return f"{type(self).__name__}({', '.join(shown)})"


class Options(_Discreet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the log is used: the options of the URL's query.

    Attributes:
        prefix: what its keys begin with; two logs in one database need two.
        wait: seconds for which a publish waits out an outage.
        timeout: seconds for an answer, and for a connection to be made.
        protocol: of Redis, RESP 2 or 3.
        ssl_ca_certs: file of certificates to trust, instead of the system's.
        ssl_certfile, ssl_keyfile: a certificate of our own to show, and its key.
        ssl_check_hostname: whether the server's certificate must be for the host connected to.
        sentinel_username, sentinel_password: how to log in at the Sentinels, which have passwords of their own.
    """

    prefix: Annotated[
        str, msgspec.Meta(pattern=r"^[^{}\s]*(\{[^{}\s]+\}[^{}\s]*)?\Z", min_length=1, max_length=200)
    ] = "headwater"
    wait: _Seconds = 5.0
    timeout: _Seconds = 5.0
    protocol: Literal[2, 3] = 3
    ssl_ca_certs: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_check_hostname: bool = True
    sentinel_username: str | None = None
    sentinel_password: str | None = None


class Target(_Discreet, frozen=True, kw_only=True):
    """Where to connect.

    Attributes:
        hosts: names (or addresses) and ports, to be tried in turn: of Redis, of some nodes of one cluster, or of Sentinels.
        master: the Sentinels' name for what they watch; None without Sentinels.
        db: number of the database.
        username, password: None to not log in. A user without a password logs in, too: Redis knows such users, and nobody is
            to be taken for the default one by mistake.
        tls: whether the connections are encrypted.
    """

    hosts: tuple[tuple[str, int], ...]
    master: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False


def parse(url: str) -> tuple[Target, Options]:
    """What `url` says.

    Raises:
        ConfigurationError: it is malformed, or has an unknown option.
    """
    parts = _URL.match(url)
    if parts is None:
        raise ConfigurationError("the broker's URL is not one of Redis", expected=_EXPECTED)
    sentinel = parts["scheme"].endswith("+sentinel")
    path = [unquote(piece) for piece in parts["path"].split("/")[1:]]
    master = path.pop(0) if sentinel and path else None
    if len(path) > 1 or sentinel == (master is None):
        raise ConfigurationError("the broker's URL is not one of Redis", expected=_EXPECTED)
    target = Target(
        hosts=tuple(_hosts(parts["places"], SENTINEL_PORT if sentinel else PORT)),
        master=master,
        db=_database(path[0] if path else "0"),
        username=unquote(parts["user"] or "") or None,
        password=unquote(parts["password"] or "") or None,
        tls=parts["scheme"].startswith("rediss"),
    )
    return target, _options(parts["query"] or "")


def tls_context(target: Target, options: Options) -> ssl.SSLContext | None:
    """What TLS connections are made with; None if they are not encrypted.

    Raises:
        ConfigurationError: a file of certificates cannot be read.
    """
    if not target.tls:
        return None
    try:
        context = ssl.create_default_context(cafile=options.ssl_ca_certs)
        if options.ssl_certfile is not None:
            context.load_cert_chain(options.ssl_certfile, options.ssl_keyfile)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigurationError(
            f"the certificates for Redis cannot be loaded: {error}",
            expected="PEM files in ssl_ca_certs, ssl_certfile and ssl_keyfile",
        ) from error
    context.check_hostname = options.ssl_check_hostname
    return context


def _hosts(places: str, default: int) -> Iterator[tuple[str, int]]:
    for place in places.split(","):
        match = _HOST.match(place)
        if match is None or not 0 < int(match["port"] or default) < 1 << 16:
            raise ConfigurationError(f"the broker's URL names no host: {place!r}", expected=_EXPECTED)
        yield match["ipv6"] or unquote(match["name"]), int(match["port"] or default)


def _database(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise ConfigurationError(f"the broker's URL names no database: {text!r}", expected=_EXPECTED)
    return int(text)


def _options(query: str) -> Options:
    try:
        given: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:  # which repeats what has no value: it may be the rest of a password with an & in it
        raise _malformed("one of them has no value") from None
    try:
        return msgspec.convert(given, Options, strict=False)
    except msgspec.ValidationError as error:
        raise _malformed(str(error)) from error


def _malformed(why: str) -> ConfigurationError:
    known = ", ".join(Options.__struct_fields__)
    return ConfigurationError(f"the options of the broker's URL are malformed: {why}", expected=known)
