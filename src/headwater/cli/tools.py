"""`headwater token`, `publish` and `tail`: small jobs for people and scripts.

Built on the same client and the same token maker that applications use. Knows how to read arguments and how to print; must
not know how connections are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final, TextIO

import msgspec

from headwater.auth import mint
from headwater.cli.settings import Settings
from headwater.cli.terminal import visible, visible_json
from headwater.errors import ConfigurationError, InvalidInput
from headwater.event import Draft
from headwater.publishing import Publisher, publisher

DEFAULT_URL: Final = "http://127.0.0.1:8000"
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])\Z", re.ASCII)


def token(
    settings: Settings,
    *,
    sub: str | None,
    subscribe: Iterable[str],
    publish: Iterable[str],
    permissions: Iterable[str],
    ttl: str,
) -> str:
    """A token that a hub with these settings accepts.

    Raises:
        ConfigurationError: there is no secret to sign with. InvalidInput: a pattern, a permission or `ttl` is malformed.
    """
    if settings.jwt_secret is None:
        raise ConfigurationError(
            "there is no secret to sign a token with",
            expected="HEADWATER_JWT_SECRET, as the hub has it",
            fix="with a public key or a JWKS URL, get tokens from their issuer",
        )
    return mint(
        settings.jwt_secret,
        sub=sub,
        subscribe=subscribe,
        publish=publish,
        permissions=permissions,
        ttl=seconds(ttl),
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        permissions_claim=settings.jwt_permissions_claim,
        grants_claim=settings.jwt_grants_claim,
    )


def seconds(duration: str) -> float:
    """A duration such as 90s, 15m, 1h or 30d, in seconds.

    Raises:
        InvalidInput: it is none.
    """
    match = _DURATION.match(duration)
    if match is None or int(match[1]) == 0:
        raise InvalidInput(f"the duration {duration[:40]!r} cannot be read", expected="90s, 15m, 1h or 30d")
    return float(int(match[1]) * _UNITS[match[2]])


def publish(
    channel: str,
    data: str,
    *,
    type: str,
    text: bool,
    permissions: Iterable[str],
    key: str | None,
    url: str | None,
    broker: str | None,
    token: str | None,
) -> str:
    """Publish one event, through a hub or straight into a log; its id.

    Raises:
        InvalidInput: the event is malformed. ConfigurationError, BrokerUnavailable, ClientError: see `Publisher.publish`.
    """
    if url is not None and broker is not None:
        raise InvalidInput("both --url and --broker say where to publish", expected="one of them")
    draft = _draft(channel, data, type=type, text=text, permissions=permissions, key=key)
    return asyncio.run(_publish(publisher(broker) if broker else publisher(url or DEFAULT_URL, token=token), draft))


def _draft(channel: str, data: str, *, type: str, text: bool, permissions: Iterable[str], key: str | None) -> Draft:
    if text:
        return Draft(
            channel=channel,
            type=type,
            data=data.removesuffix("\n"),
            text=True,
            permissions=frozenset(permissions),
            idempotency_key=key,
        )
    raw = msgspec.Raw(data.encode())
    return Draft.json(channel, type, raw, permissions=permissions, idempotency_key=key)


async def _publish(there: Publisher, draft: Draft) -> str:
    async with there:
        (id,) = await there.publish_all([draft])
    return id


def tail(
    channels: Sequence[str],
    *,
    since: str | None,
    as_json: bool,
    url: str | None,
    token: str | None,
    count: int | None,
    out: TextIO | None = None,
) -> None:
    """Print events as they come until interrupted, or until `count` have come. News of the connection goes to standard
    error, so that the output can be piped.

    Raises:
        ClientError: the hub refuses for good.
    """
    from headwater.client import subscribe_sync

    target = out or sys.stdout
    options: dict[str, Any] = {"token": token, "on_status": _say, **({} if since is None else {"since": since})}
    with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
        with subscribe_sync(url or DEFAULT_URL, channels, **options) as events:
            for number, event in enumerate(events, 1):
                line = visible_json(msgspec.json.encode(event).decode()) if as_json else _line(event, len(channels) > 1)
                print(line, file=target, flush=True)
                if number == count:
                    return


def _line(event: Any, several: bool) -> str:
    at = datetime.now().astimezone().strftime("%H:%M:%S")
    channel = f" {event.channel}" if several and event.channel else ""
    return visible(f"{at}{channel} {event.type}: {event.data}")


def _say(status: Any) -> None:
    """One line for each change of the connection."""
    print(visible(f"headwater: {status}"), file=sys.stderr)
