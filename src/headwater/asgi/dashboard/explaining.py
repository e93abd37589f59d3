"""`explain`: why does somebody get an event, or not?

From a question over HTTP to the facts, and from the hub's verdict to an answer. A token that is asked about is checked like
one that opens a stream, and goes nowhere else. Knows the gate and the hub's facts; must not know how a verdict comes about.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from starlette.responses import Response

from headwater.asgi.request import since_of
from headwater.asgi.site import Call, json_response
from headwater.channels import Principal, check_channel, check_permissions
from headwater.errors import InvalidChannel, InvalidInput, NotAuthenticated
from headwater.event import MAX_PERMISSIONS
from headwater.hub import explain as deciding
from headwater.hub.explain import Facts, Place, Sought
from headwater.hub.facts import open_stream, owner_of, place_for, place_of, sought

_EXPECTED: Final = (
    "a JSON object with channel, at most one of token, stream and principal, and perhaps id, permissions and since"
)


MAX_GRANTS: Final = 1000
"""Patterns of somebody who might be: more than a token has room for, and few enough to be compared in one go."""

Grants = Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_GRANTS)]


class AskedPrincipal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Somebody who might be.

    Attributes:
        id: whom a token would name.
        subscribe: patterns of the channels it may read.
        permissions: those that it holds.
    """

    id: str | None = None
    subscribe: Grants = ()
    permissions: Grants = ()


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who, and which event.

    Attributes:
        channel: where the event is.
        id: the event's; without, one is meant that might be published now.
        permissions: those that this one would ask for.
        token: of whoever is asked about.
        stream: the number of an open stream that is asked about.
        principal: somebody who might be. Without any of the three, you are asked about.
        since: where a stream of theirs would begin, as in `GET /events`; an open stream began where it did.
    """

    channel: str
    id: str | None = None
    permissions: Annotated[tuple[str, ...], msgspec.Meta(max_length=MAX_PERMISSIONS)] = ()
    token: str | None = None
    stream: int | None = None
    principal: AskedPrincipal | None = None
    since: str = "now"


async def explain(call: Call) -> Response:
    """The verdict, with the steps that lead to it."""
    question = question_of(await call.body())
    return json_response(deciding.explain(await facts_of(call, question)))


def question_of(body: bytes) -> Question:
    """What is asked.

    Raises:
        InvalidInput: the body is no question.
    """
    try:
        question = msgspec.json.decode(body, type=Question)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        # The message may repeat what was sent, but never a token: that field takes any text.
        raise InvalidInput(f"the body is no question: {str(error)[:200]}", expected=_EXPECTED) from None
    if sum(each is not None for each in (question.token, question.stream, question.principal)) > 1:
        raise InvalidInput("the question is about several at once", expected=_EXPECTED)
    return question


async def facts_of(call: Call, question: Question) -> Facts:
    """What the verdict stands on.

    Raises:
        InvalidInput: the question has a malformed part. NotFound: there is no such stream. Unavailable: nobody can tell now.
    """
    hub = call.site.hub
    start = since_of(question.since)
    permissions = check_permissions(question.permissions)
    place: Place | None = None
    if question.stream is not None:
        stream = open_stream(hub, question.stream)
        who, place = owner_of(stream), place_of(hub, stream)
    else:
        try:
            who = await _asked_about(call, question)
        except NotAuthenticated as error:
            return Facts(who=error, channel=question.channel)
    try:
        check_channel(question.channel, own=True)
    except InvalidChannel:
        return Facts(who=who, channel=question.channel)
    event = Sought(permissions=permissions)
    if question.id:
        event = await sought(hub, question.channel, question.id)
        if place is None and event.missing is None:
            place = await place_for(hub, who, question.channel, start)
    return Facts(who=who, channel=question.channel, event=event, place=place)


async def _asked_about(call: Call, question: Question) -> Principal:
    if question.token is not None:
        return await call.site.gate.principal_of(question.token.strip())
    if (asked := question.principal) is not None:
        return Principal(id=asked.id or None, subscribe=asked.subscribe, permissions=frozenset(asked.permissions))
    return call.principal
