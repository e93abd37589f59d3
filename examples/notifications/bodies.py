"""What requests may say, and how one that says something else is refused.

Knows FastAPI and pydantic; must not know what is done with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints
from starlette.exceptions import HTTPException
from starlette.types import Message

from examples.notifications.inbox import Level
from headwater.asgi.body import check_length, read_body
from headwater.errors import InvalidInput

MAX_BYTES: Final = 64 << 10
"""Of a body."""

WITHIN: Final = 10.0
"""Seconds in which it must come."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_HREF = re.compile(r"(https?://[^\s\\/?#@]|/(?![/\\]))[^\s\\]*\Z", re.ASCII)


def _readable(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("has control characters")
    return text


def _one_line(text: str) -> str:
    if "\n" in text or "\t" in text:
        raise ValueError("is more than one line")
    return text


def _leads_somewhere(href: str) -> str:
    if not _HREF.match(href):
        raise ValueError("should begin with http://, https:// or one /, without spaces or backslashes")
    return href


def _soon(moment: datetime) -> datetime:
    present = datetime.now(UTC)
    if not present - timedelta(days=1) <= moment <= present + timedelta(days=366):
        raise ValueError("should be within a year from now")
    return moment


_trimmed = StringConstraints(strip_whitespace=True, min_length=1, max_length=120)
Title = Annotated[str, _trimmed, AfterValidator(_readable), AfterValidator(_one_line)]
Words = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_readable)]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=60),
    AfterValidator(_readable),
    AfterValidator(_one_line),
]
About = Annotated[str, StringConstraints(max_length=200), AfterValidator(_readable)]
Href = Annotated[str, StringConstraints(max_length=500), AfterValidator(_leads_somewhere)]
Minutes = Annotated[int, Field(ge=1, le=10_080)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Body(BaseModel):
    """A body with these fields and no others."""

    model_config = ConfigDict(extra="forbid")

    def changes(self) -> dict[str, Any]:
        """The fields that were sent.

        Raises:
            InvalidInput: none was.
        """
        if not self.model_fields_set:
            raise InvalidInput("there is nothing to change", expected=" or ".join(type(self).model_fields))
        return self.model_dump(exclude_unset=True)


class NewNotification(Body):
    """Whom to notify of what."""

    to: Id | Annotated[list[Id], Field(min_length=1, max_length=50)]
    title: Title
    message: Words = ""
    level: Level = Level.INFO
    href: Href | None = None

    @property
    def receivers(self) -> list[str]:
        """`to` as a list."""
        return [self.to] if isinstance(self.to, str) else self.to


class EditNotification(Body):
    """What to change of a notification; what is left out stays. Only `href` can be taken away."""

    read: bool = False
    seen: bool = False
    title: Title = ""
    message: Words = ""
    level: Level = Level.INFO
    href: Href | None = None


class Some(Body):
    """Which notifications; all of them if it does not say."""

    ids: Annotated[list[Id], Field(max_length=1000)] | None = None


class EditUser(Body):
    """What to change of oneself."""

    name: Name = ""
    about: About = ""


class NewAnnouncement(Body):
    """What to tell everybody."""

    title: Title
    message: Words = ""
    level: Level = Level.INFO
    minutes: Minutes = 60


class NewMaintenance(Body):
    """When there is what kind of work on the system."""

    title: Title
    message: Words = ""
    startsAt: Annotated[AwareDatetime, AfterValidator(_soon)] | None = None
    minutes: Minutes = 60


class Route(APIRoute):
    """A route whose body is bounded, and whose refusals are problems like all others."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI."""
        handle = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await handle(await _bounded(request) if request.method in ("POST", "PATCH") else request)
            except RequestValidationError as error:
                raise InvalidInput(_said(error)) from error
            except HTTPException as error:  # FastAPI's own, for a body that is not even text
                raise InvalidInput("the body cannot be read", expected="JSON, in UTF-8") from error

        return handler


async def _bounded(request: Request) -> Request:
    """The same request, with its body in memory.

    Raises:
        TooLarge: it is over MAX_BYTES. RequestTimeout: it did not come in time.
    """
    check_length(request.scope, MAX_BYTES)
    messages: list[Message] = [
        {"type": "http.request", "body": await read_body(request.receive, MAX_BYTES, WITHIN), "more_body": False}
    ]

    async def receive() -> Message:
        return messages.pop() if messages else await request.receive()

    return Request(request.scope, receive)


def _said(error: RequestValidationError) -> str:
    """What is wrong, in one text. Names of fields may be the sender's own invention, so they are quoted and cut."""
    found = []
    for each in error.errors()[:5]:
        where = ".".join(str(part) for part in each["loc"][1:] if not isinstance(part, int))
        found.append(f"{where[:40]!a}: {each['msg']}" if where else str(each["msg"]))
    return "; ".join(found)
