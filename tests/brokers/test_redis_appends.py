"""Appending to Redis: whole or not at all, once, in order; and what publishers hear when Redis is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from headwater.brokers.base import Retention
from headwater.brokers.redis.appends import Appends
from headwater.brokers.redis.line import Line
from headwater.errors import BrokerUnavailable, ConfigurationError, IdempotencyConflict
from headwater.event import Draft, Position
from tests.brokers.redis_stores import Place, make_store, opened, put, seqs
from tests.support.proxy import Proxy, proxying
from tests.support.redis import VERSIONS, SharedServers, Version, ask, running_redis
from tests.support.waiting import until

BIG = '"' + "x" * 100_000 + '"'


@pytest.fixture
async def proxied(place: Place) -> AsyncIterator[tuple[Proxy, str, str]]:
    """A proxy before a server, the URL of a log through it, and its URL without it."""
    server, url = place
    async with proxying(server.port) as proxy:
        yield proxy, url.replace(f":{server.port}/", f":{proxy.port}/"), url


@pytest.mark.parametrize("key", [None, "k"])
@pytest.mark.parametrize("end", ["drop", "half_close"])
async def test_an_answer_that_was_lost_is_asked_for_again(
    proxied: tuple[Proxy, str, str], key: str | None, end: str
) -> None:
    """The events went up, the connection broke before the answer came down: they are not appended again."""
    proxy, through, direct = proxied
    async with opened(through) as store, opened(direct) as other:
        await put(store)
        proxy.stall("down")
        drafts = [Draft(channel="a", data="1", idempotency_key=key), Draft(channel="b")]
        appending = asyncio.create_task(store.append(drafts))
        while (await other.head()).seq == 1:
            pass
        if end == "drop":
            await proxy.drop()
        else:
            proxy.half_close("up")
            await proxy.drop()
        proxy.resume()
        assert [position.seq for position in await appending] == [2, 3]
        assert await seqs(other, "a", "b") == [1, 2, 3]


async def test_an_answer_lost_with_the_whole_pipeline_is_found_again(proxied: tuple[Proxy, str, str]) -> None:
    """Many appends were under way, in one piece: each gets its own answer, and stands once in the log."""
    proxy, through, direct = proxied
    async with opened(through) as store, opened(direct) as other:
        await put(store)
        proxy.stall("down")
        appends = [asyncio.create_task(put(store, data=str(number), count=2)) for number in range(50)]
        while (await other.head()).seq == 1:
            pass
        await proxy.drop()
        proxy.resume()
        positions = await asyncio.gather(*appends)
        page = await other.read(["a"], 1, 1000)
        assert [event.data for event in page.events] == [str(number) for number in range(50) for _ in range(2)]
        assert positions == [event.position for event in page.events][1::2]


async def test_an_answer_that_comes_too_late_is_given_up(proxied: tuple[Proxy, str, str]) -> None:
    """The error says that nobody knows; the key tells; and without one, the same operation is never done twice."""
    proxy, through, direct = proxied
    async with opened(f"{through}&wait=0.3") as store, opened(direct) as other:
        await put(store)
        proxy.stall("down")
        draft = Draft(channel="a", idempotency_key="k")
        with pytest.raises(BrokerUnavailable, match=r"not known whether.*idempotency keys") as raised:
            await store.append([draft])
        assert raised.value.retry_after is not None
        proxy.resume()
        assert [position.seq for position in await store.append([draft])] == [2]
        assert await seqs(other, "a") == [1, 2]


async def test_all_of_a_pipeline_whose_answers_come_too_late_may_be_there(proxied: tuple[Proxy, str, str]) -> None:
    """They went up together, so nobody is told that nothing was appended, whose answer ever would have been the first."""
    proxy, through, direct = proxied
    async with opened(f"{through}&wait=0.3") as store, opened(direct) as other:
        await put(store)
        proxy.stall("down")
        outcomes = await asyncio.gather(*(put(store) for _ in range(3)), return_exceptions=True)
        assert ["not known whether" in str(outcome) for outcome in outcomes] == [True] * 3
        assert (await other.head()).seq == 4
        proxy.resume()


async def test_a_request_that_never_arrived_is_sent_again(proxied: tuple[Proxy, str, str]) -> None:
    """Once it can; in the order in which it was made."""
    proxy, through, direct = proxied
    async with opened(through) as store, opened(direct) as other:
        await put(store)
        await proxy.cut()
        appends = [asyncio.create_task(put(store, data=str(number))) for number in range(20)]
        await asyncio.sleep(0)
        assert (await other.head()).seq == 1
        await proxy.restore()
        assert [position.seq for position in await asyncio.gather(*appends)] == list(range(2, 22))
        page = await other.read(["a"], 1, 1000)
        assert [event.data for event in page.events] == [str(number) for number in range(20)]


async def test_an_outage_is_waited_out_for_a_while(redis_servers: SharedServers) -> None:
    """Then the publisher hears that nothing was appended, and when to come again; and nothing is, later."""
    port = redis_servers.server().port
    async with proxying(port) as proxy:
        async with opened(redis_servers.url(wait=0.2).replace(f":{port}/", f":{proxy.port}/")) as store:
            line = await store._appends._lane.line()
            await proxy.cut()
            await line.closed
            with pytest.raises(BrokerUnavailable, match=r"nothing was appended") as raised:
                await put(store)
            assert raised.value.retry_after is not None
            assert raised.value.status == 503
            await proxy.restore()
            assert (await put(store)).seq == 1


async def test_what_was_given_up_before_it_went_never_goes(redis_servers: SharedServers) -> None:
    """The connection is made in the very moment in which the publisher is told that nothing was appended."""
    async with opened(redis_servers.url(wait=0.1)) as store:
        await put(store)
        lane = store._appends._lane
        get_line = lane.line
        given_up = asyncio.Event()

        async def get_line_late() -> Line:
            await given_up.wait()
            return await get_line()

        lane.line = get_line_late  # type: ignore[method-assign]
        with pytest.raises(BrokerUnavailable, match="nothing was appended"):
            await put(store)
        late = asyncio.create_task(put(store))
        await asyncio.sleep(0)
        given_up.set()
        assert (await late).seq == 2


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_does_not_fit_into_memory_is_not_there_at_all(version: Version) -> None:
    """Whatever the first event is that does not: the log is as it was, and goes on when there is room."""
    async with running_redis("maxmemory 4mb", version=version) as server, server.client() as client:
        async with opened(server.url()) as store:
            before = await store.head()

            async def fill() -> None:
                nonlocal before
                for number in range(100):
                    before = (await store.append([Draft(channel=f"c{number % 7}", data=BIG), Draft(channel="x")]))[-1]

            with pytest.raises(BrokerUnavailable, match=r"no memory left.*lower the retention"):
                await fill()
            assert await store.head() == before
            assert len(await seqs(store, *(f"c{number}" for number in range(7)), "x")) == before.seq
            row = await client.hgetall(store.keys.log)
            assert int(row["bytes"]) == sum(info.bytes for info in await store.channels())
            await client.config_set("maxmemory", "64mb")
            assert (await store.append([Draft(channel="a", data=BIG)]))[0].seq == before.seq + 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_too_few_replicas_is_an_outage(version: Version) -> None:
    """Redis is told to confirm nothing that is not on a replica: publishers wait until it may."""
    async with running_redis(version=version) as server, server.client() as client:
        async with opened(server.url(wait=30), keeps=False) as store:
            await client.config_set("min-replicas-to-write", 1)
            before = await _failed_calls(client)
            appending = asyncio.create_task(put(store))
            async with asyncio.timeout(30):
                while await _failed_calls(client) < before + 2:
                    pass
            await client.config_set("min-replicas-to-write", 0)
            assert (await appending).seq == 1
            await client.config_set("min-replicas-to-write", 1)
        async with opened(server.url(wait=0.2), keeps=False) as store:
            with pytest.raises(BrokerUnavailable, match=r"too few replicas.*"):
                await put(store)


async def _failed_calls(client: Redis) -> int:
    """How many script calls Redis has refused."""
    return int((await client.info("commandstats"))["cmdstat_evalsha"]["failed_calls"])


async def test_a_disk_that_cannot_be_written_is_said_to_be() -> None:
    """Redis then takes no writes; what to do about it is told."""
    async with running_redis("dir /proc") as server, server.client() as client, opened(server.url()) as store:
        await put(store)
        await client.config_set("save", "3600 1000000")
        await client.bgsave()
        await until(lambda: "Background saving error" in server.log, "the save to fail")
        with pytest.raises(BrokerUnavailable, match=r"could not save to its disk.*make room"):
            await put(store)
        assert await seqs(store, "a") == [1]


@pytest.mark.parametrize("version", VERSIONS)
async def test_killed_connections_lose_and_double_nothing(version: Version) -> None:
    """However often, in the middle of whatever is under way."""
    async with running_redis(version=version) as server, server.client() as client:
        async with opened(server.url(wait=30), keeps=False) as store:
            done = asyncio.Semaphore(0)
            killed = 0

            async def publish(number: int) -> list[Position]:
                positions: list[Position] = []
                for count in range(20):
                    drafts = [Draft(channel=f"c{number}", data=f"[{count},{part}]") for part in range(3)]
                    positions += await store.append(drafts)
                    done.release()
                return positions

            publishing = [asyncio.create_task(publish(number)) for number in range(5)]
            for _ in range(20):
                for _ in range(4):
                    await done.acquire()
                killed += await ask(client, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            assert killed
            for number, positions in enumerate(await asyncio.gather(*publishing)):
                page = await store.read([f"c{number}"], 0, 10_000, 10_000)
                assert [event.position for event in page.events] == positions
                expected = [f"[{count},{part}]" for count in range(20) for part in range(3)]
                assert [event.data for event in page.events] == expected


async def test_a_conflict_names_the_key(place: Place) -> None:
    """Of the draft that has it; those before it in the batch are not there."""
    _, url = place
    async with opened(url) as store:
        await put(store, key="k1")
        with pytest.raises(IdempotencyConflict, match="'k1' was used before"):
            await store.append([Draft(channel="b", idempotency_key="k2"), Draft(channel="c", idempotency_key="k1")])
        assert await seqs(store, "a", "b", "c") == [1]
        assert await store.append([]) == ()


async def test_keys_are_remembered_by_number_and_by_age(place: Place) -> None:
    """The newest, and not for longer than they should; a key that is used again after its time is a new one."""
    server, url = place
    async with server.client() as client:
        async with opened(url, Retention(keys=2)) as store:
            for key in ("k1", "k2", "k3"):
                await put(store, key=key)
            assert await client.hkeys(store.keys.keys) == ["k2", "k3"]
            assert (await put(store, key="k3")).seq == 3
            assert (await put(store, key="k1")).seq == 4
            assert await client.hlen(store.keys.keys) == await client.llen(store.keys.key_order) == 2
        async with opened(url, Retention(key_age=0.001)) as store:
            old = await put(store, key="k1")
            while (new := await put(store, key="k1")) == old:
                pass
            assert await client.hkeys(store.keys.keys) == ["k1"]
            assert str(await client.hget(store.keys.keys, "k1")).split(" ")[1] == str(new.seq)
        async with opened(url, Retention(keys=0)) as store:
            assert (await put(store, key="k9")) != (await put(store, key="k9"))


async def test_more_than_may_wait_is_refused_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by size; a single large one always passes."""
    monkeypatch.setattr("headwater.brokers.redis.appends.MAX_WAITING", 10)
    monkeypatch.setattr("headwater.brokers.redis.appends.MAX_WAITING_SIZE", 100)
    async with running_redis() as server, opened(server.url(wait=30)) as store:
        assert len(await store.append([Draft(channel="a", data=f'"{"x" * 200}"')] * 20)) == 20
        server.pause()
        waiting = [asyncio.create_task(put(store)) for _ in range(10)]
        await asyncio.sleep(0)
        for draft in (Draft(channel="a"), Draft(channel="a", data=f'"{"x" * 90}"')):
            with pytest.raises(BrokerUnavailable, match="10 events are already waiting"):
                await store.append([draft])
        assert store.overflows == 2
        server.resume()
        assert len(await asyncio.gather(*waiting)) == 10
        await put(store)


