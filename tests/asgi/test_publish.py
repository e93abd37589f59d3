"""Publishing: what is taken, exactly as it was meant, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.asgi.limits import Limits
from headwater.asgi.publish import scoped_key
from headwater.channels import Principal
from headwater.testing.asgi import Reply
from tests.support.site import Service, bearer, serving

JSON = {"content-type": "application/json"}


async def published(site: Service, channel: str = "a") -> list[tuple[str, Any]]:
    """Type and data of everything in a channel."""
    answer = await site.poll(f"/events?channel={channel}&since=all")
    return [(event["type"], event["data"]) for event in answer["events"]]


async def refused(site: Service, status: int, target: str = "/events", **options: Any) -> str:
    """Publish what is refused with this status and changes nothing; returns what the problem says."""
    before = await site.state()
    reply = await site.post(target, **options)
    assert reply.status == status, reply
    assert reply.headers["content-type"] == "application/problem+json"
    assert await site.state() == before
    return str(reply.json()["detail"])


async def test_an_event_is_published() -> None:
    """201 with its id, which is its cursor."""
    async with serving() as site:
        reply = await site.post("/events", json={"channel": "a", "type": "log", "data": {"b": 1}})
        assert (reply.status, reply.json()) == (201, {"ids": [str(await site.hub.broker.head())]})
        assert await published(site) == [("log", {"b": 1})]


async def test_only_the_channel_is_required() -> None:
    """The type is then `message` and the data null."""
    async with serving() as site:
        assert (await site.post("/events", json={"channel": "a"})).status == 201
        assert await published(site) == [("message", None)]


async def test_a_batch_is_published_in_order() -> None:
    """An array has one id for each of its events."""
    async with serving() as site:
        reply = await site.post("/events", json=[{"channel": "a", "data": n} for n in range(1000)])
        assert len(set(reply.json()["ids"])) == 1000
        assert [data for _, data in await published(site)] == list(range(1000))


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ("1.10", "1.10"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1e999", "1e999"),
        ('{"b": 1,  "a" : [ 2 ]\n}', '{"b":1,"a":[2]}'),
        ('"\\u00e9 \\ud83d\\ude00 é"', '"\\u00e9 \\ud83d\\ude00 é"'),
        ('{"a":1,"a":2}', '{"a":1,"a":2}'),
    ],
)
async def test_data_is_kept_as_it_was(data: str, kept: str) -> None:
    """Numbers keep their digits and objects their order: only white space between tokens goes."""
    async with serving() as site:
        await site.post("/events", headers=JSON, body=f'{{"channel":"a","data":{data}}}'.encode())
        reply = await site.get("/events?channel=a&since=all", headers={"accept": "application/json"})
        assert f'"data":{kept},'.encode() in reply.body


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "Input data was truncated"),
        (b"{", "Input data was truncated"),
        (b'{"channel":"a"} x', "trailing characters"),
        (b'"a"', "Expected `object | array`, got `str`"),
        (b"[1]", "Expected `object`, got `int` - at `$[0]`"),
        (b'{"channel":1}', "Expected `str`, got `int` - at `$.channel`"),
        (b'{"channel":null}', "got `null` - at `$.channel`"),
        (b'{"channel":"a","type":[]}', "Expected `str`, got `array` - at `$.type`"),
        (b'{"channel":"a","permissions":"p"}', "Expected `array`, got `str` - at `$.permissions`"),
        (b'{"channel":"a","permissions":[1]}', "at `$.permissions[0]`"),
        (b'{"channel":"a","idempotency_key":7}', "at `$.idempotency_key`"),
        (b'{"channel":"a","idempotencyKey":"k"}', "unknown field `idempotencyKey`"),
        (b'[{"channel":"a"},{"chanel":"a"}]', "unknown field `chanel` - at `$[1]`"),
        (b'{"type":"x"}', "missing required field `channel`"),
        (b'{"channel":"a","data":NaN}', "JSON is malformed"),
        (b'{"channel":"\xff"}', "can't decode byte 0xff"),
        (b'{"channel":"a","data":"\xff"}', "can't decode byte 0xff"),
        (b'{"channel":"a","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "maximum recursion depth"),
        (b"[]", "the array is empty"),
        (b"\xef\xbb\xbf{}", "JSON is malformed"),
    ],
)
async def test_a_body_that_is_no_event_is_refused(body: bytes, words: str) -> None:
    """The problem names the field and where it is."""
    async with serving() as site:
        assert words in await refused(site, 400, headers=JSON, body=body)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"channel": ""}, "channel '' is not a channel name"),
        ({"channel": "a b"}, "channel 'a b' is not a channel name"),
        ({"channel": "a\nid: 1"}, "is not a channel name"),
        ({"channel": "a" * 201}, "is not a channel name"),
        ({"channel": "$stats"}, "which is Headwater's own"),
        ({"channel": "a", "type": ""}, "event type '' is not a name"),
        ({"channel": "a", "type": "x\ndata: forged"}, "type 'x\\ndata: forged' is malformed"),
        ({"channel": "a", "type": "x\rdata: forged"}, "is malformed"),
        ({"channel": "a", "type": "x\0"}, "is malformed"),
        ({"channel": "a", "type": "x" * 201}, "is malformed"),
        ({"channel": "a", "type": "connected"}, "is one that only the hub sends"),
        ({"channel": "a", "type": "reset"}, "is one that only the hub sends"),
        ({"channel": "a", "permissions": ["a b"]}, "permission 'a b' is malformed"),
        ({"channel": "a", "permissions": ["x\n"]}, "is malformed"),
        ({"channel": "a", "permissions": [str(n) for n in range(33)]}, "33 permissions on one event"),
        ({"channel": "a", "idempotency_key": ""}, "idempotency key '' is malformed"),
        ({"channel": "a", "idempotency_key": "k\n"}, "is malformed"),
        ({"channel": "a", "idempotency_key": "k" * 201}, "is malformed"),
    ],
)
async def test_an_illegal_event_is_refused_with_all_of_its_batch(event: dict[str, Any], words: str) -> None:
    """Nothing that could forge a frame gets in, and a batch lands whole or not at all."""
    async with serving() as site:
        assert words in await refused(site, 400, json=event)
        detail = await refused(site, 400, json=[{"channel": "a"}, event])
        assert words in detail
        assert "(event 1 of the request)" in detail or "idempotency" in detail


@pytest.mark.parametrize(
    "content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16"]
)
async def test_events_are_json_and_say_so(content_type: str | None) -> None:
    """What says it is something else, or nothing, is refused before it is read; any page may send text without asking."""
    async with serving() as site:
        headers = {"content-type": content_type} if content_type else {}
        assert "application/json in UTF-8" in await refused(site, 415, headers=headers, body=b'{"channel":"a"}')


async def test_json_has_many_names() -> None:
    """A charset of UTF-8 and media types that end in +json are JSON, too."""
    async with serving() as site:
        for name in ("application/json; charset=UTF-8", "application/cloudevents+json", "APPLICATION/JSON"):
            assert (await site.post("/events", headers={"content-type": name}, body=b'{"channel":"a"}')).status == 201


async def test_sizes_are_bounded() -> None:
    """Too many events, too large a body, too large an event: 413, and nothing is published."""
    async with serving(limits=Limits(max_batch=2, max_body_bytes=1_000_000)) as site:
        assert "at most 2" in await refused(site, 413, json=[{"channel": "a"}] * 3)
        large = {"channel": "a", "data": "x" * site.hub.max_event_bytes}
        assert "an event of" in await refused(site, 413, json=[{"channel": "a"}, large])
        assert "at most 1000000 bytes" in await refused(site, 413, headers=JSON, body=b" " * 1_000_001)


async def test_a_key_publishes_once() -> None:
    """The same request again answers the same and appends nothing, for one event and for a batch."""
    async with serving() as site:
        for body in ({"channel": "a", "data": 1}, [{"channel": "a", "data": 2}, {"channel": "a", "data": 3}]):
            headers = {"idempotency-key": type(body).__name__}
            first = await site.post("/events", headers=headers, json=body)
            again = await site.post("/events", headers=headers, json=body)
            assert first.status == again.status == 201
            assert first.body == again.body
        assert [data for _, data in await published(site)] == [1, 2, 3]


async def test_an_event_has_its_own_key_or_one_from_the_request() -> None:
    """Its own wins; the others are the request's key, a slash and their index."""
    async with serving() as site:
        batch = [
            {"channel": "a", "data": 0},
            {"channel": "a", "data": 1, "idempotency_key": "own"},
            {"channel": "a", "data": 2},
        ]
        ids = (await site.post("/events", headers={"idempotency-key": "k"}, json=batch)).json()["ids"]
        for key, index in (("k/0", 0), ("own", 1), ("k/2", 2)):
            again = await site.post("/events", json={**batch[index], "idempotency_key": key})
            assert again.json()["ids"] == [ids[index]]


