"""What scripts do to a log in Redis: on both versions, with both protocols.

The contract's tests show what every broker promises; these, what it is made of here.
"""

from __future__ import annotations

import asyncio
import logging

import pytest

from headwater.brokers.redis.link import load_scripts
from headwater.brokers.redis.records import read_marker, read_message
from headwater.brokers.redis.scripts import SCRIPTS
from headwater.errors import BrokerUnavailable
from headwater.event import Draft
from tests.brokers.redis_stores import Place, make_store, opened, put, seqs
from tests.support.redis import SharedServers, ask, running_redis


async def test_an_append_is_published_as_it_is_kept(place: Place) -> None:
    """One message for each event, in order, naming the one before it in its channel."""
    server, url = place
    async with opened(url) as store, server.client(decode_responses=False) as client, client.pubsub() as news:
        await news.psubscribe(f"{store.keys.events.replace('{', '[{]')}*")
        await news.get_message(timeout=30)
        drafts = [Draft(channel="a", data="1"), Draft(channel="b", data='"é"', permissions=frozenset({"p"}))]
        await store.append([*drafts, Draft(channel="a", data="3", type="log")])
        messages = [await news.get_message(timeout=30) for _ in range(3)]
        read = []
        for message in messages:
            assert message is not None
            channel = message["channel"].decode().removeprefix(store.keys.events)
            read.append(read_message(channel, message["data"]))
        entries, end = await store.read_entries(["a", "b"], 0, 10, 10)
        assert tuple(message.entry for message in read) == entries
        assert [entry.previous for entry in entries] == [0, 0, 1]
        assert end == entries[-1].event.position
        assert {message.life for message in read} == {store.known.life}


async def test_a_survey_tells_where_all_channels_are_and_sends_a_marker(place: Place) -> None:
    """Also of one whose events are gone; not of one that has never been."""
    server, url = place
    async with opened(url) as store, server.client(decode_responses=False) as client, client.pubsub() as news:
        await news.subscribe(store.keys.inbox("n1"))
        await news.get_message(timeout=30)
        await put(store, "a", 3)
        await put(store, "b")
        await client.delete(store.keys.stream("a"))
        survey = await store.survey(["b", "a", "c", "a"], "n1", "t1")
        assert (survey.born, survey.head, survey.last, survey.floor) == (0, 4, {"b": 4, "a": 3}, 0)
        message = await news.get_message(timeout=30)
        assert message is not None
        marker = read_marker(message["data"])
        assert (marker.token, marker.epoch, marker.head) == ("t1", survey.epoch, 4)


async def test_nothing_but_answers_to_appends_expires(place: Place) -> None:
    """So that a policy that evicts what may expire leaves the log alone; and every key has the prefix."""
    server, url = place
    async with opened(url) as store, server.client() as client:
        await put(store, "a", 3, key="k")
        base = store.keys.base
        names = await ask(client, "KEYS", f"{base}:*")
        expiring = [key for key in names if await client.ttl(key) != -1]
        assert sorted(key.removeprefix(f"{base}:") for key in names if key not in expiring) == (
            ["c:a", "channels", "keyorder", "keys", "lives", "log", "names", "oldest", "times"]
        )
        assert [key.startswith(f"{base}:op:") for key in expiring] == [True]
        assert 0 < await client.ttl(expiring[0]) <= 10 * 5 + 60


async def test_two_prefixes_are_two_logs(place: Place) -> None:
    """In one database; and one prefix is two logs in two databases."""
    server, url = place
    other_database = url.replace("/0?", "/1?")
    async with opened(url) as one, opened(url.replace("prefix=", "prefix=x")) as two, opened(other_database) as three:
        await put(one, count=5)
        await put(two, count=3)
        await put(three, count=2)
        assert [len(await seqs(store, "a")) for store in (one, two, three)] == [5, 3, 2]
        async with server.client(1) as client:
            assert await client.xlen(one.keys.stream("a")) == 2


async def test_scripts_that_were_forgotten_are_loaded_again(place: Place) -> None:
    """SCRIPT FLUSH, or a restart: nobody notices."""
    server, url = place
    async with opened(url) as store, server.client() as client:
        await put(store)
        for work in (lambda: put(store), store.head, lambda: store.survey(["a"], "n", "t")):
            await client.script_flush()
            await work()
        assert await seqs(store, "a") == [1, 2]


