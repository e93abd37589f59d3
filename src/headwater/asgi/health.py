"""Is it alive, is it ready: for load balancers and orchestrators.

Alive means that the process answers. Ready means that what is published would arrive: proven by an event of the hub's
own that goes through the broker and comes back, because sockets stay open to brokers that hang. Must not know what a
broker is.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from headwater.asgi.problems import problem_response
from headwater.asgi.site import Call, json_response
from headwater.errors import Draining, HeadwaterError
from headwater.hub import Hub

PROBE_CHANNEL: Final = "$probe"
PROBE_TIME: Final = 3.0
"""Seconds a probe may take. Orchestrators commonly wait this long or less for the answer."""

PROBE_TTL: Final = 1.0
"""Seconds for which an outcome answers everyone, so that asking often does not fill the log."""


async def alive(call: Call) -> Response:
    """The process answers."""
    return json_response({"status": "alive"})


async def ready(call: Call) -> Response:
    """What is published would arrive."""
    hub = call.site.hub
    if hub.is_draining:
        return problem_response(Draining("the hub is shutting down", fix="send new clients elsewhere", retry_after=1))
    if (error := await call.site.probes.do(PROBE_CHANNEL, lambda: probe(hub))) is not None:
        return problem_response(error)
    return json_response({"status": "ready"})


async def probe(hub: Hub) -> HeadwaterError | None:
    """Why an event would not arrive, None if one just did. An error is returned rather than raised, so that it is kept and
    shared like a success: a broker that is down gets no more probes than one that is up."""
    try:
        await hub.probe(PROBE_CHANNEL, PROBE_TIME)
    except HeadwaterError as error:
        return error
    return None
