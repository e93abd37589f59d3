"""`headwater serve`: settings become a hub and its application.

The composition root: the only place where the parts of Headwater are put together for a process. With several workers
each of them does this anew from the same settings, which the parent hands over in its environment.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

import msgspec
from starlette.types import ASGIApp

from headwater.asgi.app import create_app
from headwater.asgi.library import Hub
from headwater.asgi.limits import Limits
from headwater.asgi.register import LogRegister
from headwater.auth import TicketOffice, TokenSettings, Verifier, check_secure
from headwater.brokers import redacted
from headwater.brokers.base import Rule
from headwater.changes.declared import rules_from
from headwater.cli.running import run_server
from headwater.cli.settings import Settings
from headwater.errors import ConfigurationError

HANDOVER: Final = "_HEADWATER_SETTINGS"
"""Environment variable by which a parent hands its settings to its workers. It does not begin like a setting, so it is
never taken for one; it holds what the parent's own environment and flags held."""

OWN_CHANNELS: Final = Rule(pattern="$**", count=10, age=3600.0)
"""What is kept of the hub's own channels: they only carry probes."""

DEAD: Final = Rule(pattern="$changes:**", count=1_000, age=30 * 86400.0)
"""And of changes of rows that could not become what they should: until somebody has mended the rule."""


class Handover(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to build what its parent would have built.

    Attributes:
        settings: in force.
        ticket_secret: signs tickets, so that any worker takes what another sold.
    """

    settings: Settings
    ticket_secret: str


def token_settings(settings: Settings) -> TokenSettings:
    """How tokens are checked. Raises ConfigurationError for keys that cannot be used."""
    return TokenSettings(
        secret=settings.jwt_secret,
        public_key=_pem(settings.jwt_public_key),
        jwks_url=settings.jwks_url,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        permissions_claim=settings.jwt_permissions_claim,
        scope_claim=settings.jwt_scope_claim,
        grants_claim=settings.jwt_grants_claim,
    )


def _pem(text_or_file: str | None) -> str | None:
    if text_or_file is None or text_or_file.lstrip().startswith("-----BEGIN"):
        return text_or_file
    try:
        return Path(text_or_file).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"jwt_public_key is neither PEM text nor a file that can be read: {error}", expected="one of them"
        ) from None


def limits(settings: Settings) -> Limits:
    """What one caller may ask for; in development single callers are not held back."""
    found = Limits(**{name: getattr(settings, name) for name in Limits.__struct_fields__ if hasattr(settings, name)})
    return found.for_development() if settings.dev else found


def make_hub(settings: Settings) -> Hub:
    """The hub, not yet started."""
    retention = settings.retention
    return Hub(
        settings.broker,
        retention=msgspec.structs.replace(retention, rules=(DEAD, OWN_CHANNELS, *retention.rules)),
        database=settings.database,
        changes=rules_from(settings.changes, "[[changes]]"),
        heartbeat=settings.heartbeat,
        grace=settings.grace,
        max_event_bytes=settings.max_event_bytes,
    )


def check_shared(settings: Settings) -> None:
    """Refuse several processes with a log of their own each: what is published to one would not reach the others' streams,
    and a ticket would be good once in each.

    Raises:
        ConfigurationError: the log is in memory, and there are several workers.
    """
    if settings.workers > 1 and settings.broker.startswith("memory:"):
        raise ConfigurationError(
            f"{settings.workers} workers are to serve a log in memory, which each of them has for itself",
            expected="a log that processes can share, such as sqlite:///headwater.db, or one worker",
        )


def make_app(settings: Settings, ticket_secret: str) -> ASGIApp:
    """The hub's application."""
    check_shared(settings)
    tokens = token_settings(settings)
    check_secure(tokens, dev=settings.dev, host=settings.host)
    hub = make_hub(settings)
    # Whoever shares the log, workers and other nodes, has to know which tickets were used.
    register = None if settings.broker.startswith("memory:") else LogRegister(hub.broker)
    return create_app(
        hub,
        verifier=None if settings.dev else Verifier(tokens),
        tickets=TicketOffice(ticket_secret, register=register),
        limits=limits(settings),
        cors_origins=settings.cors_origins,
        cookie_name=settings.cookie_name,
        dev=settings.dev,
        lifespan=hub.lifespan,  # which drains on signals
    )


def ticket_secret(settings: Settings) -> str:
    """What tickets are signed with. Nodes that share a secret take one another's; without one a node takes its own alone."""
    return settings.ticket_secret or settings.jwt_secret or secrets.token_hex(32)


def application() -> ASGIApp:
    """The application of a worker process; uvicorn imports and calls this."""
    handover = msgspec.json.decode(os.environ[HANDOVER], type=Handover)
    return make_app(handover.settings, handover.ticket_secret)


def serve(settings: Settings) -> None:
    """Run the hub until a signal ends it.

    Raises:
        ConfigurationError: the settings cannot work; nothing was started.
    """
    handover = Handover(settings=settings, ticket_secret=ticket_secret(settings))
    make_app(settings, handover.ticket_secret)  # what is wrong is said here, once, and not by each worker
    os.environ[HANDOVER] = msgspec.json.encode(handover).decode()
    mode = "development mode" if settings.dev else "tokens required"
    run_server("headwater.cli.serve:application", settings, factory=True, what=f"{redacted(settings.broker)}, {mode}")
