"""`POST /tickets`: a token buys a ticket, which opens one stream from a URL.

Knows the ticket office; must not know how tickets are made.
"""

from __future__ import annotations

import math
import time

from starlette.responses import Response

from headwater.asgi.site import Call, json_response
from headwater.auth.tickets import LIFETIME
from headwater.errors import NotAllowed


async def buy(call: Call) -> Response:
    """A ticket for the caller."""
    assert call.caller is not None
    if call.caller.credentials.ticket is not None:
        raise NotAllowed(
            "a ticket buys no ticket", expected="a token", fix="send the token you bought the first one with"
        )
    ticket = call.site.office.issue(call.principal)
    expires_at = call.principal.expires_at
    left = LIFETIME if expires_at is None else min(LIFETIME, expires_at - time.time())
    return json_response({"ticket": ticket, "expires_in": max(0, math.floor(left))}, 201)