async def test_a_cancelled_append_that_has_not_gone_never_goes(redis_servers: SharedServers) -> None:
    """It was waiting for a connection; those behind it go without it."""
    async with proxying(redis_servers.server().port) as proxy:
        url = redis_servers.url().replace(f":{redis_servers.server().port}/", f":{proxy.port}/")
        async with opened(url) as store:
            await put(store)
            await proxy.cut()
            appends = [asyncio.create_task(put(store, data=str(number))) for number in range(3)]
            await asyncio.sleep(0)
            appends[1].cancel()
            await asyncio.sleep(0)
            await proxy.restore()
            await asyncio.wait(appends)
            page = await store.read(["a"], 1, 10)
            assert [event.data for event in page.events] == ["0", "2"]


async def test_pipelines_are_bounded(redis_servers: SharedServers, monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by size, so that nobody's answer waits for very many others'."""
    monkeypatch.setattr("headwater.brokers.redis.appends.MAX_BATCH", 10)
    monkeypatch.setattr("headwater.brokers.redis.appends.MAX_BATCH_SIZE", 1000)
    batches: list[int] = []
    send = Appends._send

    async def counted(self: Appends, batch: list[object]) -> None:
        batches.append(len(batch))
        await send(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Appends, "_send", counted)
    async with opened(redis_servers.url()) as store:
        await asyncio.gather(*(put(store) for _ in range(25)))
        assert batches == [10, 10, 5]
        batches.clear()
        await asyncio.gather(*(put(store, data=f'"{"x" * 600}"') for _ in range(5)))
        assert batches == [2, 2, 1]


async def test_a_key_of_somebody_else_fails_one_append_only(place: Place) -> None:
    """Others that go with it are not harmed."""
    server, url = place
    async with opened(url) as store, server.client() as client:
        await client.set(store.keys.stream("b"), "somebody's")
        results = await asyncio.gather(*(put(store, name) for name in "abc"), return_exceptions=True)
        assert [type(result) for result in results] == [Position, ConfigurationError, Position]


async def test_closing_waits_for_what_is_under_way_and_no_longer(redis_servers: SharedServers) -> None:
    """Whoever has appended gets an answer, or hears in time that there is none."""
    port = redis_servers.server().port
    async with proxying(port) as proxy:
        url = redis_servers.url(wait=0.2).replace(f":{port}/", f":{proxy.port}/")
        for away in (False, True):
            store = make_store(url)
            await store.open(keeps=False)
            if away:
                proxy.stall()
            appends = [asyncio.create_task(put(store)) for _ in range(20)]
            await asyncio.sleep(0)
            await store.aclose()
            results = await asyncio.gather(*appends, return_exceptions=True)
            assert {type(result) for result in results} == {BrokerUnavailable if away else Position}


async def test_a_login_that_is_refused_meanwhile_is_told_at_once(place: Place) -> None:
    """The password was changed: waiting would not help. Whoever has given up by then is not told."""
    server, url = place
    name = f"user-{url.rpartition('prefix=')[2].partition('&')[0]}"
    async with server.client() as client:
        await ask(client, "ACL", "SETUSER", name, "on", ">one", "~*", "&*", "+@all")
        async with opened(url.replace("redis://", f"redis://{name}:one@")) as store:
            await put(store)
            await ask(client, "ACL", "SETUSER", name, ">two", "<one")
            line = await store._appends._lane.line()
            line.drop("broke")
            appends = [asyncio.create_task(put(store)) for _ in range(2)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            appends[0].cancel()
            with pytest.raises(ConfigurationError, match="does not accept this user name and password"):
                await appends[1]
            await ask(client, "ACL", "SETUSER", name, ">one")
            assert (await put(store)).seq == 2
        await ask(client, "ACL", "DELUSER", name)
