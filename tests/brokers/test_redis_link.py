"""Where the log is, and whether it may be entered: logins, rights, TLS, versions, Sentinels, clusters."""

from __future__ import annotations

import asyncio
import re
import traceback
from collections.abc import Sequence
from pathlib import Path

import pytest

from headwater.brokers.redis.line import Line
from headwater.errors import BrokerUnavailable, ConfigurationError
from headwater.event import Draft, Position
from headwater.testing.contract.node import later
from tests.brokers.redis_stores import make_store, opened, put, seqs
from tests.support.certificates import self_signed
from tests.support.proxy import proxying
from tests.support.redis import (
    VERSIONS,
    RedisServer,
    SharedServers,
    Version,
    ask,
    running_cluster,
    running_redis,
    running_replica,
    running_sentinel,
)
from tests.support.source import ROOT
from tests.support.waiting import until

PAGE = ROOT / "docs/howto/redis.md"


async def refused(url: str, match: str) -> ConfigurationError:
    """Opening fails at once, and for good; with what."""
    store = make_store(url)
    try:
        with pytest.raises(ConfigurationError, match=match) as raised:
            await store.open(keeps=True)
    finally:
        await store.aclose()
    return raised.value


async def everything(url: str) -> None:
    """All that a node ever asks of Redis."""
    async with opened(url) as store:
        before = (await store.head()).seq
        draft = Draft(channel="a", data="1", idempotency_key=f"k{before}")
        await store.append([draft, Draft(channel="b")])
        await store.append([draft])
        await store._command("HSET", store.keys.log, "server", "another")  # as after a restart
        await store.survey(["a"], "n", "t")
        await store.read(["a", "b"], before, before + 10)
        await store.read_back(["a"], 10)
        await store.position_at(0)
        await store.horizon(["a"])
        await store.channels()
        await store._ask("take_turn", {"interval": 0})
        await store._keeper._evict(0, later(60))
        await store.append([Draft(channel="c")])
        await store.prune(later(1 << 20))
        await _subscribe(store.link.listen, store.keys.inbox("n"))


async def _subscribe(listen: object, name: str) -> None:
    answers: list[object] = []
    news = asyncio.Event()

    def take(messages: Sequence[object]) -> None:
        answers.extend(messages)
        news.set()

    line: Line = await listen(take, lambda _: None)  # type: ignore[operator]
    for word, reply in (("SUBSCRIBE", b"subscribe"), ("UNSUBSCRIBE", b"unsubscribe")):
        news.clear()
        line.send(word, name)
        await news.wait()
        last = answers[-1]
        if isinstance(last, Exception):
            line.close()
            raise ConfigurationError(str(last))
        assert isinstance(last, list)
        assert last[0] == reply
    line.close()
    await line.closed


def acl() -> str:
    """The line of the docs."""
    (line,) = re.findall(r"^user headwater on .*$", PAGE.read_text(), re.MULTILINE)
    return str(line)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_rights_in_the_docs_are_enough_and_none_too_many(version: Version) -> None:
    """Everything works with them. Without any single one, something does not, and the error says why."""
    line = acl()
    async with running_redis(line, version=version) as server, server.client() as admin:
        url = server.url(user="headwater", password="secret")
        await everything(url)
        rights = re.findall(r"\+\S+", line)
        assert len(rights) > 30
        not_missed = []
        for right in rights:
            await admin.flushall()
            await ask(admin, "SCRIPT", "FLUSH")
            await ask(admin, "ACL", "SETUSER", *line.split()[1:], f"-{right[1:].partition('|')[0]}")
            try:
                await everything(url)
            except ConfigurationError as error:
                assert "NOPERM" in str(error) or "may not do what a broker must" in str(error)  # noqa: PT017
            else:
                not_missed.append(right)
            await ask(admin, "ACL", "DELUSER", "headwater")
            await ask(admin, "ACL", "SETUSER", *line.split()[1:])
        assert not_missed == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_user_that_may_only_publish(version: Version) -> None:
    """Needs no subscriptions; and may not touch another prefix."""
    line = acl().replace(" +subscribe +unsubscribe", "")
    async with running_redis(line, version=version) as server:
        url = server.url(user="headwater", password="secret")
        async with opened(url, keeps=False) as store:
            assert (await put(store)).seq == 1
        await refused(f"{url}?prefix=other", "may not do what a broker must.*docs/howto/redis.md")


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_wrong_login_is_refused_at_once(version: Version, protocol: int) -> None:
    """And said to be wrong, without the password."""
    async with running_redis("requirepass right", version=version) as server:
        await refused(server.url(protocol=protocol), "Redis asks for a password")
        await refused(server.url(password="wrong", protocol=protocol), "does not accept this user name and password")
        await refused(server.url(user="nobody", password="right", protocol=protocol), "does not accept")
        async with opened(server.url(password="right", protocol=protocol)) as store:
            await put(store)
        async with opened(server.url(user="default", password="right", protocol=protocol)) as store:
            assert (await store.head()).seq == 1


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_user_without_a_password_is_that_user(version: Version) -> None:
    """And not the default one, who may do everything."""
    async with running_redis("user guest on nopass ~* &* +@all -publish", version=version) as server:
        url = server.url()
        await refused(url.replace("//", "//nobody@"), "does not accept this user name and password")
        async with opened(url) as store, opened(url.replace("//", "//guest@")) as guests:
            await put(store)
            with pytest.raises(ConfigurationError, match="may not do what a broker must"):
                await put(guests)


