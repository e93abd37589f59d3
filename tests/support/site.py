"""The hub's application, running in the test's own process, with tokens that it accepts.

Knows `create_app` and the in-process driver; a test adds what it is about.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec

from headwater.asgi.app import create_app
from headwater.auth import TokenSettings, Verifier, mint
from headwater.brokers import open_broker
from headwater.brokers.base import Broker
from headwater.hub import Hub, Timing
from headwater.testing.asgi import App, Reply, lifespan, request
from tests.support.tokens import SECRET

EVERYTHING = ("**",)


@dataclass(frozen=True)
class Service:
    """A running hub and its application."""

    app: App
    hub: Hub

    async def get(self, target: str, **options: Any) -> Reply:
        """GET, to its end; options as for `headwater.testing.asgi.request`."""
        return await request(self.app, "GET", target, **options)

    async def post(self, target: str, **options: Any) -> Reply:
        """POST; options as for `headwater.testing.asgi.request`."""
        return await request(self.app, "POST", target, **options)

    async def poll(self, target: str, **options: Any) -> Any:
        """The answer of a poll, which must be one."""
        headers = {"accept": "application/json", **options.pop("headers", {})}
        reply = await self.get(target, headers=headers, **options)
        assert reply.status == 200, reply
        return reply.json()

    async def state(self) -> dict[str, Any]:
        """Everything that a refused request leaves as it was: the head of the log and the hub's numbers, but for its count of
        refusals."""
        statistics = msgspec.to_builtins(self.hub.statistics())
        del statistics["rejections"]
        return {**statistics, "head": str(await self.hub.broker.head()), "open": self.hub.count()}


@asynccontextmanager
async def serving(
    *, dev: bool = True, broker: Broker | None = None, timing: Timing | None = None, **options: Any
) -> AsyncIterator[Service]:
    """Run an application until the block ends.

    Args:
        dev: everybody may do everything; without it, who has a token of `bearer`.
        broker: of the hub; in memory by default.
        timing: of the hub.
        options: of `create_app`.
    """
    hub = Hub(broker or open_broker("memory://"), timing=timing or Timing())
    if not dev:
        options.setdefault("verifier", verifier())
    app = create_app(hub, dev=dev, **options)
    async with lifespan(app):
        yield Service(app, hub)


def verifier() -> Verifier:
    """What accepts the tokens of `token`."""
    return Verifier(TokenSettings(secret=SECRET))


def token(
    sub: str | None = "ada",
    *,
    subscribe: Iterable[str] = EVERYTHING,
    publish: Iterable[str] = EVERYTHING,
    permissions: Iterable[str] = (),
    ttl: float = 60.0,
) -> str:
    """A token for a principal who may do everything but administer, unless told otherwise."""
    return mint(SECRET, sub=sub, subscribe=subscribe, publish=publish, permissions=permissions, ttl=ttl)


def bearer(sub: str | None = "ada", **grants: Any) -> dict[str, str]:
    """Headers with such a token."""
    return {"authorization": f"Bearer {token(sub, **grants)}"}
