"""Publishing over HTTP: `POST /events` for programs, `POST /channels/{channel}` for people.

Strict about what it takes: a field it does not know is more likely a misspelt one than one to ignore. Everything is
checked before anything is appended, and all of a request is appended or nothing. Knows requests, drafts and grants; must
not know brokers or streams.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import msgspec
from starlette.responses import Response

from headwater.asgi.body import MediaType, media_type_of
from headwater.asgi.limits import exceeds
from headwater.asgi.request import header_of
from headwater.asgi.site import Call, json_response
from headwater.channels import Principal, check_channel
from headwater.errors import IdempotencyConflict, InvalidEvent, InvalidInput, NotAllowed, TooLarge, UnsupportedMedia
from headwater.event import MAX_KEY_LENGTH, Draft

UTF_8: Final = frozenset({"", "utf-8", "utf8", "us-ascii"})
_EXPECTED: Final = (
    '{"channel": "...", "type": "...", "data": any JSON, "permissions": ["..."], "idempotency_key": "..."}, of which only '
    "the channel is required, or an array of them"
)


class Incoming(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An event as a publisher sends it.

    Attributes:
        channel: where it goes.
        type: the event's name.
        data: any JSON; white space between its tokens goes, everything else stays as it is.
        permissions: who reads it must hold all of them.
        idempotency_key: publishing again with the same key appends nothing and returns the first id.
    """

    channel: str
    type: str = "message"
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    permissions: list[str] = msgspec.field(default_factory=list)
    idempotency_key: str | None = None


async def publish(call: Call) -> Response:
    """Events as JSON: one object, or an array of them."""
    media = media_type_of(call.scope)
    if not _is_json(media) or media.charset not in UTF_8:
        raise UnsupportedMedia(
            f"the body is {media.essence[:80] or 'of no stated type'}",
            expected="application/json in UTF-8",
            fix="send the header Content-Type: application/json, or text to /channels/{channel}",
        )
    events = _decoded(await call.body())
    _check_count(len(events), call.site.limiter.limits.max_batch)
    call.site.limiter.publish(call.principal.id, len(events))
    keys = [_key(call, event.idempotency_key, index) for index, event in enumerate(events)]
    drafts = [
        _draft(event, key, index, call.principal) for index, (event, key) in enumerate(zip(events, keys, strict=True))
    ]
    return await _append(call, drafts, keys)


async def publish_one(call: Call) -> Response:
    """One event to the channel in the path: its data is the body, as JSON if the request says so, else as text."""
    media = media_type_of(call.scope)
    if media.charset not in UTF_8 or media.essence.startswith("multipart/"):
        raise UnsupportedMedia(
            f"the body is {media.essence[:80]} {media.charset[:80]}".strip(), expected="text or JSON in UTF-8"
        )
    body = await call.body()
    call.site.limiter.publish(call.principal.id, 1)
    permissions = frozenset(value for name, value in call.query if name == "permission")
    type = call.field("type", "message")
    key = _key(call, None, 0)
    scoped = scoped_key(call.principal, key)
    channel = check_channel(call.rest)
    if _is_json(media):
        draft = Draft.json(channel, type, msgspec.Raw(body), permissions=permissions, idempotency_key=scoped)
    else:
        data = _text(body)
        draft = Draft(channel=channel, type=type, data=data, text=True, permissions=permissions, idempotency_key=scoped)
    return await _append(call, [draft], [key])


def _is_json(media: MediaType) -> bool:
    return media.essence == "application/json" or media.essence.endswith("+json")


def _decoded(body: bytes) -> list[Incoming]:
    try:
        decoded = msgspec.json.decode(body, type=Incoming | list[Incoming])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the body is not an event: {_cut(str(error))}", expected=_EXPECTED) from None
    return decoded if isinstance(decoded, list) else [decoded]


def _cut(text: str) -> str:
    """A message that may repeat what was sent, without its middle if it is long: where the mistake is stands at its end."""
    return text if len(text) <= 300 else f"{text[:200]}...{text[-60:]}"


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not text: {error}", expected="UTF-8") from None


def _check_count(count: int, limit: int) -> None:
    if not count:
        raise InvalidInput("the array is empty", expected="at least one event")
    if exceeds(count, limit):
        raise TooLarge(f"{count} events in one request", expected=f"at most {limit}", fix="publish in several requests")


def _key(call: Call, own: str | None, index: int) -> str | None:
    """The idempotency key of the `index`-th event: its own, else one that follows from the whole request's."""
    whole = header_of(call.scope, b"idempotency-key")
    if own is None and whole is None:
        return None
    key = own if own is not None else whole
    if not key or len(key) > MAX_KEY_LENGTH or not key.isprintable():
        raise InvalidEvent(
            f"idempotency key {(key or '')[:80]!r} is malformed", expected=f"1 to {MAX_KEY_LENGTH} printable characters"
        )
    return key if own is not None else f"{key}/{index}"


def scoped_key(principal: Principal, key: str | None) -> str | None:
    """The key as the log knows it: another for each principal, so that nobody meets or blocks somebody else's, and other
    than what the application itself publishes with."""
    if key is None:
        return None
    return "http:" + hashlib.sha256(msgspec.json.encode([principal.id, key])).hexdigest()


def _draft(event: Incoming, key: str | None, index: int, principal: Principal) -> Draft:
    try:
        check_channel(event.channel)
        return Draft.json(
            event.channel,
            event.type,
            None if event.data is msgspec.UNSET else event.data,
            permissions=event.permissions,
            idempotency_key=scoped_key(principal, key),
        )
    except InvalidInput as error:
        raise type(error)(
            f"{error.what} (event {index} of the request)", expected=error.expected, fix=error.fix
        ) from None


async def _append(call: Call, drafts: Sequence[Draft], keys: Sequence[str | None]) -> Response:
    for draft in drafts:
        if not call.principal.may_publish(draft.channel):
            raise NotAllowed(
                f"the token does not grant publishing to channel {draft.channel}",
                expected="a publish pattern that covers it",
                fix="ask the issuer of the token for one",
            )
    try:
        positions = await call.site.hub.publish_all(drafts)
    except IdempotencyConflict as error:
        key = next(key for key, draft in zip(keys, drafts, strict=True) if str(draft.idempotency_key) in error.what)
        raise IdempotencyConflict(
            f"idempotency key {key!r} was used before for a different event",
            expected="the very same event whenever a key is repeated",
            fix="use a new key for each event",
        ) from None
    return json_response({"ids": [str(position) for position in positions]}, 201)
