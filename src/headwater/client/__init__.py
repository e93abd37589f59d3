"""The Python client: subscribe to a hub, and publish to it, from any process.

    from headwater.client import FileCursor, Publisher, subscribe

Stands on the wire format and on httpx2 (the extra `client`) and on nothing of the hub, so a program that only talks to
a hub needs no more of Headwater than this.
"""

from headwater.client.blocking import BlockingSubscription, publish_sync, subscribe_sync
from headwater.client.cursor import Cursor, FileCursor
from headwater.client.http import Runtime
from headwater.client.publisher import Publisher
from headwater.client.received import ReceivedEvent, Reset, State, Status
from headwater.client.reconnect import Policy
from headwater.client.subscription import Subscription, subscribe

__all__ = [
    "BlockingSubscription",
    "Cursor",
    "FileCursor",
    "Policy",
    "Publisher",
    "ReceivedEvent",
    "Reset",
    "Runtime",
    "State",
    "Status",
    "Subscription",
    "publish_sync",
    "subscribe",
    "subscribe_sync",
]
