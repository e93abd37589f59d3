"""Errors to responses: the one place that decides how a refusal looks over HTTP.

`application/problem+json` (RFC 9457), with the headers that belong to a status: `WWW-Authenticate` (RFC 6750),
`Retry-After`, `Allow`. Knows the error tree; must not know routes or hubs beyond their count of refusals.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec
from starlette.responses import Response

from headwater.errors import HeadwaterError, MethodNotAllowed, NotAllowed, NotAuthenticated, Unavailable
from headwater.hub import Hub

log = logging.getLogger("headwater")

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "urn:headwater:problem:"
"""What a problem's `type` begins with; the rest is its heading in docs/reference/http.md."""

REALM: Final = 'Bearer realm="headwater"'

_NOT_IN_DESCRIPTION = re.compile(
    r"[^\x20-\x21\x23-\x5b\x5d-\x7e]"
)  # RFC 6750, section 3: no quotes, backslashes, non-ASCII


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of an error response.

    Attributes:
        type: names the kind of problem for programs: `urn:headwater:problem:` and the title in lower case with hyphens.
        title: names it for people; always the same for one type.
        status: repeats the response's status.
        detail: everything the error says, in one text.
        expected: what would have been right, if there is something to say.
        fix: what the reader can do now, if there is something to say.
    """

    type: str
    title: str
    status: int
    detail: str
    expected: str | None = None
    fix: str | None = None


def problem_of(error: HeadwaterError) -> Problem:
    """The body that tells of `error`. One of status 500 tells nothing: what went wrong inside is the operator's to know."""
    if error.status == 500:
        error = HeadwaterError("something went wrong inside the hub", fix="its log has the details")
    return Problem(
        type=TYPE_PREFIX + error.title.lower().replace(" ", "-"),
        title=error.title,
        status=error.status,
        detail=str(error),
        expected=error.expected,
        fix=error.fix,
    )


def problem_response(error: HeadwaterError, *, headers: Mapping[str, str] | None = None) -> Response:
    """The response that tells a client of `error`."""
    return Response(
        msgspec.json.encode(problem_of(error)),
        status_code=error.status,
        media_type=MEDIA_TYPE,
        headers={"cache-control": "no-store", **_headers_of(error), **(headers or {})},
    )


def _headers_of(error: HeadwaterError) -> dict[str, str]:
    if isinstance(error, NotAuthenticated):
        return {"www-authenticate": _challenge(error.code, error)}
    if isinstance(error, NotAllowed):
        return {"www-authenticate": _challenge("insufficient_scope", error)}
    if isinstance(error, Unavailable) or error.retry_after is not None:
        return {"retry-after": str(max(1, math.ceil(error.retry_after or 1)))}
    return {}


def _challenge(code: str | None, error: HeadwaterError) -> str:
    """The `WWW-Authenticate` value; without a code where no credentials were sent (RFC 6750, section 3.1)."""
    if code is None:
        return REALM
    return f'{REALM}, error="{code}", error_description="{_NOT_IN_DESCRIPTION.sub("?", error.what)}"'


def method_not_allowed(method: str, allowed: Collection[str]) -> Response:
    """The 405 of a path that answers to other methods."""
    names = ", ".join(sorted(allowed))
    error = MethodNotAllowed(f"{method[:20]} is not possible here", expected=names)
    return problem_response(error, headers={"allow": names})


def refuse(hub: Hub, error: Exception) -> Response:
    """Count a refusal and make its response. What is our own fault, or what nobody expected, is logged here and not shown."""
    if not isinstance(error, HeadwaterError):
        log.error("a request failed: %r", error, exc_info=error)
        error = HeadwaterError("unexpected")
    elif error.status == 500:
        log.error("a request failed: %s", error, exc_info=error)
    hub.rejections[error.title] += 1
    return problem_response(error)


async def handle_error(request: Any, error: Exception) -> Response:
    """Headwater's errors as responses of your own application: `app.add_exception_handler(HeadwaterError, handle_error)`."""
    assert isinstance(error, HeadwaterError)
    return problem_response(error)