async def test_the_log_is_the_same_for_every_process(place: Place) -> None:
    """Those that come first at the same time make one log."""
    _, url = place
    stores = [make_store(url) for _ in range(5)]
    try:
        heads = await asyncio.gather(*(store.open(keeps=False) for store in stores))
        assert len(set(heads)) == 1
        positions = await asyncio.gather(*(put(store) for store in stores for _ in range(20)))
        assert sorted(position.seq for position in positions) == list(range(1, 101))
        assert {position.epoch for position in positions} == {heads[0].epoch}
    finally:
        for store in stores:
            await store.aclose()


async def test_a_page_of_many_channels_is_complete(place: Place) -> None:
    """However unevenly the events are spread, and however small the pages: in both directions."""
    _, url = place
    async with opened(url) as store:
        names = [f"c{number}" for number in range(40)]
        drafts = [Draft(channel=names[number * number % 40]) for number in range(60)]
        drafts[20:20] = [Draft(channel="c0")] * 50
        expected = [position.seq for position in await store.append(drafts)]
        for size in (1, 7, 30, 110, 111):
            forward: list[int] = []
            page = await store.read(names, 0, 1000, size)
            while page.events:
                forward += [event.position.seq for event in page.events]
                page = await store.read(names, page.end.seq, 1000, size)
            assert forward == expected
            backward: list[int] = []
            before = 1000
            while before > 0:
                page = await store.read_back(names, before, size)
                backward += [event.position.seq for event in page.events]
                before = page.end.seq - 1
            assert backward == expected[::-1]


async def test_a_read_of_more_channels_than_fit_into_one_look(
    redis_servers: SharedServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is of all of them at one moment: none has what was appended in between."""
    monkeypatch.setattr("headwater.brokers.redis.reading.CHUNK", 3)
    async with opened(redis_servers.url()) as store:
        names = [f"c{number}" for number in range(8)]
        await store.append([Draft(channel=name) for name in names for _ in range(20)])
        ask_ = store._ask
        asked = 0

        async def ask_and_append(script: str, *args: object, **options: object) -> object:
            nonlocal asked
            asked += 1
            result = await ask_(script, *args, **options)  # type: ignore[arg-type]
            if script.startswith("read"):
                await store.append([Draft(channel=name) for name in names])
            return result

        store._ask = ask_and_append  # type: ignore[method-assign, assignment]
        page = await store.read(names, 0, 10_000, 10_000)
        assert [event.position.seq for event in page.events] == list(range(1, 161))
        assert page.end.seq == 160
        assert asked == 3
        back = await store.read_back(names, 160, 10_000)
        assert [event.position.seq for event in back.events] == list(range(160, 0, -1))


async def test_channels_are_listed_by_prefix_page_by_page(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are."""
    monkeypatch.setattr("headwater.brokers.redis.store.DESCRIBED", 3)
    _, url = place
    async with opened(url) as store:
        names = sorted(f"room:{number}" for number in range(10))
        await store.append([Draft(channel=name, data="12") for name in [*names, "other", "roo"]])
        infos = await store.channels("room:")
        assert [info.name for info in infos] == names
        assert {(info.events, info.bytes) for info in infos} == {(1, 2)}
        assert [info.name for info in await store.channels("room:", limit=4)] == names[:4]
        assert len(await store.channels()) == 12


async def test_an_eviction_policy_that_takes_parts_of_the_log_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """At every start; those that take only what may expire are harmless."""
    async with running_redis() as server, server.client() as client:
        for policy, warns in (("allkeys-lru", True), ("volatile-lru", False), ("noeviction", False)):
            caplog.clear()
            await client.config_set("maxmemory-policy", policy)
            with caplog.at_level(logging.WARNING, "headwater"):
                async with opened(server.url()):
                    pass
            assert bool(caplog.messages) == warns


async def test_a_closed_store_is_unavailable(redis_servers: SharedServers) -> None:
    """And one that could not be opened can be closed."""
    async with opened(redis_servers.url()) as store:
        pass
    for work in (store.head, lambda: put(store), lambda: store.prune(0)):
        with pytest.raises(BrokerUnavailable, match=r"closed|not open"):
            await work()
    store = make_store(redis_servers.url())
    await store.aclose()
    await store.aclose()


async def test_redis_takes_every_script(redis_servers: SharedServers) -> None:
    """Under the name that we compute ourselves."""
    async with opened(redis_servers.url()) as store, redis_servers.server().client() as client:
        await load_scripts(await store._lane.line())
        assert await ask(client, "SCRIPT", "EXISTS", *[script.sha for script in SCRIPTS.values()]) == [1] * len(SCRIPTS)
