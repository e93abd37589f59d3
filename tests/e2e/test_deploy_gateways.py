"""How nginx and Caddy, as deploy/ has them, deal with nodes that are well, gone, full, or fall silent in the middle.

The nodes here are scripted, so that each case is one that certainly happened.
"""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamWriter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.upstream import Upstream, answering, upstream
from tests.support.gateway import GATEWAYS, Gateway, GatewayKind, gateway, held_ports
from tests.support.raw import Head, RawClient
from tests.support.waiting import until

FULL = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nfull"
NOTHING = answering(b"")


@dataclass
class Front:
    """A gateway before two nodes."""

    gateway: Gateway
    nodes: list[Upstream]

    async def ask(self, method: str, path: str = "/events", body: bytes = b"", **headers: str) -> tuple[Head, bytes]:
        """A request on a connection of its own."""
        async with await RawClient.connect(self.gateway.url) as client:
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            return await client.request(path, fields, method=method, body=body), await client.read_body()

    @property
    def asked(self) -> list[str]:
        """What the nodes were asked, together."""
        return self.nodes[0].asked + self.nodes[1].asked


@asynccontextmanager
async def front_of(kind: GatewayKind, folder: Path, *, alive: int = 2) -> AsyncIterator[Front]:
    """A gateway and its two nodes, of which the first `alive` run."""
    async with AsyncExitStack() as stack:
        ports = stack.enter_context(held_ports(2))
        nodes = [await stack.enter_async_context(upstream(port)) for port in ports[:alive]]
        nodes += [Upstream() for _ in ports[alive:]]
        yield Front(await stack.enter_async_context(gateway(kind, folder, ports)), nodes)


@pytest.fixture(params=GATEWAYS)
async def front(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Front]:
    """Each gateway, with both nodes."""
    async with front_of(request.param, tmp_path) as made:
        yield made


