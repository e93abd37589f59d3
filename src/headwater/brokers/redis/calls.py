"""Calling scripts: the words that are sent, and what the answer says of the log.

Knows keys, scripts and what this process knows to have existed. It must not know connections.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from headwater.brokers.redis.keys import Keys
from headwater.brokers.redis.known import Known, State
from headwater.brokers.redis.line import Word
from headwater.brokers.redis.scripts import SCRIPTS
from headwater.brokers.shared import new_epoch

_pack = msgspec.msgpack.encode


class Calls:
    """How this process calls scripts on one log.

    Args:
        keys: of the log.
        renewed: is called when an answer shows another epoch than the one known before.

    Attributes:
        keys: of the log.
        known: what this process knows to have existed; goes with every call.
        retention: what a node leaves for publishers when it enters, as JSON; None if this is no node.
        left: what a node has left, as JSON; None if none has.
        version: of what is left; if it is not that of the last answer, something else was left since.
    """

    def __init__(self, keys: Keys, renewed: Callable[[State], None]) -> None:
        self.keys = keys
        self.known = Known()
        self.retention: bytes | None = None
        self.left: bytes | None = None
        self.version = 0
        self.newest_version = 0
        self._renewed = renewed
        self._control = keys.control
        self._fixed = tuple(getattr(keys, name) for name in _FIXED)

    def words(
        self, script: str, asked: Mapping[str, object] | bytes, more_keys: Iterable[str] = ()
    ) -> tuple[Word, ...]:
        """The command that runs a script.

        Args:
            script: its name.
            asked: what is asked of it (see the script), packed or not.
            more_keys: which it uses besides those of the log itself.
        """
        keys = (*self._fixed, *more_keys)
        known = self.known
        caller = {
            "fresh": new_epoch(),
            "epoch": known.epoch,
            "begun": known.begun,
            "life": known.life,
            "seq": known.seq,
            "control": self._control,
        }
        packed = asked if isinstance(asked, bytes) else _pack(asked)
        return ("EVALSHA", SCRIPTS[script].sha, len(keys), *keys, _pack(caller), packed)

    def enter(self) -> tuple[Word, ...]:
        """The command that comes first on a connection."""
        return self.words("enter", {} if self.retention is None else {"retention": self.retention.decode()})

    def entered(self, reply: list[Any]) -> State:
        """The answer to `enter`."""
        state, (left,) = self.answer(reply)
        self.left, self.version = left, state.version
        return state

    def answer(self, reply: list[Any]) -> tuple[State, list[Any]]:
        """Where the log was, and the rest of a script's answer."""
        (epoch, *numbers), *rest = reply
        state = State(epoch.decode(), *numbers)
        self.newest_version = state.version
        if self.known.confirm(state):
            self._renewed(state)
        return state, rest


_FIXED = ("log", "lives", "channels", "oldest", "names", "empty", "times", "keys", "key_order")
