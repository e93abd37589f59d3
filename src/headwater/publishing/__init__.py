"""Publishing from a process without a hub: one object for every log, and for a hub over HTTP.

    events = headwater.publisher("redis://redis.internal/0")

front      what a program holds: events are checked, and go out from coroutines and from plain functions alike
background the publisher's own event loop in a thread, for plain functions; forks and the interpreter's end
line       the way to the log in one event loop, opened when it is first needed
sinks      where events end: in a broker's log, or at a hub

Knows brokers and the client; must not know a hub.
"""

from headwater.publishing.front import Publisher, publisher

__all__ = ["Publisher", "publisher"]