async def test_a_database_that_does_not_exist_is_refused(redis_servers: SharedServers) -> None:
    """At once."""
    await refused(redis_servers.server().url(99, prefix="x"), "refuses the login.*DB index is out of range")


async def test_a_redis_that_is_too_old_is_refused(
    monkeypatch: pytest.MonkeyPatch, redis_servers: SharedServers
) -> None:
    """By what it says of itself, or because it does not know how to greet."""
    async with running_redis('rename-command HELLO ""', version="6.2") as server:
        error = await refused(server.url(password="secret"), "this Redis is older than 6.*Redis 6.2 or later")
        # Redis repeats what it does not understand.
        assert "secret" not in "".join(traceback.format_exception(error))
    monkeypatch.setattr("headwater.brokers.redis.link.OLDEST_VERSION", (7, 2))
    await refused(redis_servers.url(), r"this Redis is 7\.0\.15.*Redis 6\.2 or later, or Valkey")


async def test_a_log_whose_key_is_somebody_elses_is_refused(redis_servers: SharedServers) -> None:
    """At once: another prefix helps, waiting does not."""
    url = redis_servers.url()
    store = make_store(url)
    async with redis_servers.server().client() as client:
        await client.set(store.keys.log, "somebody's")
    await refused(url, "something else under one of the broker's keys.*another prefix")


@pytest.mark.parametrize("protocol", [2, 3])
async def test_tls(tmp_path: Path, protocol: int) -> None:
    """The server's certificate is checked: by whom it is signed, and for whom it is."""
    certificate, key = self_signed(tmp_path)
    async with running_redis(tls=(certificate, key)) as server:
        await everything(server.url(protocol=protocol, ssl_ca_certs=certificate))
        url = server.url(wait=0.2, protocol=protocol)
        for wrong in (url, f"{url}&ssl_ca_certs={certificate}".replace("127.0.0.1", "localhost")):
            store = make_store(wrong)
            with pytest.raises(BrokerUnavailable, match="certificate verify failed"):
                await store.open(keeps=False)
            await store.aclose()
        lax = f"{url}&ssl_ca_certs={certificate}&ssl_check_hostname=false".replace("127.0.0.1", "localhost")
        async with opened(lax) as store:
            await store.head()


async def test_opening_waits_for_a_redis_that_comes() -> None:
    """For as long as a publish would."""
    async with running_redis() as server:
        await server.stop()
        store = make_store(server.url(wait=20))
        opening = asyncio.create_task(store.open(keeps=True))
        await asyncio.sleep(0)
        await server.start()
        assert (await opening).seq == 0
        await store.aclose()


async def test_opening_gives_up_in_the_end(redis_servers: SharedServers) -> None:
    """Whether Redis refuses connections or only does not answer."""
    async with proxying(redis_servers.server().port) as proxy:
        port = redis_servers.server().port
        url = redis_servers.url(wait=0.1).replace(f":{port}/", f":{proxy.port}/")
        proxy.stall()
        for match in (r"Redis gave no answer within 0\.1 s", "cannot be reached"):
            store = make_store(url)
            with pytest.raises(BrokerUnavailable, match=match) as raised:
                await store.open(keeps=False)
            assert raised.value.retry_after is not None
            await store.aclose()
            await proxy.cut()


async def test_a_replica_is_not_where_the_log_is() -> None:
    """With the master named, too, that one is found."""
    async with running_redis() as master, running_replica(master) as replica:
        store = make_store(replica.url(wait=0.1))
        with pytest.raises(BrokerUnavailable, match=r"is a replica.*through Sentinel"):
            await store.open(keeps=False)
        await store.aclose()
        async with opened(f"redis://127.0.0.1:{replica.port},127.0.0.1:{master.port}") as store:
            assert (await put(store)).seq == 1
            assert store.link._hosts[0] == ("127.0.0.1", master.port)


async def test_a_sentinel_leads_to_the_master_and_to_the_next_one() -> None:
    """When the master dies, to the replica that takes its place: publishes wait for it."""
    async with running_redis() as master, running_replica(master) as replica, running_sentinel(master) as sentinel:
        hosts = f"127.0.0.1:1,127.0.0.1:{sentinel.port}"
        async with opened(f"redis+sentinel://{hosts}/mymaster?wait=30") as store:
            first = await put(store)
            async with master.client() as client:
                assert await client.wait(1, 30_000) == 1
            async with sentinel.client() as watcher:
                async with asyncio.timeout(30):
                    while not await ask(watcher, "SENTINEL", "REPLICAS", "mymaster"):
                        pass
            await master.kill()
            assert await put(store) == Position(first.epoch, 2)
            assert {line.address for line in store.link._lines} == {("127.0.0.1", replica.port)}
            assert store.link._hosts[0] == ("127.0.0.1", sentinel.port)