async def test_a_key_used_for_something_else_is_a_conflict() -> None:
    """409 names the client's own key, and nothing of the batch is published."""
    async with serving() as site:
        await site.post("/events", json={"channel": "a", "data": 1, "idempotency_key": "k"})
        batch = [{"channel": "a"}, {"channel": "a", "data": 2, "idempotency_key": "k"}]
        assert "idempotency key 'k' was used before" in await refused(site, 409, json=batch)


async def test_keys_are_each_principals_own() -> None:
    """Two principals with the same key do not meet, and neither learns of the other."""
    async with serving(dev=False) as site:
        event = {"channel": "a", "data": 1, "idempotency_key": "k"}
        ada = await site.post("/events", headers=bearer("ada"), json=event)
        eve = await site.post("/events", headers=bearer("eve"), json={**event, "data": 2})
        assert (ada.status, eve.status) == (201, 201)
        assert ada.json() != eve.json()


def test_no_name_and_key_make_another_ones() -> None:
    """Not by where one ends and the other begins, and nobody is not a principal called null."""
    pairs = [("a", "b/c"), ("a/b", "c"), (None, "k"), ("null", "k"), ("", "k")]
    keys = {scoped_key(Principal(id=name), key) for name, key in pairs}
    assert len(keys) == len(pairs)
    assert scoped_key(Principal(id="a"), None) is None


