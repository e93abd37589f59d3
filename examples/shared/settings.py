"""What every reference application can be told, and how it reads that from the environment.

Knows names of variables and a folder for data; must not know what an application does with its own settings.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one application; each has a subclass with a folder of its own and whatever else it needs.

    Attributes:
        data: the folder for everything it keeps.
        broker: where the log lives; empty for a SQLite file in `data`.
        jwt_secret: checks tokens, at least 32 bytes. Empty means development: a secret is made up and kept in `data`, and
            the pages of this machine get their tokens from the application itself.
        cors_origins: pages of these origins may use it from a browser; comma-separated.
    """

    data: str
    broker: str = ""
    jwt_secret: str = ""
    cors_origins: str = ""

    @classmethod
    def from_env(cls, prefix: str, env: Mapping[str, str] = os.environ) -> Self:
        """Settings from variables: those of Headwater, `REDIS_URL` as broker, `DATABASE_URL`, and `<prefix>_<FIELD>` for
        each field.

        Raises:
            msgspec.ValidationError: a value is no number where one is needed.
        """
        shared = {"broker": ("REDIS_URL", "HEADWATER_BROKER"), "jwt_secret": ("HEADWATER_JWT_SECRET",)}
        shared |= {"cors_origins": ("HEADWATER_CORS_ORIGINS",), "database": ("DATABASE_URL",)}
        given: dict[str, Any] = {}
        for field in cls.__struct_fields__:
            for name in (*shared.get(field, ()), f"{prefix}_{field}".upper()):
                if name in env:
                    given[field] = env[name]
        return msgspec.convert(given, cls, strict=False)

    @property
    def folder(self) -> Path:
        """`data` as a path."""
        return Path(self.data).absolute()

    @property
    def origins(self) -> tuple[str, ...]:
        """`cors_origins`, one by one."""
        return tuple(origin.strip() for origin in self.cors_origins.split(",") if origin.strip())

    @property
    def is_dev(self) -> bool:
        """Whether no secret was configured."""
        return not self.jwt_secret

    @property
    def broker_url(self) -> str:
        """`broker`, or a SQLite file in `data`."""
        return self.broker or f"sqlite:///{self.folder}/events.db"

    @property
    def secret(self) -> str:
        """`jwt_secret`, or the one made up for development, which outlives a restart so that tokens do, too."""
        return self.jwt_secret or _own_secret(self.prepared() / "secret")

    def prepared(self) -> Path:
        """The folder, made if it is missing, and invisible to git wherever it lies."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ".gitignore").write_text("*\n")
        return self.folder


def _own_secret(path: Path) -> str:
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    return path.read_text()