async def test_a_host_that_hangs_does_not_take_the_time_of_the_others(redis_servers: SharedServers) -> None:
    """A machine that went away without a word is not asked for as long as a publish may wait, not even by who has just
    started and knows of nothing better."""
    server = redis_servers.server()
    async with running_redis() as gone, running_redis() as silent:
        gone.pause()
        silent.pause()
        hosts = f"127.0.0.1:{gone.port},127.0.0.1:{silent.port},127.0.0.1:{server.port}"
        url = redis_servers.url(wait=1).replace(f"127.0.0.1:{server.port}", hosts)
        async with opened(url) as store:
            await put(store)
        store = make_store(url.replace(hosts, hosts.rpartition(",")[0]))
        with pytest.raises(BrokerUnavailable, match=r"no answer"):
            await store.open(keeps=True)
        await store.aclose()
        gone.resume()
        silent.resume()


async def test_a_sentinel_has_a_login_of_its_own_and_knows_names() -> None:
    """What is wrong with either is said."""
    async with running_redis("requirepass r") as master:
        options = ("sentinel auth-pass mymaster r", "requirepass s")
        async with running_sentinel(master, *options) as sentinel:
            base = f"redis+sentinel://:r@127.0.0.1:{sentinel.port}"
            async with opened(f"{base}/mymaster?sentinel_password=s") as store:
                await put(store)
            await refused(f"{base}/mymaster", "Redis asks for a password")
            store = make_store(f"{base}/other?sentinel_password=s&wait=0.1")
            with pytest.raises(BrokerUnavailable, match="watches nothing called 'other'"):
                await store.open(keeps=False)
            await store.aclose()
            await refused(f"redis://:s@127.0.0.1:{sentinel.port}", r"is a Sentinel.*redis\+sentinel://host/name")


PREFIXES = ("b", "a")  # whose slots, 3300 and 15495, are in the first and in the second half


async def test_one_node_may_be_a_whole_cluster() -> None:
    """With all slots; and there is one database only."""
    async with running_cluster(1) as (node,):
        await everything(node.url())
        await refused(node.url(1), "SELECT is not allowed in cluster mode")


async def test_a_cluster_is_followed_to_the_node_that_has_the_log() -> None:
    """From whichever node is asked, also after the slot has moved to another; pub/sub, too. When that node is gone, the
    others are asked again, and say what they know."""
    async with running_cluster(2) as nodes:
        for home, prefix in enumerate(PREFIXES):
            for asked in nodes:
                async with opened(asked.url(prefix=prefix)) as store:
                    await put(store)
                    assert {line.address[1] for line in store.link._lines} == {nodes[home].port}
                await everything(asked.url(prefix=prefix))
        store = make_store(nodes[0].url(prefix=PREFIXES[0], wait=20))
        await store.open(keeps=False)
        last = await put(store)
        await move(nodes[0], nodes[1], PREFIXES[0])
        assert await put(store) == Position(last.epoch, last.seq + 1)
        assert await seqs(store, "a", after=last.seq - 1) == [last.seq, last.seq + 1]
        assert {line.address[1] for line in store.link._lines} == {nodes[1].port}
        await nodes[1].kill()
        await until(lambda: "Cluster state changed: fail" in nodes[0].log, "the cluster to notice")
        with pytest.raises(BrokerUnavailable, match="cluster is not in order"):
            await store.head()
        await store.aclose()


async def move(source: RedisServer, target: RedisServer, prefix: str) -> None:
    """Move a log's slot, with everything in it."""
    async with source.client() as old, target.client() as new:
        slot = await ask(old, "CLUSTER", "KEYSLOT", f"{{{prefix}}}")
        target_id, source_id = await ask(new, "CLUSTER", "MYID"), await ask(old, "CLUSTER", "MYID")
        await ask(new, "CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        await ask(old, "CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while names := await ask(old, "CLUSTER", "GETKEYSINSLOT", slot, 1000):
            await ask(old, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)
        for client in (new, old):
            await ask(client, "CLUSTER", "SETSLOT", slot, "NODE", target_id)


async def test_nodes_that_point_to_each_other_are_given_up(
    monkeypatch: pytest.MonkeyPatch, redis_servers: SharedServers
) -> None:
    """For now: a cluster may not have agreed yet."""
    monkeypatch.setattr("headwater.brokers.redis.link.MAX_HOPS", 0)
    store = make_store(redis_servers.url(wait=0.05))
    with pytest.raises(BrokerUnavailable, match="point to each other"):
        await store.open(keeps=False)
    await store.aclose()
