"""Explanations over HTTP: the same verdict as what a real stream of that token gets."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from headwater.asgi.dashboard.explaining import question_of
from headwater.asgi.site import ADMIN
from headwater.brokers.base import Retention, Rule
from headwater.brokers.memory import MemoryBroker
from headwater.errors import InvalidInput
from headwater.testing.asgi import open_stream
from tests.support.site import Service, bearer, serving, token
from tests.support.tokens import signed
from tests.support.waiting import until

BOSS = {"headers": bearer("root", permissions=[ADMIN], ttl=86_400)}  # made long before it is used


async def asked(site: Service, **question: Any) -> Any:
    """The verdict on a question."""
    reply = await site.post("/dashboard/explain", json=question, **BOSS)
    assert reply.status == 200, reply
    return reply.json()


async def delivered(site: Service, bearing: str, channel: str, query: str) -> set[str]:
    """Ids of the events that a stream with this token gets; none if it is refused."""
    headers = {"authorization": f"Bearer {bearing}"}
    async with open_stream(site.app, f"/events?channel={channel}&{query}", headers=headers) as stream:
        if stream.status != 200:
            return set()
        await stream.message()
        await until(lambda: site.hub.infos()[-1].state == "live", "the stream to be live")  # before retention goes on
        end = str(await site.hub.publish(channel, "end"))
        found = set()
        while (message := await stream.message()).type != "end":
            found |= {message.id} if message.type == "message" else set()
            assert message.id != end
        return found


class Case(NamedTuple):
    """Who reads what, from where."""

    grants: dict[str, Any]
    since: str = "all"
    channel: str = "room:1"


CASES = {
    "everything": Case({}),
    "one permission": Case({"permissions": ["p"]}),
    "both permissions": Case({"permissions": ["p", "q"]}),
    "another one": Case({"permissions": ["P", "pq"]}),
    "every permission": Case({"permissions": ["*"]}),
    "a pattern": Case({"subscribe": ["user:*", "room:*"], "permissions": ["p"]}),
    "another pattern": Case({"subscribe": ["room:2", "user:*", "room"]}),
    "no grant": Case({"subscribe": []}),
    "from now on": Case({}, "now"),
    "after one of them": Case({"permissions": ["p"]}, "-4"),
    "after one that is gone": Case({}, "-1"),
    "a while ago": Case({}, "10m"),
    "of another log": Case({}, "zz-1"),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_is_said_is_what_is_delivered(name: str) -> None:
    """Of each event in a log, whether or not it is retained, whatever it asks for: an explanation for a token says yes if and
    only if a stream of that token gets it."""
    grants, since, channel = CASES[name]
    async with serving(dev=False, broker=MemoryBroker(Retention(rules=(Rule(count=5),)))) as site:
        ids = []
        for number in range(8):
            needed = [[], ["p"], ["p", "q"]][number % 3]
            ids.append(str(await site.hub.publish("room:1", data=number, permissions=needed)))
        start = f"{ids[0].partition('-')[0]}{since}" if since.startswith("-") else since
        bearing = token("ada", **grants)
        said = {
            each: (await asked(site, token=bearing, channel=channel, id=each, since=start))["answer"] for each in ids
        }
        got = await delivered(site, bearing, channel, f"since={start}")
        assert {each for each, answer in said.items() if answer == "yes"} == got
        assert "unknown" not in said.values()


async def test_an_open_stream_is_explained() -> None:
    """By its own permissions, channels and position; a channel that it does not read, a permission that it lacks."""
    async with serving(dev=False) as site:
        first = str(await site.hub.publish("a"))
        async with open_stream(site.app, "/events?channel=a", headers=bearer("ada", permissions=["p"])) as stream:
            await stream.message()
            (info,) = site.hub.infos()
            second = str(await site.hub.publish("a", permissions=["p"]))
            third = str(await site.hub.publish("a", permissions=["p", "q"]))
            other = str(await site.hub.publish("b"))
            answers = [
                (await asked(site, stream=info.id, channel=channel, id=each))["answer"]
                for channel, each in (("a", first), ("a", second), ("a", third), ("b", other), ("a", other))
            ]
            assert answers == ["no", "yes", "no", "no", "no"]
            assert json.loads((await stream.message()).data) is None
            assert (await asked(site, stream=info.id, channel="a", permissions=["p"]))["answer"] == "yes"
        reply = await site.post("/dashboard/explain", json={"stream": info.id, "channel": "a"}, **BOSS)
        assert reply.status == 404


async def test_a_token_that_the_hub_refuses_is_explained() -> None:
    """That is the first step; the token itself is repeated nowhere."""
    async with serving(dev=False) as site:
        for bearing, words in (("x" * 50, "no JWT"), (signed(exp=1), "expired")):
            verdict = await asked(site, token=bearing, channel="a")
            assert (verdict["answer"], verdict["steps"][-1]["name"], len(verdict["steps"])) == ("no", "token", 1)
            assert words in verdict["says"]
            assert bearing not in json.dumps(verdict)


async def test_somebody_who_might_be_is_explained() -> None:
    """And the asker, if nobody is named."""
    async with serving(dev=False) as site:
        somebody = {"id": "eve", "subscribe": ["room:*"], "permissions": ["p"]}
        assert (await asked(site, principal=somebody, channel="room:1", permissions=["p"]))["answer"] == "yes"
        assert (await asked(site, principal=somebody, channel="user:1"))["answer"] == "no"
        assert "an anonymous caller" in (await asked(site, principal={"id": ""}, channel="a"))["steps"][0]["says"]
        mine = await asked(site, channel="a")
        assert (mine["answer"], mine["steps"][0]["says"]) == ("yes", "This is root.")
        assert (await asked(site, channel="a b"))["steps"][-1]["name"] == "channel"


@pytest.mark.parametrize(
    "question",
    [
        5,
        {},
        {"channel": "a", "chanel": "b"},
        {"channel": "a", "stream": 1, "token": "x"},
        {"channel": "a", "since": "yesterday"},
        {"channel": "a", "permissions": ["a b"]},
        {"channel": "a", "principal": {"subscribe": ["a b"]}},
        {"channel": "a", "stream": "one"},
        {"channel": "a", "permissions": ["p"] * 33},
        {"channel": "a", "principal": {"subscribe": ["a*b"] * 1001}},
        {"channel": "a", "principal": {"permissions": ["p"] * 1001}},
    ],
)
async def test_odd_questions_are_refused(question: Any) -> None:
    """Rather than answered as others."""
    async with serving(dev=False) as site:
        reply = await site.post("/dashboard/explain", json=question, **BOSS)
        assert reply.status == 400, reply


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 10_000, b'{"channel":'])
def test_a_body_that_is_no_question(body: bytes) -> None:
    """Is refused, whatever it is."""
    with pytest.raises(InvalidInput, match="no question"):
        question_of(body)


async def test_a_question_changes_nothing() -> None:
    """No stream, no event, no channel that somebody reads."""
    async with serving(dev=False) as site:
        first = str(await site.hub.publish("a"))
        before = await site.state()
        await asked(site, token=token(), channel="a", id=first, since="all")
        after = await site.state()
        assert {**after, "channels": 0} == {**before, "channels": 0}
