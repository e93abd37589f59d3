"""Two nodes of one log behind nginx, and behind Caddy, as deploy/ has them: everything a stream needs gets through."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from headwater.cli.settings import Settings
from tests.e2e.installation import BEARER, TOKEN, Nodes, call, hub_env, nodes_of, publish
from tests.support.gateway import DEPLOY, GATEWAYS, Gateway, any_certificate, gateway, held_ports
from tests.support.http2 import http2
from tests.support.raw import RawClient, streaming
from tests.support.waiting import until

MAX_BODY = Settings().max_body_bytes

REFUSED = {"nginx": {413}, "caddy": {413, 503}}  # Caddy 2.6 may take it for a failure of the node

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def nodes(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Nodes]:
    """Two nodes that nobody ends."""
    async with nodes_of(hub_env(tmp_path_factory.mktemp("nodes"))) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=GATEWAYS)
async def front(
    request: pytest.FixtureRequest, nodes: Nodes, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """Each gateway before them."""
    async with gateway(request.param, tmp_path_factory.mktemp(request.param), nodes.ports) as found:
        yield found


async def test_the_first_frame_comes_before_any_event(front: Gateway) -> None:
    """`connected` is there at once, an event as soon as it is published, and then a heartbeat."""
    async with streaming(f"{front.url}/events?channel=first", BEARER) as client:
        assert (await client.message()).type == "connected"
        await publish(front.url, "hello", "first")
        assert (await client.message_of("message")).data == '"hello"'
        await client.message_of("heartbeat")


async def test_every_event_reaches_streams_of_both_nodes(front: Gateway, nodes: Nodes) -> None:
    """Whichever node takes it, whichever node the stream is on."""
    streams = [f"{node.url}/events?channel=both" for node in nodes.servers.values()]
    async with streaming(streams[0], BEARER) as one, streaming(streams[1], BEARER) as other:
        ids = [await publish(front.url, number, "both") for number in range(6)]
        for client in (one, other):
            assert [(await client.message_of("message")).id for _ in ids] == ids


async def test_streams_share_one_http_2_connection(front: Gateway, nodes: Nodes) -> None:
    """Ten streams on one connection over TLS, more than a browser would open with HTTP/1.1. One that is ended there ends at
    its node, and the others go on."""
    target = "/events?channel=shared"
    async with http2(front.tls_url, any_certificate()) as client:
        numbers = [client.get(target, {"authorization": BEARER["Authorization"]}) for _ in range(10)]
        assert {(await client.message()).type for _ in numbers} == {"connected"}
        assert client.headers["content-type"] == "text/event-stream; charset=utf-8"
        client.reset(numbers[0])
        await open_streams(nodes, 9)
        await publish(front.url, "hello", "shared")
        got = [await client.message() for _ in range(9)]
        while sum(message.data == '"hello"' for message in got) < 9:
            got.append(await client.message())
    await open_streams(nodes, 0)


async def open_streams(nodes: Nodes, wanted: int) -> None:
    """Wait until the nodes together have so many streams."""
    async with asyncio.timeout(20):
        while sum([await streams_of(node.url) for node in nodes.servers.values()]) != wanted:
            pass


async def streams_of(url: str) -> int:
    """How many streams a node has."""
    return len((await call(url, "GET", "/streams"))[1]["streams"])


async def test_bodies_up_to_the_limit_pass(front: Gateway) -> None:
    """4 MiB exactly are published; one byte more is not."""
    empty = [{"channel": "large", "data": ""}] * 20
    share, rest = divmod(MAX_BODY - len(json.dumps(empty)), len(empty))
    events = [{"channel": "large", "data": "x" * (share + (index < rest))} for index in range(len(empty))]
    assert len(json.dumps(events)) == MAX_BODY
    head, _ = await call(front.url, "POST", "/events", events)
    assert head.status == 201
    head, answer = await call(front.url, "POST", "/events", b" " * (MAX_BODY + 1))
    assert head.status in REFUSED[front.kind], answer


async def test_tokens_stay_out_of_the_logs(front: Gateway) -> None:
    """A stream that was opened with a token in its URL leaves a line in the access log, and no token."""
    async with streaming(f"{front.url}/events?channel=logged&token={TOKEN}") as client:
        await client.message()
    await until(lambda: '"/events' in front.logged, "the access log's line")
    assert TOKEN not in front.logged


async def test_limits_count_the_client(front: Gateway, nodes: Nodes) -> None:
    """The hub sees the client's address, whatever the client itself says of it."""
    async with streaming(f"{front.url}/events?channel=whose", {**BEARER, "X-Forwarded-For": "203.0.113.9"}) as near:
        await near.message()
        reader, writer = await asyncio.open_connection("127.0.0.1", front.port, local_addr=("127.0.0.77", 0))
        far = RawClient(reader, writer)
        await far.request("/events?channel=whose", BEARER)
        await far.message()
        found = [(await call(node.url, "GET", "/streams"))[1]["streams"] for node in nodes.servers.values()]
        await far.aclose()
    assert {stream["address"] for streams in found for stream in streams} == {"127.0.0.1", "127.0.0.77"}


async def test_a_ticket_is_good_once_at_any_node(front: Gateway) -> None:
    """Whichever node sells it and whichever is asked: it opens one stream."""
    for _ in range(2):
        ticket = (await call(front.url, "POST", "/tickets"))[1]["ticket"]
        target = f"/events?channel=tickets&ticket={ticket}"
        clients = [await RawClient.connect(front.url) for _ in range(6)]
        statuses = [(await client.request(target)).status for client in clients]
        for client in clients:
            await client.aclose()
        assert sorted(statuses) == [200] + [401] * 5


async def test_the_images_health_check_tells_life_from_death(nodes: Nodes) -> None:
    """The Dockerfile's own command, with this node's port in it, succeeds where a node is and fails where none is."""
    (line,) = re.findall(r"HEALTHCHECK[^\[]*(\[.*\])", (DEPLOY / "docker/Dockerfile").read_text())
    with held_ports(1) as (nobody,):
        for port, is_healthy in ((nodes.ports[0], True), (nobody, False)):
            words = json.loads(line.replace(":8000/", f":{port}/"))
            process = await asyncio.create_subprocess_exec(sys.executable, *words[1:], stderr=DEVNULL)
            assert (await process.wait() == 0) is is_healthy
