"""Everything that can happen in a debate, each as one transaction: the rule, the record, and the event for those who watch.

Functions for `examples.shared.database`. They raise before they change anything. Must not know hubs or HTTP.
"""

from __future__ import annotations

import sqlite3
import time
import uuid

from examples.debates import store
from examples.debates.phases import Phase, State
from examples.debates.store import Debate, Intervention, Utterance
from headwater.errors import NotFound


def milliseconds() -> int:
    """This moment, as JavaScript's `Date.now` says it."""
    return int(time.time() * 1000)


def get(connection: sqlite3.Connection, debate_id: str) -> Debate:
    """A debate.

    Raises:
        NotFound: there is none of that id.
    """
    debate = store.find(connection, debate_id)
    if debate is None:
        raise NotFound(f"there is no debate {debate_id[:80]!r}", fix="POST /api/debates makes one")
    return debate


def transition(connection: sqlite3.Connection, debate_id: str, to: Phase) -> State:
    """Go to a phase. Raises NotFound, IllegalTransition."""
    state = get(connection, debate_id).state.moved(to)
    store.set_state(connection, debate_id, state)
    if to is Phase.COMPLETE:
        spoken = len(store.utterances(connection, debate_id))
        _tell(connection, debate_id, "complete", {"timestamp": milliseconds(), "utterances": spoken})
    else:
        _tell(connection, debate_id, "phase_transition", {"phase": to, "timestamp": milliseconds()})
    return state


def utter(
    connection: sqlite3.Connection, debate_id: str, speaker: str, content: str, line: int | None = None
) -> Utterance:
    """Let somebody speak. Raises NotFound, IllegalTransition."""
    phase = get(connection, debate_id).state.spoken().phase
    utterance = Utterance(str(uuid.uuid4()), milliseconds(), phase, speaker, content)
    store.add_utterance(connection, debate_id, utterance, line)
    store.queue(connection, debate_id, "utterance", utterance, utterance.id)
    return utterance


def pause(connection: sqlite3.Connection, debate_id: str) -> State:
    """Pause. Raises NotFound, IllegalTransition."""
    state = get(connection, debate_id).state.halted()
    store.set_state(connection, debate_id, state)
    _tell(connection, debate_id, "pause", {"timestamp": milliseconds()})
    return state


def resume(connection: sqlite3.Connection, debate_id: str) -> State:
    """Go on. Raises NotFound, IllegalTransition."""
    state = get(connection, debate_id).state.resumed()
    store.set_state(connection, debate_id, state)
    _tell(connection, debate_id, "resume", {"timestamp": milliseconds()})
    return state


def ask(connection: sqlite3.Connection, debate_id: str, speaker: str, question: str) -> Intervention:
    """Take a question from the audience. Raises NotFound, IllegalTransition."""
    get(connection, debate_id).state.asked()
    asked = Intervention(str(uuid.uuid4()), milliseconds(), speaker, question)
    store.ask(connection, debate_id, asked)
    return asked


def answer(connection: sqlite3.Connection, debate_id: str, question_id: str, content: str) -> Intervention:
    """Answer a question, once. Raises NotFound, IllegalTransition."""
    phase = get(connection, debate_id).state.spoken().phase
    answered = store.answer(connection, debate_id, question_id, content)
    if answered is None:
        raise NotFound(f"no question {question_id[:80]!r} waits for an answer")
    data = {
        "id": answered.id,
        "timestamp": milliseconds(),
        "phase": phase,
        "speaker": answered.speaker,
        "question": answered.question,
        "content": content,
    }
    store.queue(connection, debate_id, "intervention_response", data, answered.id)
    return answered


def fail(connection: sqlite3.Connection, debate_id: str, message: str) -> None:
    """Tell everyone that something went wrong."""
    _tell(connection, debate_id, "error", {"message": message, "timestamp": milliseconds()})


def _tell(connection: sqlite3.Connection, debate_id: str, type: str, data: object) -> None:
    store.queue(connection, debate_id, type, data, str(uuid.uuid4()))