async def test_bytes_are_passed_on_as_they_come(front: Front) -> None:
    """The first frame reaches the client though nothing follows it, and each further one alone, without any header that
    would ask for it."""
    more = [asyncio.Event(), asyncio.Event()]

    async def answer(writer: StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number, event in enumerate(more):
            writer.write(b"9\r\ndata: %d\n\n\r\n" % number)
            await writer.drain()
            await event.wait()

    for node in front.nodes:
        node.answer = answer
    async with await RawClient.connect(front.gateway.url) as client:
        await client.request("/events")
        for number, event in enumerate(more):
            assert (await client.message()).data == str(number)
            event.set()
        await client.read_body()


async def test_a_stream_that_broke_off_does_not_look_like_one_that_ended(tmp_path: Path) -> None:
    """nginx: a node that dies in the middle of a body leaves the client's body cut, too."""
    async with front_of("nginx", tmp_path) as front:
        for node in front.nodes:
            node.answer = answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        async with await RawClient.connect(front.gateway.url) as client:
            await client.request("/events")
            assert await client.read_body() == b"half"
            assert client.ended == "cut"


async def test_nodes_are_asked_over_kept_http_1_1(front: Front) -> None:
    """Nodes get HTTP/1.1, the client's Host, and no `Connection: close`."""
    await front.ask("GET", Host="events.example.com")
    (head,) = front.nodes[0].heads + front.nodes[1].heads
    assert head.headers["host"] == "events.example.com"
    assert head.headers.get("connection", "keep-alive") != "close"


async def test_what_a_client_says_of_its_address_is_replaced(front: Front) -> None:
    """Nodes believe the gateway, so it must not pass on what anybody sends."""
    await front.ask("GET", X_Forwarded_For="203.0.113.9", X_Forwarded_Proto="gopher")
    (head,) = front.nodes[0].heads + front.nodes[1].heads
    assert (head.headers["x-forwarded-for"], head.headers["x-forwarded-proto"]) == ("127.0.0.1", "http")


@pytest.mark.parametrize("kind", GATEWAYS)
async def test_a_node_that_is_gone_is_not_noticed(kind: GatewayKind, tmp_path: Path) -> None:
    """Requests of every kind are answered by the other one: a POST that could not be sent is no POST that was."""
    async with front_of(kind, tmp_path, alive=1) as front:
        for method in ("GET", "POST") * 3:
            head, _ = await front.ask(method, body=b"x" if method == "POST" else b"")
            assert head.status == 200
    assert len(front.asked) == 6


async def test_a_post_is_never_sent_twice(front: Front) -> None:
    """Nodes that hang up after they have read a POST may have done what it says: the client hears 503 and when to come
    back, and no other node is asked. A GET is asked for again."""
    for node in front.nodes:
        node.answer = NOTHING
    head, body = await front.ask("POST", body=b"x" * 100_000)
    assert (head.status, head.headers["retry-after"]) == (503, "2")
    assert head.headers["content-type"] == "application/problem+json"
    assert json.loads(body)["title"] == "Unavailable"
    assert front.asked == ["POST /events"]


async def test_a_stream_is_not_ended_twice(front: Front) -> None:
    """The number of a stream is its node's own: `DELETE /streams/7` goes to one node, whatever comes of it."""
    for node in front.nodes:
        node.answer = NOTHING
    head, _ = await front.ask("DELETE", "/streams/7")
    assert head.status == 503
    assert front.asked == ["DELETE /streams/7"]


async def test_a_get_is_asked_for_again(front: Front) -> None:
    """A node that hangs up costs a GET nothing."""
    front.nodes[0].answer = NOTHING
    for _ in range(3):
        head, body = await front.ask("GET")
        assert (head.status, body) == (200, b"hi")
    assert len(front.nodes[1].asked) == 3


async def test_a_draining_node_hands_on_reads_alone(tmp_path: Path) -> None:
    """nginx: where one node answers 503, a GET gets the other one's answer. A POST gets the 503 with its time to come back,
    once, from the node that was asked."""
    async with front_of("nginx", tmp_path) as front:
        front.nodes[0].answer = answering(FULL)
        statuses = [(await front.ask("GET"))[0].status for _ in range(3)]
        assert statuses == [200] * 3
        front.nodes[1].answer = answering(FULL)
        before = len(front.asked)
        head, body = await front.ask("POST", body=b"x")
        assert (head.status, head.headers["retry-after"], body) == (503, "7", b"full")
        assert len(front.asked) == before + 1


async def test_when_all_are_full_a_client_hears_it_from_a_node(front: Front) -> None:
    """The 503 of the last node asked is the client's answer, with that node's `Retry-After`."""
    for node in front.nodes:
        node.answer = answering(FULL)
    head, body = await front.ask("GET")
    assert (head.status, head.headers["retry-after"], body) == (503, "7", b"full")


@pytest.mark.parametrize("kind", GATEWAYS)
async def test_when_no_node_is_there_a_client_hears_when_to_come_back(kind: GatewayKind, tmp_path: Path) -> None:
    """503 with `Retry-After`, and a problem as the hub would describe it. A token of the URL is in no log, though the
    failure is."""
    async with front_of(kind, tmp_path, alive=0) as front:
        head, body = await front.ask("GET", "/events?channel=a&token=very.secret.text&ticket=a.secret.too")
        assert (head.status, head.headers["retry-after"]) == (503, "2")
        assert json.loads(body)["type"] == "urn:headwater:problem:unavailable"
        await until(lambda: '"status":503' in front.gateway.logged, "the access log's line")
    assert "secret" not in front.gateway.logged


async def test_numbers_of_single_nodes_are_not_for_everyone(front: Front) -> None:
    """`/metrics` is not passed on: it would be now one node's, now another's."""
    assert (await front.ask("GET", "/metrics"))[0].status == 404
    assert front.asked == []


async def test_long_urls_pass(front: Front) -> None:
    """A token of 8 KiB in a URL of 16 KiB reaches the node, and so do 32 KiB of headers."""
    path = "/events?token=" + "t" * 8192 + "&x=" + "x" * 8100
    assert (await front.ask("GET", path, X_First="a" * 16_000, X_Second="b" * 16_000))[0].status == 200
