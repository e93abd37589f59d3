"""The debates: what can be done to them, from routes and from orchestrators alike.

Every change is a transaction of `moves`, after which the relay broadcasts. Knows the hub for one thing only: what is sent to
a single client. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from examples.debates import moves, store
from examples.debates.clients import check_client_id, check_debate_id, own_channel
from examples.debates.orchestrator import Orchestrator
from examples.debates.phases import IllegalTransition, Phase, State
from examples.debates.relay import Relay
from examples.debates.scripts import Script, scripts
from examples.debates.settings import Settings
from examples.debates.store import Debate, Intervention, Utterance
from examples.shared.database import Database
from headwater import Hub, Position
from headwater.errors import InvalidInput, TooManyRequests

log = logging.getLogger("examples.debates")

EVENT_TYPES = ("utterance", "phase_transition", "intervention_response", "pause", "resume", "complete", "error")
"""What a client may be sent, besides `connected`, which only the hub sends."""

MAX_TOPIC = 200
MAX_CONTENT = 2000


class Debates:
    """All debates of one installation."""

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self._hub = hub
        self._settings = settings
        self._database = Database(settings.folder / "debates.db", store.SCHEMA)
        self._relay = Relay(self._database, hub)
        self._orchestrators: dict[str, Orchestrator] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncIterator[None]:
        """Open the database, broadcast what was left, go on with the debates that were running. Within the hub's."""
        self._settings.prepared()
        await self._database.open()
        try:
            self._spawn(self._relay.run())
            for debate in await self._database.run(store.scripted):
                self._orchestrate(debate)
            yield
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._database.aclose()

    # -- reading ---------------------------------------------------------------------------------------------------------

    async def get(self, debate_id: str) -> Debate:
        """A debate. Raises NotFound."""
        return await self._database.run(moves.get, debate_id)

    async def newest(self, limit: int = 50) -> list[Debate]:
        """The newest debates, newest first."""
        return await self._database.run(store.newest, limit)

    async def utterances(self, debate_id: str) -> list[Utterance]:
        """All that was said, in order."""
        return await self._database.run(store.utterances, debate_id)

    async def said(self, debate_id: str) -> frozenset[int]:
        """The lines of the script that were said."""
        return await self._database.run(store.said, debate_id)

    async def interventions(self, debate_id: str) -> list[Intervention]:
        """All questions from the audience, oldest first."""
        return await self._database.run(store.interventions, debate_id)

    # -- what can be done ------------------------------------------------------------------------------------------------

    async def create(self, topic: str | None = None, script: str | None = None, debate_id: str | None = None) -> Debate:
        """A new debate; with a script it begins at once.

        Raises:
            InvalidInput: the id, topic or script is malformed. IllegalTransition: the id is taken. TooManyRequests: too many
            scripted debates are running.
        """
        chosen = find_script(script) if script else None
        if chosen and len(self._orchestrators) >= self._settings.running:
            raise TooManyRequests(f"{len(self._orchestrators)} debates are running", fix="watch one", retry_after=30)
        debate = Debate(
            id=str(uuid.uuid4()) if debate_id is None else check_debate_id(debate_id),
            topic=check_text("topic", topic or (chosen.topic if chosen else ""), MAX_TOPIC),
            script=script or None,
            phase=Phase.WAITING,
            paused=False,
            speaker=None,
            created_at=moves.milliseconds(),
        )
        if not await self._database.run(store.insert, debate):
            raise IllegalTransition(f"there is a debate {debate.id!r} already")
        self._orchestrate(debate)
        return debate

    async def emit_utterance(self, debate_id: str, speaker: str, content: str, *, line: int | None = None) -> Utterance:
        """Save to the database, then broadcast. Raises NotFound, IllegalTransition, InvalidInput."""
        check_text("speaker", speaker, 60)
        check_text("content", content, MAX_CONTENT)
        utterance = await self._database.run(moves.utter, debate_id, speaker, content, line)
        self._changed(debate_id)
        return utterance

    async def transition_phase(self, debate_id: str, phase: Phase) -> State:
        """Update the state machine, then broadcast. Raises NotFound, IllegalTransition."""
        state = await self._database.run(moves.transition, debate_id, phase)
        self._changed(debate_id)
        return state

    async def pause(self, debate_id: str) -> State:
        """Stop after the present utterance. Raises NotFound, IllegalTransition."""
        state = await self._database.run(moves.pause, debate_id)
        self._changed(debate_id)
        return state

    async def resume(self, debate_id: str) -> State:
        """Go on. Raises NotFound, IllegalTransition."""
        state = await self._database.run(moves.resume, debate_id)
        self._changed(debate_id)
        return state

    async def intervene(self, debate_id: str, speaker: str, question: str) -> Intervention:
        """Ask a speaker something; the answer is broadcast when it is given. Raises NotFound, IllegalTransition,
        InvalidInput."""
        debate = await self.get(debate_id)
        if debate.script and speaker not in find_script(debate.script).answers:
            raise InvalidInput(f"nobody is called {speaker[:40]!r} here", expected="a speaker of the debate")
        check_text("question", question, MAX_CONTENT)
        asked = await self._database.run(moves.ask, debate_id, check_text("speaker", speaker, 60), question)
        self._changed(debate_id)
        return asked

    async def answer(self, debate_id: str, question_id: str, content: str) -> Intervention:
        """Answer a question. Raises NotFound, IllegalTransition, InvalidInput."""
        check_text("content", content, MAX_CONTENT)
        answered = await self._database.run(moves.answer, debate_id, question_id, content)
        self._changed(debate_id)
        return answered

    async def send_to_client(self, debate_id: str, client_id: str, type: str, data: Mapping[str, Any]) -> Position:
        """Send an event to one client; it gets it now or, within the log's retention, when it comes back.

        Raises:
            InvalidInput: the id or the type is none there can be.
        """
        if type not in EVENT_TYPES:
            raise InvalidInput(f"event type {type[:40]!r} is unknown", expected=f"one of {', '.join(EVENT_TYPES)}")
        return await self._hub.publish(own_channel(debate_id, check_client_id(debate_id, client_id)), type, data)

    # -- orchestrators ---------------------------------------------------------------------------------------------------

    def _changed(self, debate_id: str) -> None:
        self._relay.wake()
        if orchestrator := self._orchestrators.get(debate_id):
            orchestrator.news.set()

    def _orchestrate(self, debate: Debate) -> None:
        if debate.script is not None:
            orchestrator = Orchestrator(self, debate.id, find_script(debate.script), self._settings.speed)
            self._orchestrators[debate.id] = orchestrator
            self._spawn(self._run(debate.id, orchestrator))

    async def _run(self, debate_id: str, orchestrator: Orchestrator) -> None:
        try:
            await orchestrator.run()
        except Exception:
            log.exception("a debate could not go on", extra={"debate_id": debate_id})
            await self._database.run(moves.fail, debate_id, "The debate cannot go on because of a technical problem.")
        finally:
            del self._orchestrators[debate_id]
            self._relay.wake()

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def find_script(name: str) -> Script:
    """Raises InvalidInput unless there is a script of that name."""
    if name not in scripts():
        raise InvalidInput(f"there is no script {name[:40]!r}", expected=f"one of {', '.join(scripts())}")
    return scripts()[name]


def check_text(what: str, text: str, most: int) -> str:
    """Raises InvalidInput unless there is some text and not too much of it."""
    if not text.strip() or len(text) > most:
        raise InvalidInput(f"the {what} has {len(text)} characters", expected=f"1 to {most}, not only spaces")
    return text
