"""Settings: `headwater.toml`, then `HEADWATER_*` variables, then flags, each overriding the one before.

Pure but for reading the file it is told to read. What a setting means is said once, in `Settings`; how it is written as
text is said in `_READERS`. Must not know what is built from it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from headwater.brokers import redacted
from headwater.brokers.base import Retention
from headwater.changes.declared import KEY, rules_from
from headwater.cli.retention import retention_from_text
from headwater.errors import ConfigurationError

PREFIX: Final = "HEADWATER_"
FILE: Final = "headwater.toml"
CLIENT_NAMES: Final = frozenset({"HEADWATER_URL", "HEADWATER_TOKEN"})
"""Variables that `publish`, `tail`, `doctor` and `bench` read: where a hub is and who asks. They set nothing of a hub."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that can be set. Each field is `HEADWATER_` and its name in capitals, and a key of headwater.toml.

    Attributes:
        broker: URL of the log: sqlite:///file.db, redis://host, postgresql://host/database, memory://.
        host: address to listen on.
        port: to listen on; 0 for one of the system's choice.
        workers: processes that serve the same log.
        dev: development mode: no tokens, loopback only.
        grace: seconds that a shutdown may take.
        heartbeat: seconds between heartbeats; 0 for none.
        database: URL of a PostgreSQL database whose row changes and publishes become events; not needed if that is the log.
        changes: rules for row changes, as [[changes]] in the settings file; or a .toml file with such, or module:name.
        retention: what the log keeps, as in `24h,10000;room:**=1h;total=1GiB`.
        jwt_secret: secret shared with the tokens' issuer, for HS256, HS384, HS512.
        jwt_public_key: the issuer's public key, PEM text or the name of a file with it.
        jwks_url: where the issuer publishes its keys.
        jwt_issuer: what a token's `iss` must be.
        jwt_audience: what a token's `aud` must be or contain.
        jwt_permissions_claim: the claim with the permissions.
        jwt_scope_claim: the claim read instead where that is missing.
        jwt_grants_claim: the claim with the channel grants.
        ticket_secret: signs tickets; nodes that share it take one another's. Without it the jwt_secret does.
        cookie_name: a cookie that may carry the token, for pages of allowed origins; none by default.
        cors_origins: origins whose pages may call the hub, comma-separated.
        max_streams: open streams of one process.
        max_streams_per_principal: open streams of one principal.
        max_streams_per_address: open streams of one address.
        max_channels_per_stream: channels that one stream may name.
        max_event_bytes: of an event's data.
        max_body_bytes: of a request.
        connect_rate: new streams per address and second.
        publish_rate: events per principal and second.
        direct: let streams take their connections over; off if middlewares must see every byte.
        tls_cert: file with the certificate chain, PEM.
        tls_key: file with its private key, PEM.
        trusted_proxies: addresses whose X-Forwarded-For is believed, comma-separated.
        log_level: debug, info, warning or error.
        log_format: text, json, or auto: text on a terminal.
    """

    broker: str = "sqlite:///headwater.db"
    database: str | None = None
    changes: str | tuple[dict[str, Any], ...] = ()
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    dev: bool = False
    grace: float = 10.0
    heartbeat: float = 15.0
    retention: Retention = Retention()
    jwt_secret: str | None = None
    jwt_public_key: str | None = None
    jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_permissions_claim: str = "permissions"
    jwt_scope_claim: str = "scope"
    jwt_grants_claim: str = "headwater"
    ticket_secret: str | None = None
    cookie_name: str | None = None
    cors_origins: tuple[str, ...] = ()
    max_streams: int = 100_000
    max_streams_per_principal: int = 100
    max_streams_per_address: int = 1_000
    max_channels_per_stream: int = 100
    max_event_bytes: int = 256 * 1024
    max_body_bytes: int = 4 * 1024 * 1024
    connect_rate: float = 100.0
    publish_rate: float = 1_000.0
    direct: bool = True
    tls_cert: str | None = None
    tls_key: str | None = None
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")
    log_level: str = "info"
    log_format: str = "auto"

    def __post_init__(self) -> None:
        _check("port", self.port, 0 <= self.port <= 65535, "0 to 65535")
        _check("workers", self.workers, 1 <= self.workers <= 256, "1 to 256")
        _check("grace", self.grace, 0 <= self.grace <= 3600, "0 to 3600 seconds")
        _check(
            "heartbeat", self.heartbeat, self.heartbeat == 0 or 1 <= self.heartbeat <= 3600, "0, or 1 to 3600 seconds"
        )
        _check("log_level", self.log_level, self.log_level in _LEVELS, ", ".join(_LEVELS))
        _check("log_format", self.log_format, self.log_format in _FORMATS, ", ".join(_FORMATS))
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigurationError("only one of tls_cert and tls_key is set", expected="both, or neither")


_LEVELS: Final = ("debug", "info", "warning", "error")
_YES: Final = ("1", "true", "yes", "on")
_NO: Final = ("0", "false", "no", "off")
_FORMATS: Final = ("auto", "text", "json")
NAMES: Final = tuple(field.name for field in msgspec.structs.fields(Settings))


def _check(name: str, value: object, good: bool, expected: str) -> None:
    if not good:
        raise ConfigurationError(f"{name} is {value!r}", expected=expected)


def load(flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """The settings in force.

    Args:
        flags: from the command line; None means not given.
        environ: the process's environment.
        file: a headwater.toml that must exist; None reads the one in the current directory, if there is one.

    Raises:
        ConfigurationError: a file cannot be read, a name is unknown, or a value is malformed. Says where it came from.
    """
    values: dict[str, Any] = {}
    for source, found in (
        (str(file or FILE), _from_file(file)),
        ("the environment", _from_environment(environ)),
        ("the command line", {name: value for name, value in flags.items() if value is not None}),
    ):
        for name, value in found.items():
            values[name] = _read(name, value, source)
    return Settings(**values)


def _from_file(file: Path | None) -> dict[str, Any]:
    path = file or Path(FILE)
    if file is None and not path.exists():
        return {}
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}", expected="a TOML file") from None
    for name in found:
        _check_name(name, f"{path} sets {name!r}", NAMES)
    return found


def _from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    found = {name: value for name, value in environ.items() if name.startswith(PREFIX) and name not in CLIENT_NAMES}
    for name in found:
        _check_name(name, f"the environment sets {name}", tuple(PREFIX + known.upper() for known in NAMES))
    # An empty variable is how shells and compose files say "not set".
    return {name.removeprefix(PREFIX).lower(): value for name, value in found.items() if value != ""}


def _check_name(name: str, what: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ConfigurationError(f"{what}, which is no setting", expected=f"one of {', '.join(sorted(known))}")


def _read(name: str, value: Any, source: str) -> Any:
    kind = {field.name: field.type for field in msgspec.structs.fields(Settings)}[name]
    reader, expected = _READERS[str(kind) if not isinstance(kind, type) else kind.__name__]
    try:
        return reader(value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name} (from {source}): {error.what}", expected=error.expected) from None
    except (TypeError, ValueError):
        shown = "a value that is not shown" if "secret" in name or "key" in name else redacted(repr(value))[:80]
        raise ConfigurationError(f"{name} is {shown} (from {source})", expected=expected) from None


def _rules(value: Any) -> str | tuple[dict[str, Any], ...]:
    """As declared, because a worker process gets its settings as JSON, which holds no functions."""
    rules_from(value, f"[[{KEY}]]")
    return value if isinstance(value, str) else tuple(value)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise TypeError
    return int(value)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _yes_no(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = _text(value).lower()
    if text not in _YES + _NO:
        raise ValueError
    return text in _YES


def _list(value: Any) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise TypeError
    return tuple(text for item in items if (text := _text(item).strip()))


_READERS: Final[dict[str, tuple[Callable[[Any], Any], str]]] = {
    "str": (_text, "text"),
    "str | None": (_text, "text"),
    "int": (_whole, "a whole number"),
    "float": (_number, "a number"),
    "bool": (_yes_no, "true or false"),
    "tuple[str, ...]": (_list, "a list, or text separated by commas"),
    "str | tuple[dict[str, typing.Any], ...]": (_rules, "rules"),
    "Retention": (retention_from_text, "rules such as 24h,10000"),
}
