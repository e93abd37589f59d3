"""What this process knows to have existed, so that Redis cannot lose it unnoticed.

Redis confirms writes that a crash, a failover or an old backup may take away again. The log then ends before positions that
somebody has already seen, and would give them a second time. So every script that writes, or that tells where the log is,
is told what the caller knows, and begins a new epoch if that is gone.

A log that has grown past what was lost looks well again. That is why each run of the Redis process, and each copy that
took over, is a *life* of its own with the head at which it began: a caller that knows of more in an earlier life has lost it.
"""

from __future__ import annotations

import msgspec


class State(msgspec.Struct, frozen=True):
    """Where the log was when a script ran.

    Attributes:
        epoch: which log this is; a log of its own after writes were lost.
        born: its head when the epoch began.
        head: seq of the newest event.
        life: which life of Redis it is in.
    """

    epoch: str
    born: int
    head: int
    life: int


class Known(msgspec.Struct):
    """The furthest that this process has seen the log.

    Attributes:
        epoch: of the log; empty before anything is known.
        life: in which `seq` was seen.
        seq: the newest that was seen.
    """

    epoch: str = ""
    life: int = 0
    seq: int = 0

    def saw(self, epoch: str, life: int, seq: int) -> None:
        """A message of another process's event came. Only what is of the life that a script has confirmed counts: in a later
        one, something may have been lost before it, and a script must be asked with what was known then."""
        if (epoch, life) == (self.epoch, self.life):
            self.seq = max(self.seq, seq)

    def confirm(self, state: State) -> bool:
        """A script, which was told what is known, answered. Whether that is another epoch than the one known so far."""
        if state.epoch == self.epoch and state.life < self.life:
            return False  # an answer that was overtaken by one of a later life
        is_new = bool(self.epoch) and state.epoch != self.epoch
        is_further = (state.epoch, state.life) != (self.epoch, self.life) or state.head > self.seq
        if is_further:
            self.epoch, self.life, self.seq = state.epoch, state.life, state.head
        return is_new
