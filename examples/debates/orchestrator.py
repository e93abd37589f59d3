"""Runs a debate from its script, in real time: who speaks when, for how long, and when the audience is answered.

All of its memory is the database, so a new one goes on where the last one died. Knows scripts and what can be done to a
debate; must not know SQL, hubs or HTTP.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

from examples.debates.phases import TRANSITIONS, IllegalTransition, Phase
from examples.debates.scripts import Script
from examples.debates.store import Debate, Intervention, Utterance


class Stage(Protocol):
    """What an orchestrator needs of the debates."""

    async def get(self, debate_id: str) -> Debate: ...
    async def said(self, debate_id: str) -> frozenset[int]: ...
    async def interventions(self, debate_id: str) -> list[Intervention]: ...
    async def answer(self, debate_id: str, question_id: str, content: str) -> Intervention: ...
    async def transition_phase(self, debate_id: str, phase: Phase) -> object: ...
    async def emit_utterance(
        self, debate_id: str, speaker: str, content: str, *, line: int | None = None
    ) -> Utterance: ...


class Orchestrator:
    """Runs one debate.

    Args:
        speed: words in a minute.

    Attributes:
        news: to be set when somebody else has done something to the debate.
    """

    def __init__(self, stage: Stage, debate_id: str, script: Script, speed: float) -> None:
        self.news = asyncio.Event()
        self._stage = stage
        self._id = debate_id
        self._script = script
        self._speed = speed

    async def run(self) -> None:
        """Until the debate is complete."""
        while True:
            self.news.clear()
            debate = await self._stage.get(self._id)
            if debate.phase is Phase.COMPLETE:
                return
            if debate.paused:
                await self.news.wait()
                continue
            # A moderator may have been quicker: then look again what is to be done.
            with suppress(IllegalTransition):
                await self._speak_for(await self._answer() or await self._go_on(debate.phase))

    async def _answer(self) -> str:
        """Have the oldest question answered; what was said, or nothing if there is no question."""
        questions = await self._stage.interventions(self._id)
        for question in questions:
            if question.answer is None:
                earlier = sum(1 for each in questions if each.answer and each.speaker == question.speaker)
                answers = self._script.answers[question.speaker]
                content = answers[earlier % len(answers)]
                await self._stage.answer(self._id, question.id, content)
                return content
        return ""

    async def _go_on(self, phase: Phase) -> str:
        """Say the next line that can be said from here, or move on; what was said."""
        said = await self._stage.said(self._id)
        reachable = {phase, *TRANSITIONS[phase]}
        for number, line in enumerate(self._script.lines):
            if number not in said and line.phase in reachable:
                if line.phase is not phase:
                    await self._stage.transition_phase(self._id, line.phase)
                    return ""
                await self._stage.emit_utterance(self._id, line.speaker, line.content, line=number)
                return line.content
        await self._stage.transition_phase(self._id, TRANSITIONS[phase][-1])
        return ""

    async def _speak_for(self, content: str) -> None:
        """Wait as long as it takes to say something."""
        await asyncio.sleep(60 * len(content.split()) / self._speed)