@pytest.mark.parametrize("key", ["", "k\x7f", "k" * 201])
async def test_a_malformed_key_is_refused(key: str) -> None:
    """Rather than ignored: the client believes that it is safe to repeat."""
    async with serving() as site:
        assert "is malformed" in await refused(site, 400, headers={"idempotency-key": key}, json={"channel": "a"})


async def test_a_grant_covers_every_event_of_a_batch() -> None:
    """403 names the channel that is not covered, and none of the others is published."""
    async with serving(dev=False) as site:
        headers = bearer(publish=["room:*"])
        assert (await site.post("/events", headers=headers, json={"channel": "room:1"})).status == 201
        for body in ({"channel": "user:1"}, [{"channel": "room:1"}, {"channel": "user:1"}]):
            detail = await refused(site, 403, headers=headers, json=body)
            assert "does not grant publishing to channel user:1" in detail


async def test_publishing_has_a_rate() -> None:
    """What is over it is 429 with the time to come back; others are not affected."""
    async with serving(dev=False, limits=Limits(publish_rate=2.0)) as site:
        batch = [{"channel": "a"}] * 2
        assert (await site.post("/events", headers=bearer("ada"), json=batch)).status == 201
        reply = await site.post("/events", headers=bearer("ada"), json=batch)
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")
        assert (await site.post("/channels/a", headers=bearer("ada"), body=b"x")).status == 429
        assert (await site.post("/events", headers=bearer("eve"), json=batch)).status == 201


# -- text ------------------------------------------------------------------------------------------------------------------


async def text(site: Service, target: str, body: bytes, **headers: str) -> Reply:
    """Publish as curl does."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return await site.post(target, headers={"content-type": "application/x-www-form-urlencoded", **names}, body=body)


async def test_curl_publishes_text() -> None:
    """`curl -d hello /channels/room:42`: the body is the data, whatever curl calls it."""
    async with serving() as site:
        assert (await text(site, "/channels/room:42", b"hello & more=1\nline two")).status == 201
        assert (await site.post("/channels/room:42", body="é".encode())).status == 201
        assert await published(site, "room:42") == [("message", "hello & more=1\nline two"), ("message", "é")]


async def test_a_channel_may_contain_slashes() -> None:
    """They may stand in the path as they are, or encoded."""
    async with serving() as site:
        await text(site, "/channels/a/b", b"1")
        await text(site, "/channels/a%2Fb", b"2")
        assert [data for _, data in await published(site, "a/b")] == ["1", "2"]


async def test_type_and_permissions_come_in_the_query() -> None:
    """And the key in its header, the same as for JSON."""
    async with serving(dev=False) as site:
        headers = {**bearer("ada", permissions=["p", "q"])}
        first = await text(site, "/channels/a?type=log&permission=p&permission=q", b"x", idempotency_key="k", **headers)
        again = await text(site, "/channels/a?type=log&permission=q&permission=p", b"x", idempotency_key="k", **headers)
        assert first.json() == again.json()
        for permissions, count in ((["p", "q"], 1), (["p"], 0)):
            answer = await site.poll("/events?channel=a&since=all", headers=bearer(permissions=permissions))
            assert [event["type"] for event in answer["events"]] == ["log"] * count


async def test_json_to_a_channel_is_its_data() -> None:
    """With application/json the body is a value and not a text."""
    async with serving() as site:
        assert (await site.post("/channels/a", json={"b": 1})).status == 201
        assert await published(site) == [("message", {"b": 1})]
        await refused(site, 400, "/channels/a", headers=JSON, body=b"{")


@pytest.mark.parametrize("content_type", ["multipart/form-data; boundary=x", "text/plain; charset=latin-1"])
async def test_what_is_no_plain_text_is_refused(content_type: str) -> None:
    """A form with parts, and text in other encodings."""
    async with serving() as site:
        await refused(site, 415, "/channels/a", headers={"content-type": content_type}, body=b"x")


async def test_text_must_be_utf_8() -> None:
    """Bytes that are no text cannot go on the wire."""
    async with serving() as site:
        assert "not text" in await refused(site, 400, "/channels/a", body=b"\xff")


@pytest.mark.parametrize(
    "target",
    ["/channels/a%20b", "/channels/a%0Aid:1", "/channels/$stats", "/channels/a?type=heartbeat", "/channels/a?type="],
)
async def test_text_is_checked_like_json(target: str) -> None:
    """Channel and type obey the same rules."""
    async with serving() as site:
        await refused(site, 400, target, body=b"x")


async def test_text_needs_a_grant() -> None:
    """As JSON does."""
    async with serving(dev=False) as site:
        detail = await refused(site, 403, "/channels/b", headers=bearer(publish=["a"]), body=b"x")
        assert "channel b" in detail
