"""The hub: who listens here, fan-out, hand-off, heartbeats, expiry, drain, statistics.

registry      channels, and the views through which streams see them
ring          encoded frames of the recent past
live          the streams that are written to
fanout        the hot path: received events to live streams
handoff       streams that are behind are brought forward
reading       pages of the log, read once for everyone
following     which channels this node follows
start         where a stream begins
wheel         one timer for everything that is due
subscription  what a subscriber asks for
opening       a subscription on its way to become a stream
streams       what happens to the streams open here
frames        the hub's own frames
poll          the same read, as request and answer
probe         what is published arrives
publishing    the other direction: drafts to the log
observers     who is told that streams open and end
statistics    what a hub says about itself
sampling      the last ten minutes of that
survey        the first of many streams and channels, for people who look
explain       why somebody gets an event or does not
facts         what explanations stand on
core          Hub, which wires them together
"""

from headwater.hub.core import Hub
from headwater.hub.opening import Opening
from headwater.hub.start import After, Ago, All, Last, Now, Start
from headwater.hub.statistics import Statistics, StreamInfo
from headwater.hub.subscription import Subscription, Timing

__all__ = [
    "After",
    "Ago",
    "All",
    "Hub",
    "Last",
    "Now",
    "Opening",
    "Start",
    "Statistics",
    "StreamInfo",
    "Subscription",
    "Timing",
]
