"""Publishing while the log is away: the request waits as long as the broker does, and then says when to come back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headwater.errors import BrokerUnavailable
from tests.hub.scripted import ScriptedBroker
from tests.support.site import serving
from tests.support.waiting import until

REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/events", {"json": {"channel": "a", "data": 1}}),
    ("/events", {"json": [{"channel": "a", "data": 1}, {"channel": "b", "data": 2}]}),
    ("/channels/a", {"body": b"hi"}),
]
KINDS = ["an event", "a batch", "a text"]


@pytest.mark.parametrize(("target", "request_"), REQUESTS, ids=KINDS)
async def test_an_outage_that_passes_is_waited_out(target: str, request_: dict[str, Any]) -> None:
    """The broker waits, and the request with it."""
    back = asyncio.Event()

    async def wait(call: str) -> None:
        if call == "append":
            await back.wait()

    broker = ScriptedBroker(script=wait)
    async with serving(broker=broker) as site:
        work = asyncio.create_task(site.post(target, **request_))
        await until(lambda: broker.calls["append"] == 1, "the append to begin")
        assert not work.done()
        back.set()
        assert (await work).status == 201


@pytest.mark.parametrize(("target", "request_"), REQUESTS, ids=KINDS)
async def test_an_outage_that_lasts_is_a_503_with_a_time_to_come_back(target: str, request_: dict[str, Any]) -> None:
    """Nothing is in the log, not even a part of a batch, and the refusal is counted."""

    async def fail(call: str) -> None:
        if call == "append":
            raise BrokerUnavailable("the log did not answer for 5 s; nothing was appended", retry_after=2.4)

    broker = ScriptedBroker(script=fail)
    async with serving(broker=broker) as site:
        reply = await site.post(target, **request_)
        assert (reply.status, reply.headers["retry-after"]) == (503, "3")
        assert reply.headers["content-type"] == "application/problem+json"
        problem = reply.json()
        assert (problem["type"], problem["status"]) == ("urn:headwater:problem:broker-unavailable", 503)
        assert "nothing was appended" in problem["detail"]
        assert site.hub.rejections == {"Broker unavailable": 1}
        assert (site.hub.published, broker.end.seq) == (0, 0)


@pytest.mark.parametrize(("target", "request_"), REQUESTS, ids=KINDS)
@pytest.mark.parametrize("took_effect", [True, False])
async def test_a_key_makes_an_unknown_outcome_one_event(
    target: str, request_: dict[str, Any], took_effect: bool
) -> None:
    """Whether or not the log had the events when its answer was lost: sent again with the same key they are there once,
    and a further time gives the same ids."""
    lost = ["append done" if took_effect else "append"]

    async def lose_answer(call: str) -> None:
        if call in lost:
            lost.clear()
            raise BrokerUnavailable("the answer was lost; the events may be in the log", retry_after=1)

    broker = ScriptedBroker(script=lose_answer)
    async with serving(broker=broker) as site:
        headers = {"idempotency-key": "order-17"}
        assert (await site.post(target, headers=headers, **request_)).status == 503
        again = [await site.post(target, headers=headers, **request_) for _ in range(2)]
        assert [reply.status for reply in again] == [201, 201]
        assert again[0].json() == again[1].json()
        ids = again[0].json()["ids"]
        assert [str(event.position) for event in broker.history[broker.end.epoch]] == ids
        assert len(ids) == (2 if isinstance(request_.get("json"), list) else 1)
