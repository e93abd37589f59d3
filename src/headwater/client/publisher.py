"""The publisher: events to a hub over HTTP, safely tried again.

Every request carries an idempotency key of its own, so an attempt whose answer was lost can be repeated: the hub
answers the second with the ids of the first. Knows drafts and the publish contract; must not know streams.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx2
import msgspec

from headwater.channels import check_permissions
from headwater.client.http import (
    ANSWER_WITHIN,
    Credentials,
    Interrupted,
    Runtime,
    Token,
    endpoint,
    interruptions,
    new_client,
    read_body,
    refusal,
)
from headwater.client.received import MALFORMED
from headwater.client.reconnect import Budget, Policy, Refresh, Wait, Why, decide
from headwater.errors import InvalidInput, ProtocolError
from headwater.event import Draft

MAX_BATCH = 1000
"""Events in one request, as the hub limits it: a batch is atomic, so it cannot be split."""

MAX_ANSWER = 1 << 20
"""Bytes of the hub's answer that are read; a thousand ids are 50 KB."""


class _Published(msgspec.Struct):
    ids: tuple[str, ...]


class _Post(NamedTuple):
    """A request as all of its attempts send it."""

    url: httpx2.URL
    body: bytes
    kind: str
    key: str  # made once, so that every attempt after the first is known as such
    events: int  # how many, and so how many ids to expect


class Publisher:
    """Publishes to one hub. Use it as an asynchronous context manager, or call `aclose`.

    Args:
        url: of the hub's publish route; `/events` is added to a URL without a path.
        token: see `headwater.client.http.Token`.
        policy: how often and how eagerly to try again.
        headers: more headers for every request.
        client: used for the requests, and left open, in place of an own one.
        runtime: clock, sleep and chance, for tests.

    Raises:
        InvalidInput: the URL or the token makes no sense.
    """

    def __init__(
        self,
        url: str,
        token: Token = None,
        *,
        policy: Policy = Policy(base=0.5, cap=10.0, attempts=5),  # noqa: B008 (frozen, so safe to share)
        headers: Mapping[str, str] | None = None,
        client: httpx2.AsyncClient | None = None,
        runtime: Runtime = Runtime(),  # noqa: B008
    ) -> None:
        self._url = endpoint(url)
        self._credentials = Credentials(token)
        self._policy = policy
        self._headers = dict(headers or {})
        self._owns_client = client is None
        self._client = client or new_client()
        self._runtime = runtime

    async def publish(
        self,
        channel: str,
        type: str = "message",
        data: Any = None,
        *,
        permissions: Iterable[str] = (),
        idempotency_key: str | None = None,
    ) -> str:
        """Publish one event; return its id once the hub has it durably.

        Args:
            channel, type, data, permissions: see `Draft.json`.
            idempotency_key: publishing again with the same key, from this process or another, changes nothing and returns the
                first event's id.

        Raises:
            InvalidInput: the event is malformed; nothing was sent.
            RequestRefused: the hub will not take it, or not for as long as `policy` tries.
            Unreachable: the hub did not answer. It may have the event all the same.
            ProtocolError: what answered is no hub.
        """
        draft = Draft.json(channel, type, data, permissions=permissions, idempotency_key=idempotency_key)
        (id,) = await self.publish_all([draft])
        return id

    async def publish_all(self, drafts: Iterable[Draft]) -> tuple[str, ...]:
        """Publish several events, all or none; return their ids in order.

        Raises:
            InvalidInput: there are more than 1,000, or one is text (which travels alone: see `publish_text`).
            RequestRefused, Unreachable, ProtocolError: see `publish`.
        """
        batch = [_as_json(draft) for draft in drafts]
        if not batch:
            return ()
        if len(batch) > MAX_BATCH:
            raise InvalidInput(f"{len(batch)} events in one batch", expected=f"at most {MAX_BATCH}")
        body = msgspec.json.encode(batch if len(batch) > 1 else batch[0])
        return await self._send(_Post(self._url, body, "application/json", uuid.uuid4().hex, len(batch)))

    async def publish_text(
        self,
        channel: str,
        text: str,
        type: str = "message",
        *,
        permissions: Iterable[str] = (),
        idempotency_key: str | None = None,
    ) -> str:
        """Publish one event whose data is plain text and no JSON; return its id. The text goes to the hub's route for people,
        `/channels/NAME` beside this publisher's own.

        Raises:
            See `publish`.
        """
        draft = Draft(
            channel=channel,
            type=type,
            data=text,
            text=True,
            permissions=check_permissions(permissions),
            idempotency_key=idempotency_key,
        )
        url = self._url.join(f"channels/{draft.channel}").copy_add_param("type", type)
        for permission in sorted(draft.permissions):
            url = url.copy_add_param("permission", permission)
        key = idempotency_key or uuid.uuid4().hex
        (id,) = await self._send(_Post(url, draft.data.encode(), "text/plain; charset=utf-8", key, 1))
        return id

    async def _send(self, post: _Post) -> tuple[str, ...]:
        """Send a request until it is answered or hopeless."""
        budget = Budget()
        while True:
            try:
                return await self._try(post)
            except Interrupted as interrupted:
                budget, step = decide(
                    budget,
                    interrupted.ending,
                    self._policy,
                    can_refresh=self._credentials.can_refresh,
                    random=self._runtime.random,
                )
                match step:
                    case Wait(seconds):
                        await self._runtime.sleep(seconds)
                    case Refresh():
                        self._credentials.expire()
                    case _:
                        raise interrupted.error from interrupted

    async def _try(self, post: _Post) -> tuple[str, ...]:
        headers = httpx2.Headers(self._headers)
        headers.update({"Content-Type": post.kind, "Accept": "application/json", "Idempotency-Key": post.key})
        headers.update(await self._credentials.headers())
        with interruptions(Why.UNREACHABLE):
            request = self._client.build_request("POST", post.url, headers=headers, content=post.body)
            async with asyncio.timeout(ANSWER_WITHIN):
                response = await self._client.send(request, stream=True)
        if response.status_code not in (200, 201):
            raise await refusal(response, self._runtime.wall)
        try:
            with interruptions(Why.UNREACHABLE):
                async with asyncio.timeout(ANSWER_WITHIN):
                    answer = await read_body(response, MAX_ANSWER)
        finally:
            await response.aclose()
        return _ids(answer, post.events)

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        if self._owns_client:
            await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()


def _ids(answer: bytes, count: int) -> tuple[str, ...]:
    try:
        ids = msgspec.json.decode(answer, type=_Published).ids
    except MALFORMED as error:
        raise ProtocolError(f"the answer is no hub's: {error}", fix="check the URL") from error
    if len(ids) != count:
        raise ProtocolError(f"the answer has {len(ids)} ids for {count} events", fix="check the URL")
    return ids


def _as_json(draft: Draft) -> dict[str, Any]:
    if draft.text:
        raise InvalidInput("a draft of a batch is text", expected="JSON", fix="use publish_text, or Draft.json")
    fields: dict[str, Any] = {"channel": draft.channel, "type": draft.type, "data": msgspec.Raw(draft.data.encode())}
    if draft.permissions:
        fields["permissions"] = sorted(draft.permissions)
    if draft.idempotency_key is not None:
        fields["idempotency_key"] = draft.idempotency_key
    return fields
