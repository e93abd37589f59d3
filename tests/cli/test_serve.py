"""`headwater serve`: settings become a hub and its application, in one process or several."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from headwater.auth import mint
from headwater.brokers.base import Retention, Rule
from headwater.cli import serve
from headwater.cli.settings import Settings
from headwater.errors import ConfigurationError
from headwater.testing.asgi import lifespan, request
from tests.support.raw import RawClient, streaming
from tests.support.server import Server, running

SECRET = "a secret that is long enough for HS256"
KEY = ed25519.Ed25519PrivateKey.generate().public_key()
PEM = KEY.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def test_nothing_starts_without_a_key_or_development_mode() -> None:
    """Secure by default."""
    with pytest.raises(ConfigurationError, match="no key is configured"):
        serve.make_app(Settings(broker="memory://"), "x" * 32)


def test_development_mode_is_for_this_machine() -> None:
    """`--dev` with a host that others reach is refused."""
    with pytest.raises(ConfigurationError, match="--dev"):
        serve.make_app(Settings(broker="memory://", dev=True, host="0.0.0.0"), "x" * 32)


def test_several_workers_need_a_log_that_they_share() -> None:
    """In memory each would have one of its own, and half of the events would reach nobody."""
    with pytest.raises(ConfigurationError, match="2 workers are to serve a log in memory"):
        serve.make_app(Settings(broker="memory://", dev=True, workers=2), "x" * 32)


async def test_settings_reach_the_application() -> None:
    """Limits, tokens and retention are what the settings say."""
    settings = Settings(broker="memory://", jwt_secret=SECRET, max_event_bytes=10)
    app = serve.make_app(settings, "x" * 32)
    token = mint(SECRET, publish=["a"])
    headers = {"authorization": f"Bearer {token}"}
    async with lifespan(app):
        assert (await request(app, "POST", "/events", json={"channel": "a", "data": 1})).status == 401
        made = await request(app, "POST", "/events", json={"channel": "a", "data": 1}, headers=headers)
        assert made.status == 201
        big = await request(app, "POST", "/events", json={"channel": "a", "data": "x" * 20}, headers=headers)
        assert big.status == 413


def test_limits_follow_the_settings_and_fall_away_in_development() -> None:
    """Those per caller, that is; what protects the process stays."""
    settings = Settings(max_streams=7, connect_rate=3, publish_rate=4)
    assert (serve.limits(settings).max_streams, serve.limits(settings).connect_rate) == (7, 3)
    dev = serve.limits(msgspec.structs.replace(settings, dev=True))
    assert (dev.max_streams, dev.connect_rate, dev.publish_rate) == (7, 0, 0)


def test_the_hubs_own_channels_are_kept_short() -> None:
    """Probes do not fill the log, whatever the retention for others is."""
    hub = serve.make_hub(Settings(broker="memory://", retention=Retention(rules=(Rule(count=5),)), heartbeat=7))
    assert hub.timing.heartbeat == 7


def test_a_public_key_may_be_text_or_a_file(tmp_path: Path) -> None:
    """PEM in the variable itself, or the name of a file with it; anything else is said."""
    (tmp_path / "key.pem").write_text(PEM)
    assert serve.token_settings(Settings(jwt_public_key=PEM)).public_key == PEM
    assert serve.token_settings(Settings(jwt_public_key=str(tmp_path / "key.pem"))).public_key == PEM
    with pytest.raises(ConfigurationError, match="neither PEM text nor a file"):
        serve.token_settings(Settings(jwt_public_key=str(tmp_path / "missing.pem")))


def test_workers_build_what_their_parent_would_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings travel in the environment and come out the same, keys and retention included."""
    handed: list[Any] = []
    monkeypatch.setattr(serve, "run_server", lambda *args, **kwargs: handed.append((args, kwargs)))
    monkeypatch.setattr(serve, "make_app", lambda settings, secret: handed.append((settings, secret)))
    monkeypatch.setattr("os.environ", {})
    settings = Settings(broker="memory://", dev=True, retention=Retention(rules=(Rule(pattern="a:*", age=5),)))
    serve.serve(settings)
    serve.application()
    first, (args, kwargs), second = handed
    assert first == second
    assert (args[0], kwargs["factory"]) == ("headwater.cli.serve:application", True)
    assert serve.HANDOVER in os.environ


def test_the_line_that_says_what_is_served_has_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes into the log at every start."""
    said: list[str] = []
    monkeypatch.setattr(serve, "run_server", lambda *args, what, **kwargs: said.append(what))
    monkeypatch.setattr(serve, "make_app", lambda settings, secret: None)
    monkeypatch.setattr("os.environ", {})
    serve.serve(Settings(broker="redis://me:hunter2@h:6379/0"))
    assert said == ["redis://me:***@h:6379/0, tokens required"]


def test_tickets_are_signed_with_what_nodes_share() -> None:
    """With the secret for it, else with the one for tokens; a node that has neither makes one up."""
    tokens, own = "j" * 32, "t" * 32
    assert serve.ticket_secret(Settings(jwt_secret=tokens, ticket_secret=own)) == own
    assert serve.ticket_secret(Settings(jwt_secret=tokens)) == tokens
    assert serve.ticket_secret(Settings()) != serve.ticket_secret(Settings())


async def test_two_workers_serve_one_log_and_a_ticket_works_once(tmp_path: Path) -> None:
    """Whichever worker answers: events are seen by all, a ticket that one sold is taken by any, and only once by all."""
    args = ["serve", "--port", "0", "--workers", "2", "--broker", f"sqlite:///{tmp_path}/log.db"]
    async with running(args, env={"HEADWATER_JWT_SECRET": SECRET}) as server:
        token = mint(SECRET, sub="ada", subscribe=["**"], publish=["**"])
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        clients = [streaming(f"{server.url}/events?channel=a", headers) for _ in range(8)]
        streams = [await client.__aenter__() for client in clients]
        try:
            await post(server, "/events", headers, b'{"channel":"a","data":1}')
            for stream in streams:
                assert (await stream.message_of("message")).data == "1"
        finally:
            for client in clients:
                await client.__aexit__(None, None, None)
        ticket = json.loads(await post(server, "/tickets", headers))["ticket"]
        statuses = [await status(server, f"/events?channel=a&ticket={ticket}") for _ in range(12)]
        assert sorted(statuses) == [200] + [401] * 11


async def post(server: Server, target: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Post, and see that something was created."""
    async with await RawClient.connect(server.url) as client:
        head = await client.request(
            target, {"Content-Length": "0", **headers} if not body else headers, method="POST", body=body
        )
        answer = await client.read_body()
        assert head.status == 201, answer
        return answer


async def status(server: Server, target: str) -> int:
    """The status of a GET on a connection of its own."""
    async with await RawClient.connect(server.url) as client:
        return (await client.request(target)).status
