"""Channel names, patterns, and what a principal may subscribe to and publish to.

Pure: no I/O, no clock, no token format. A channel name is a view of the log; a pattern stands for many names; a
`Principal` is who is asking and what was granted to it. How a token becomes a principal is `auth`'s business.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from headwater.errors import InvalidChannel, InvalidInput

MAX_CHANNEL_LENGTH = 200
RESERVED_PREFIX = "$"
MAX_TIME = 253402300799.0  # the end of the year 9999, which is as far as ISO 8601 dates of four digits go
ALL = "*"
"""The permission that stands for all of them."""

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


def check_permissions(names: Iterable[str]) -> frozenset[str]:
    """`names` as a set, if they are all permissions.

    Raises:
        InvalidInput: one is not, or `names` is a single text, whose characters nobody meant as names.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise InvalidInput(f"permissions is {_shown(names)}", expected="a set or list of names")
    return frozenset(check_permission(name) for name in names)


def _shown(value: object) -> str:
    """The value as it may stand in a message: escaped, and cut so that a huge input stays a short error."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    """The regular expression of a pattern. Each block between two `**` matches where it first can, for good (an atomic
    group), and within a block so does each literal between two `*`. That loses no match, because an earlier place leaves the
    wildcard that follows it more to choose from; and it keeps the time quadratic in the length of the name, where the obvious
    expression would need its eighth power for eight stars."""
    first, *others = (_block(block) for block in re.sub(r"\*{2,}", "**", pattern).split("**"))
    if not others:
        return re.compile(first + r"\Z")
    *middle, last = others
    return re.compile(f"(?>{first})" + "".join(f"(?>.*?{block})" for block in middle) + rf".*?{last}\Z")


def _block(block: str) -> str:
    """The part of an expression for literals with single stars between them."""
    first, *others = map(re.escape, block.split("*"))
    if not others:
        return first
    *middle, last = others
    return first + "".join(f"(?>[^:]*?{literal})" for literal in middle) + f"[^:]*?{last}"


def check_pattern(pattern: object) -> str:
    """Return `pattern` if it is a legal grant: a channel name in which `*` matches within one `:`-separated segment and
    `**` matches everything. At most 8 stars, which is more than a grant can mean.

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


def _check_patterns(patterns: Iterable[str]) -> tuple[str, ...]:
    if isinstance(patterns, str) or not isinstance(patterns, Iterable):
        raise InvalidChannel(f"channel patterns is {_shown(patterns)}", expected="a list of patterns")
    return tuple(check_pattern(pattern) for pattern in patterns)


def matches(pattern: str, channel: str) -> bool:
    """Whether a grant covers a channel. A wildcard never covers Headwater's own `$` channels; only a pattern that itself
    begins with `$` does."""
    if channel.startswith(RESERVED_PREFIX) and not pattern.startswith(RESERVED_PREFIX):
        return False
    return pattern == channel or ("*" in pattern and _compiled(pattern).match(channel) is not None)


class _Every(frozenset[str]):
    """The permissions of somebody who holds `*`: a superset of whatever is asked for. Being a set, it goes wherever one goes
    and costs the others nothing; `required <= held` asks the more special of the two sides first."""

    __slots__ = ()

    def __ge__(self, other: object) -> bool:
        return True


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking, and what was granted. Built by `auth` from a token, or by an application from its own user.

    Attributes:
        id: the token's `sub`; None for an anonymous caller.
        permissions: what the principal holds; an event reaches it only if it holds all of the event's permissions. `*`
            stands for every permission there is, for services and operators.
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
        set_attribute = msgspec.structs.force_setattr
        if self.expires_at is not None and not 0 <= self.expires_at <= MAX_TIME:
            raise InvalidInput(
                f"expires_at is {self.expires_at!r}", expected="Unix time in seconds, before the year 10000"
            )
        permissions = check_permissions(self.permissions)
        set_attribute(self, "permissions", _Every(permissions) if ALL in permissions else permissions)
        set_attribute(self, "subscribe", _check_patterns(self.subscribe))
        set_attribute(self, "publish", _check_patterns(self.publish))

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

EVERYTHING = Principal(
    id="dev", permissions=frozenset({ALL, "headwater.admin"}), subscribe=("**", "$**"), publish=("**",)
)
"""Development mode's caller. It may read and write every channel, sees every event, and may use the admin routes."""
