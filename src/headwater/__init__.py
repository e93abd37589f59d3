"""Headwater: the live-update layer for Python applications.

    from headwater import Hub

    hub = Hub("sqlite:///events.db")
    app = FastAPI(lifespan=hub.lifespan)

And in a process that has no hub:

    headwater.publisher("sqlite:///events.db").publish_sync("room:42", "log", {"message": "from a worker"})

Public names, and nothing else. Clients are in `headwater.client` (extra `client`), test helpers in `headwater.testing`.
"""

from headwater.asgi.library import Hub
from headwater.asgi.limits import Limiter, Limits
from headwater.asgi.problems import handle_error
from headwater.brokers import open_broker
from headwater.brokers.base import Broker, Retention, Rule
from headwater.channels import ANYONE, EVERYTHING, Principal
from headwater.errors import HeadwaterError
from headwater.event import Draft, Event, Position, ResetReason
from headwater.hub import Statistics, StreamInfo, Subscription, Timing
from headwater.publishing import Publisher, publisher
from headwater.single_flight import SingleFlight, single_flight

__version__ = "0.1.0"

__all__ = [
    "ANYONE",
    "EVERYTHING",
    "Broker",
    "Draft",
    "Event",
    "HeadwaterError",
    "Hub",
    "Limiter",
    "Limits",
    "Position",
    "Principal",
    "Publisher",
    "ResetReason",
    "Retention",
    "Rule",
    "SingleFlight",
    "Statistics",
    "StreamInfo",
    "Subscription",
    "Timing",
    "handle_error",
    "open_broker",
    "publisher",
    "single_flight",
]
