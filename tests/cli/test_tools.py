"""`token`, `publish` and `tail`, against real logs and a real hub."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from headwater.auth import TokenSettings, Verifier
from headwater.brokers import open_broker
from headwater.cli import tools
from headwater.cli.settings import Settings
from headwater.client import ReceivedEvent
from headwater.errors import ConfigurationError, InvalidInput
from tests.support.server import running

SECRET = "a secret that is long enough for HS256"
FULL: dict[str, Any] = {
    "type": "message",
    "text": False,
    "permissions": (),
    "key": None,
    "url": None,
    "broker": None,
    "token": None,
}


async def test_a_token_is_accepted_by_a_hub_with_the_same_settings() -> None:
    """Issuer, audience and claim names follow the settings, so what is printed works where they are in force."""
    settings = Settings(
        jwt_secret=SECRET, jwt_issuer="us", jwt_audience="hub", jwt_permissions_claim="may", jwt_grants_claim="hw"
    )
    text = tools.token(settings, sub="ada", subscribe=["room:*"], publish=["room:1"], permissions=["a"], ttl="1h")
    verifier = Verifier(
        TokenSettings(secret=SECRET, issuer="us", audience="hub", permissions_claim="may", grants_claim="hw")
    )
    principal = await verifier.principal(text)
    assert (principal.id, principal.subscribe, principal.publish) == ("ada", ("room:*",), ("room:1",))
    assert principal.permissions == {"a"}


def test_a_token_needs_a_secret() -> None:
    """Without one there is nothing to sign with, and the error says where to get tokens then."""
    with pytest.raises(ConfigurationError, match="HEADWATER_JWT_SECRET"):
        tools.token(Settings(), sub=None, subscribe=(), publish=(), permissions=(), ttl="1h")


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("30d", 2592000)])
def test_durations(text: str, seconds: int) -> None:
    """A number and a unit."""
    assert tools.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "1", "h", "-1h", "1.5h", "٣h"])
def test_malformed_durations_are_refused(text: str) -> None:
    """Everything else is an error that shows a right one."""
    with pytest.raises(InvalidInput, match="15m"):
        tools.seconds(text)


def test_publish_appends_to_a_log_without_a_hub(tmp_path: Path) -> None:
    """With --broker a script needs no hub: JSON as it is, or text without the line end that pipes add."""
    url = f"sqlite:///{tmp_path}/log.db"
    first = tools.publish("a", '{"n": 1}', **{**FULL, "broker": url, "permissions": ["p"], "key": "k"})
    assert tools.publish("a", '{"n":1}', **{**FULL, "broker": url, "permissions": ["p"], "key": "k"}) == first
    tools.publish("a", "hello\n", **{**FULL, "broker": url, "text": True, "type": "said"})

    async def read() -> list[tuple[str, str, bool]]:
        broker = open_broker(url)
        head = await broker.open()
        page = await broker.read(["a"], 0, head.seq)
        await broker.aclose()
        return [(event.type, event.data, event.text) for event in page.events]

    assert asyncio.run(read()) == [("message", '{"n":1}', False), ("said", "hello", True)]


def test_publish_refuses_two_destinations() -> None:
    """A hub or a log."""
    with pytest.raises(InvalidInput, match="one of them"):
        tools.publish("a", "1", **{**FULL, "url": "http://x", "broker": "memory://"})


async def test_publish_and_tail_through_a_hub(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What one command publishes the other prints: a line an event, news of the connection apart from it."""
    args = ["serve", "--dev", "--port", "0", "--broker", f"sqlite:///{tmp_path}/log.db"]
    async with running(args) as server:
        told = {**FULL, "url": server.url, "text": True, "type": "said", "permissions": ["nobody"], "key": "k"}
        first = await asyncio.to_thread(tools.publish, "a", "hello\n", **told)
        assert await asyncio.to_thread(tools.publish, "a", "hello\n", **told) == first
        ids = [await asyncio.to_thread(tools.publish, "a", n, **{**FULL, "url": server.url}) for n in ("1", "2")]
        out = StringIO()
        options: dict[str, Any] = {"since": "all", "url": server.url, "token": None, "out": out}
        await asyncio.to_thread(tools.tail, ["a"], as_json=True, count=3, **options)
        assert [json.loads(line)["id"] for line in out.getvalue().splitlines()] == [first, *ids]
        out.truncate(0)
        await asyncio.to_thread(tools.tail, ["a", "b"], as_json=False, count=1, **options)
        assert out.getvalue().strip("\0").endswith(" a said: hello\n")
    assert "connecting" in capsys.readouterr().err


def interrupted(*args: object, **kwargs: object) -> None:
    """What Ctrl-C does to a subscription that is being made."""
    raise KeyboardInterrupt


def test_ctrl_c_ends_tail_quietly(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupted tail is no error."""
    monkeypatch.setattr("headwater.client.subscribe_sync", interrupted)
    tools.tail(["a"], since=None, as_json=True, url=None, token=None, count=None)


@pytest.mark.parametrize(("as_json", "count"), [(True, 1), (False, None)])
def test_tail_lets_nobody_write_to_the_terminal(
    monkeypatch: pytest.MonkeyPatch, as_json: bool, count: int | None
) -> None:
    """An event is what somebody else wrote, and a problem's title is the server's: neither moves the cursor, renames the
    window or makes a line of its own."""
    hostile = "\x1b]0;owned\x07\n12:00:00 message: \x9b2J"

    class One:
        def __init__(self, *args: object, on_status: Callable[[str], None], **kwargs: object) -> None:
            on_status(hostile)

        def __enter__(self) -> list[object]:
            return [ReceivedEvent(id="e-1", type="message", data=hostile)]

        def __exit__(self, *error: object) -> None:
            pass

    out, err = StringIO(), StringIO()
    monkeypatch.setattr("headwater.client.subscribe_sync", One)
    monkeypatch.setattr("sys.stderr", err)
    tools.tail(["a"], since=None, as_json=as_json, url=None, token=None, count=count, out=out)
    for shown in (out.getvalue(), err.getvalue()):
        assert shown.replace("\n", "").isprintable()
        assert "\n12:00:00" not in shown


async def test_tail_without_a_count_goes_on_until_the_stream_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the subscription is the end of the command."""

    class Nothing:
        def __enter__(self) -> list[object]:
            return []

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr("headwater.client.subscribe_sync", lambda *args, **kwargs: Nothing())
    tools.tail(["a"], since=None, as_json=True, url=None, token=None, count=None)
