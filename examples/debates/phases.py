"""The life of a debate as one table, and what may be done when.

Pure: no clock, no database, no HTTP.

    waiting -> opening -> arguments -> cross_examination -> rebuttal -> closing -> complete

A moderator may leave out what lies between the arguments and the closing statements. Pausing is no phase: a paused debate
stays where it is, and only goes on after `resume`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class Phase(StrEnum):
    """Where a debate is."""

    WAITING = "waiting"
    OPENING = "opening"
    ARGUMENTS = "arguments"
    CROSS_EXAMINATION = "cross_examination"
    REBUTTAL = "rebuttal"
    CLOSING = "closing"
    COMPLETE = "complete"


TRANSITIONS: Final[dict[Phase, tuple[Phase, ...]]] = {
    Phase.WAITING: (Phase.OPENING,),
    Phase.OPENING: (Phase.ARGUMENTS,),
    Phase.ARGUMENTS: (Phase.CROSS_EXAMINATION, Phase.REBUTTAL, Phase.CLOSING),
    Phase.CROSS_EXAMINATION: (Phase.REBUTTAL, Phase.CLOSING),
    Phase.REBUTTAL: (Phase.CLOSING,),
    Phase.CLOSING: (Phase.COMPLETE,),
    Phase.COMPLETE: (),
}


class IllegalTransition(Exception):
    """This cannot be done to the debate now; the message says what it is doing and what could be done. Nothing changed."""


class State(msgspec.Struct, frozen=True):
    """Where a debate is, and whether it is paused."""

    phase: Phase = Phase.WAITING
    paused: bool = False

    def moved(self, to: Phase) -> State:
        """The state after a transition.

        Raises:
            IllegalTransition: the table does not have it, or the debate is paused.
        """
        self._check_not_paused(f"go to {to}")
        if to not in TRANSITIONS[self.phase]:
            possible = " or ".join(TRANSITIONS[self.phase]) or "nowhere"
            raise IllegalTransition(f"the debate is in {self.phase}: from there it can go to {possible}, not to {to}")
        return State(to)

    def spoken(self) -> State:
        """The state after somebody has spoken: the same, if speaking is possible.

        Raises:
            IllegalTransition: nobody may speak now.
        """
        self._check_not_paused("hear anyone")
        self._check_running("hear anyone")
        return self

    def asked(self) -> State:
        """The state after a question from the audience: the same. It may be asked while the debate is paused.

        Raises:
            IllegalTransition: the debate has not begun or is over.
        """
        self._check_running("take questions")
        return self

    def halted(self) -> State:
        """The state after a pause.

        Raises:
            IllegalTransition: it is paused already, has not begun, or is over.
        """
        self._check_not_paused("be paused again")
        self._check_running("be paused")
        return State(self.phase, paused=True)

    def resumed(self) -> State:
        """The state after the end of a pause.

        Raises:
            IllegalTransition: it is not paused.
        """
        if not self.paused:
            raise IllegalTransition(f"the debate is in {self.phase} and not paused: there is nothing to resume")
        return State(self.phase)

    def _check_not_paused(self, what: str) -> None:
        if self.paused:
            raise IllegalTransition(f"the debate is paused in {self.phase} and cannot {what}: resume it first")

    def _check_running(self, what: str) -> None:
        if self.phase in (Phase.WAITING, Phase.COMPLETE):
            state = "has not begun" if self.phase is Phase.WAITING else "is over"
            raise IllegalTransition(f"the debate {state} and cannot {what}")
