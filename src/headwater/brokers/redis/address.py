"""Where a log is: the broker's URL as data.

Pure, and never shows a password.
"""

from __future__ import annotations

import msgspec


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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

    prefix: str = "headwater"
    wait: float = 5.0
    timeout: float = 5.0
    protocol: int = 3
    ssl_ca_certs: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_check_hostname: bool = True
    sentinel_username: str | None = None
    sentinel_password: str | None = None


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where to connect.

    Attributes:
        hosts: names (or addresses) and ports, to be tried in turn: of Redis, of some nodes of one cluster, or of Sentinels.
        master: the Sentinels' name for what they watch; None without Sentinels.
        db: number of the database.
        username, password: None to not log in.
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
    raise NotImplementedError
