"""What it means when Redis answers with an error, and what to do about it.

Pure: error replies in, errors of ours out.
"""

from __future__ import annotations

from headwater.brokers.redis.line import Refused
from headwater.errors import BrokerUnavailable, ConfigurationError, HeadwaterError

PASSING = frozenset(
    {
        "READONLY",
        "LOADING",
        "BUSY",
        "MASTERDOWN",
        "NOREPLICAS",
        "NOSCRIPT",
    }  # a server that is not ready, or not any more
    | {"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"}  # a cluster that is being changed
)
"""Codes of what may be over in a moment: the same command may then succeed, perhaps on another connection."""

_UNAVAILABLE = {
    "OOM": (
        "Redis has no memory left (maxmemory)",
        "give it more, or keep less: lower the retention's total_bytes; what was being published is not in the log",
    ),
    "MISCONF": (
        "Redis takes no writes because it could not save to its disk",
        "see its log; make room on the disk, and it takes writes again after the next save that succeeds",
    ),
    "NOREPLICAS": (
        "Redis takes no writes because too few replicas are connected (min-replicas-to-write)",
        "bring the replicas back",
    ),
    "READONLY": ("this Redis is a replica, or has become one", "connect to the master, or through Sentinel"),
    "LOADING": ("Redis is still loading its data", "try again in a moment"),
    "BUSY": ("Redis is busy with a script of somebody's", "wait for it, or end it with SCRIPT KILL"),
    "MASTERDOWN": ("this Redis is a replica that has lost its master", "connect to the master, or through Sentinel"),
    "CLUSTERDOWN": ("the Redis cluster is not in order", "see CLUSTER INFO"),
}
_CONFIGURATION = {
    "NOAUTH": ("Redis asks for a password", "put one into the URL: redis://user:password@host"),
    "WRONGPASS": ("Redis does not accept this user name and password", "correct them in the broker's URL"),
    "NOPERM": ("this user of Redis may not do what a broker must", "give it the rights listed in docs/howto/redis.md"),
    "DENIED": (
        "Redis is in protected mode, and takes no connections from elsewhere",
        "give it a password or a bind address",
    ),
    "NOPROTO": ("Redis does not speak this protocol", "leave the option protocol away, or set it to 2 or 3"),
    "WRONGTYPE": (
        "there is something else under one of the broker's keys",
        "choose another prefix in the URL's options, or delete that key",
    ),
}


def explain(refused: Refused) -> HeadwaterError:
    """The error of ours that an error reply is."""
    text = str(refused)
    if refused.code in _CONFIGURATION:
        what, fix = _CONFIGURATION[refused.code]
        return ConfigurationError(f"{what} ({text})", fix=fix)
    if refused.code == "ERR" and any(sign in text for sign in ("AUTH", "SELECT", "DB index")):
        return ConfigurationError(f"Redis refuses the login ({text})", fix="correct the broker's URL")
    what, fix = _UNAVAILABLE.get(refused.code, ("Redis refused a command", "see what it says"))
    return BrokerUnavailable(f"{what} ({text})", fix=fix, retry_after=1)
