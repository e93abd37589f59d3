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
    """Where the log was when a script ran. In the order in which scripts tell it.

    Attributes:
        epoch: which log this is; a log of its own after writes were lost.
        begun: when the epoch began, in milliseconds of Unix time; later epochs have later ones.
        born: the log's head then.
        head: seq of the newest event.
        life: which life of Redis it is in.
        version: of the retention that nodes have left for publishers.
    """

    epoch: str
    begun: int
    born: int
    head: int
    life: int
    version: int


class Known(msgspec.Struct):
    """The furthest that this process has seen the log.

    Attributes:
        epoch: of the log; empty before anything is known.
        begun: when that epoch began.
        life: in which `seq` was seen.
        seq: the newest that was seen.
    """

    epoch: str = ""
    begun: int = 0
    life: int = 0
    seq: int = 0

    def saw(self, epoch: str, life: int, seq: int) -> None:
        """A message of another process's event came. Only what is of the life that a script has confirmed counts: in a later
        one, something may have been lost before it, and a script must be asked with what was known then."""
        if (epoch, life) == (self.epoch, self.life):
            self.seq = max(self.seq, seq)

    def confirm(self, state: State) -> bool:
        """A script, which was told what is known, answered. Whether that is another epoch than the one known so far."""
        if (state.begun, state.life) < (self.begun, self.life):
            return False  # an answer that was overtaken by a later one
        is_new = bool(self.epoch) and state.epoch != self.epoch
        is_same = (state.epoch, state.life) == (self.epoch, self.life)
        self.seq = max(self.seq, state.head) if is_same else state.head
        self.epoch, self.begun, self.life = state.epoch, state.begun, state.life
        return is_new
