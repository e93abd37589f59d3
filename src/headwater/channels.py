"""Channel names, patterns, and what a principal may subscribe to and publish to.

Pure: no I/O, no clock, no token format. A channel name is a view of the log; a pattern stands for many names; a
`Principal` is who is asking and what was granted to it. How a token becomes a principal is `auth`'s business.
"""

from __future__ import annotations

import re
from functools import lru_cache

import msgspec

from headwater.errors import InvalidChannel, InvalidInput

MAX_CHANNEL_LENGTH = 200
RESERVED_PREFIX = "$"

_NAME = re.compile(r"[A-Za-z0-9_\-.:/@=]+\Z")
_OWN_NAME = re.compile(r"\$[A-Za-z0-9_\-.:/@=]+\Z")
_PATTERN = re.compile(r"\$?[A-Za-z0-9_\-.:/@=*]+\Z")
_PERMISSION = re.compile(r"[\x21-\x7e]{1,200}\Z")
_EXPECTED = f"1 to {MAX_CHANNEL_LENGTH} characters from letters, digits and _ - . : / @ ="


def check_channel(name: object, *, own: bool = False) -> str:
    """Return `name` if it is a legal channel name.

    Args:
        name: the candidate; anything that is not a `str` is refused.
        own: also accept Headwater's own channels, which begin with `$`.

    Raises:
        InvalidChannel: it is not a string, is empty or too long, or has a character outside the grammar.
    """
    if not isinstance(name, str):
        raise InvalidChannel(f"channel is {type(name).__name__}, not text", expected=_EXPECTED)
    if 0 < len(name) <= MAX_CHANNEL_LENGTH and (_NAME.match(name) or (own and _OWN_NAME.match(name))):
        return name
    if name.startswith(RESERVED_PREFIX):
        raise InvalidChannel(
            f"channel {_shown(name)} begins with {RESERVED_PREFIX}, which is Headwater's own", expected=_EXPECTED
        )
    raise InvalidChannel(f"channel {_shown(name)} is not a channel name", expected=_EXPECTED)


def check_permission(name: object) -> str:
    """Return `name` if it may name a permission: 1 to 200 visible ASCII characters, no spaces.

    Raises:
        InvalidInput: it may not.
    """
    if isinstance(name, str) and _PERMISSION.match(name):
        return name
    raise InvalidInput(
        f"permission {_shown(name)} is malformed", expected="1 to 200 visible ASCII characters without spaces"
    )


def _shown(value: object) -> str:
    """The value as it may stand in a message: escaped, and cut so that a huge input stays a short error."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern. Only literals and two bounded classes: it cannot backtrack badly, because
    `[^:]*` stops at the separator and adjacent stars are folded into one."""
    if pattern == "**":
        return re.compile(r"[^$].*\Z")
    source = re.sub(r"\*{2,}", "**", pattern)
    pieces = re.split(r"(\*\*|\*)", source)
    return re.compile("".join({"*": "[^:]*", "**": ".*"}.get(piece, re.escape(piece)) for piece in pieces) + r"\Z")


def check_pattern(pattern: object) -> str:
    """Return `pattern` if it is a legal grant: a channel name in which `*` matches within one `:`-separated segment and
    `**` matches everything. At most 8 stars, so that matching stays cheap on hostile input.

    Raises:
        InvalidChannel: it is not.
    """
    if (
        isinstance(pattern, str)
        and 0 < len(pattern) <= MAX_CHANNEL_LENGTH
        and _PATTERN.match(pattern)
        and pattern.count("*") <= 8
    ):
        return pattern
    raise InvalidChannel(
        f"channel pattern {_shown(pattern)} is malformed", expected=f"{_EXPECTED}, with at most 8 stars as wildcards"
    )


def matches(pattern: str, channel: str) -> bool:
    """Whether a grant covers a channel. A wildcard never covers Headwater's own `$` channels; only a pattern that itself
    begins with `$` does."""
    if channel.startswith(RESERVED_PREFIX) and not pattern.startswith(RESERVED_PREFIX):
        return False
    return pattern == channel or ("*" in pattern and _compiled(pattern).match(channel) is not None)


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking, and what was granted. Built by `auth` from a token, or by an application from its own user.

    Attributes:
        id: the token's `sub`; None for an anonymous caller.
        permissions: what the principal holds; an event reaches it only if it holds all of the event's permissions.
        subscribe: patterns of the channels it may read.
        publish: patterns of the channels it may write.
        expires_at: Unix time in seconds at which its streams must end; None for never.
    """

    id: str | None = None
    permissions: frozenset[str] = frozenset()
    subscribe: tuple[str, ...] = ()
    publish: tuple[str, ...] = ()
    expires_at: float | None = None

    def __post_init__(self) -> None:
        for name in self.permissions:
            check_permission(name)
        for pattern in (*self.subscribe, *self.publish):
            check_pattern(pattern)

    def may_subscribe(self, channel: str) -> bool:
        """Whether a grant covers reading `channel`."""
        return any(matches(pattern, channel) for pattern in self.subscribe)

    def may_publish(self, channel: str) -> bool:
        """Whether a grant covers writing `channel`."""
        return any(matches(pattern, channel) for pattern in self.publish)

    def may_see(self, required: frozenset[str]) -> bool:
        """Whether an event that asks for `required` is visible: the principal holds every one of them."""
        return required <= self.permissions


ANYONE = Principal()
"""Holds nothing: sees only events that ask for no permission. What an application gets that names no principal."""

EVERYTHING = Principal(id="dev", permissions=frozenset({"headwater.admin"}), subscribe=("**", "$**"), publish=("**",))
"""Development mode's caller. It may read and write every channel and use the admin routes."""
