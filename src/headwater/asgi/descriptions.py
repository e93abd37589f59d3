"""What the OpenAPI document says of each operation, besides its row in the route table.

Words and schemas only, as data; `openapi` puts them together. Keep it true: `tests/asgi/test_openapi.py` sends what is
described here to the application and compares the answers.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NamedTuple

from headwater.asgi.admin import MAX_LISTED, ListedChannel
from headwater.asgi.dashboard.board import Snapshot
from headwater.asgi.dashboard.explaining import Question
from headwater.asgi.dashboard.looking import MAX_ROWS, MAX_SEARCH, ROWS, ShownChannel
from headwater.asgi.poll import MAX_WAIT, PollAnswer
from headwater.asgi.problems import Problem
from headwater.asgi.publish import Incoming
from headwater.hub import Statistics, StreamInfo
from headwater.hub.explain import Verdict
from headwater.hub.facts import StreamFacts
from headwater.hub.start import MAX_LAST
from headwater.hub.survey import ChannelOrder, ChannelSurvey, StreamOrder, StreamSurvey

Json = dict[str, Any]

SCHEMAS: Final = (
    *(Incoming, ListedChannel, PollAnswer, Problem, Statistics, StreamInfo),
    *(Snapshot, StreamSurvey, StreamFacts, ChannelSurvey, ShownChannel, Question, Verdict),
)
"""Types that become the document's schemas, so that these cannot differ from the code."""


class Operation(NamedTuple):
    """One operation.

    Attributes:
        text: what it does, in full.
        parameters: of its path, query and headers.
        body: its `requestBody`, None if it takes none.
        success: its good responses, by status.
        errors: the statuses with which it may refuse; 500, and what every route has, are added.
    """

    text: str
    success: Json
    parameters: tuple[Json, ...] = ()
    body: Json | None = None
    errors: tuple[int, ...] = ()


def ref(schema: type) -> Json:
    """A reference to one of SCHEMAS."""
    return {"$ref": f"#/components/schemas/{schema.__name__}"}


def _in(place: str, name: str, text: str, schema: Json | None = None, **more: Any) -> Json:
    return {"name": name, "in": place, "description": text, "schema": schema or {"type": "string"}, **more}


def _answer(text: str, **content: Json) -> Json:
    media = {name.replace("__", "/").replace("_", "-"): {"schema": schema} for name, schema in content.items()}
    return {"description": text, "content": media} if media else {"description": text}


def _object(**properties: Json) -> Json:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _list(schema: Json) -> Json:
    return {"type": "array", "items": schema}


_TEXT: Json = {"type": "string"}
_CHANNEL: Json = {"type": "string", "pattern": "^\\$?[A-Za-z0-9_\\-.:/@=]+$", "maxLength": 200}

_READING: Final = (
    _in(
        "header",
        "Last-Event-ID",
        "The `id` of the last event received. Events after it come first; one that this log does not know is answered "
        "with a `reset` event. Wins over `lastEventId`, which wins over `since`, which wins over `last`.",
    ),
    _in("query", "lastEventId", "The same, for clients that cannot set headers."),
    _in(
        "query",
        "since",
        "`now` (the default), `all`, the `id` of an event, or a duration such as `10m` (s, m, h, d).",
        {"type": "string", "default": "now"},
    ),
    _in("query", "last", "The newest events that you may see.", {"type": "integer", "minimum": 1, "maximum": MAX_LAST}),
    _in(
        "query",
        "wait",
        f"Poll only: seconds to hold the request while there is nothing. More than {MAX_WAIT:g} counts as {MAX_WAIT:g}.",
        {"type": "number", "minimum": 0, "default": 0},
    ),
)
_READ: Final = {
    "200": _answer(
        "Events: a stream that does not end, or, with `Accept: application/json`, a poll's answer.",
        text__event_stream=_TEXT,
        application__json=ref(PollAnswer),
    )
}
_READ_TEXT: Final = (
    "Answers with `text/event-stream`, unless the Accept header prefers `application/json`: then with the events so far "
    "(a poll), and the cursor to go on from. Both read the same log with the same cursors, so a client may change between "
    "them at any time. HEAD answers with the headers only."
)
_KEY: Final = _in(
    "header",
    "Idempotency-Key",
    "Makes repeating the request safe: the second time nothing is appended and the first answer is repeated. Yours alone: "
    "nobody else's key is the same. 1 to 200 printable characters. The n-th event without a key of its own has the key "
    "`<key>/<n>`, counted from 0.",
    {"type": "string", "maxLength": 200},
)
_PUBLISHED: Final = {
    "201": _answer(
        "Durably appended, or already before with the same key.", application__json=_object(ids=_list(_TEXT))
    )
}
_LIMIT: Final = _in(
    "query",
    "limit",
    "How many at most.",
    {"type": "integer", "minimum": 1, "maximum": MAX_LISTED, "default": MAX_LISTED},
)
_ROWS: Final = _in(
    "query", "limit", "How many at most.", {"type": "integer", "minimum": 1, "maximum": MAX_ROWS, "default": ROWS}
)
_CUT: Final = f"{MAX_SEARCH} characters at most."
_MORE: Json = {"type": "boolean", "description": "Whether there may be more than these."}


def _order(orders: type[StrEnum]) -> Json:
    return _in("query", "order", "What comes first.", {"enum": list(orders), "default": next(iter(orders))})


def _page(text: str, media: str) -> Json:
    return {
        "200": {"description": text, "content": {media: {"schema": _TEXT}}},
        "304": _answer("Not changed since the ETag in If-None-Match."),
    }


OPERATIONS: Final[dict[str, Operation]] = {
    "subscribe": Operation(
        _READ_TEXT,
        _READ,
        (
            _in(
                "query",
                "channel",
                "A channel to read; several fields, several channels.",
                _list(_CHANNEL),
                required=True,
            ),
            *_READING,
        ),
        errors=(400, 401, 403, 406, 413, 429, 503),
    ),
    "publish": Operation(
        "Appends all events of the request, in order, or none. Answers when they are durable. Fields other than these are "
        "refused.",
        _PUBLISHED,
        (_KEY,),
        {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": [ref(Incoming), _list(ref(Incoming))]}}},
        },
        (400, 401, 403, 408, 409, 413, 415, 429, 503),
    ),
    "listChannels": Operation(
        "Channels with retained events that your grants cover, by name, with how many streams this process has open on "
        "each.",
        {"200": _answer("The channels.", application__json=_object(channels=_list(ref(ListedChannel)), more=_MORE))},
        (_in("query", "prefix", "What the names begin with."), _LIMIT),
        errors=(400, 401, 403, 503),
    ),
    "subscribeOne": Operation(
        f"The same as GET /events with this one channel, for people: `curl -N host/channels/room:42`. {_READ_TEXT}",
        _READ,
        (_in("path", "channel", "The channel. Slashes may stand as they are.", _CHANNEL, required=True), *_READING),
        errors=(400, 401, 403, 406, 413, 429, 503),
    ),
    "publishOne": Operation(
        "The body becomes the event's data: text, whatever its Content-Type, or a JSON value if that is "
        "`application/json`. For people: `curl -d hello host/channels/room:42`.",
        _PUBLISHED,
        (
            _in("path", "channel", "The channel. Slashes may stand as they are.", _CHANNEL, required=True),
            _in("query", "type", "The event's type.", {"type": "string", "default": "message", "maxLength": 200}),
            _in(
                "query", "permission", "A permission that readers must hold; several fields, all of them.", _list(_TEXT)
            ),
            _KEY,
        ),
        {"required": True, "content": {"text/plain": {"schema": _TEXT}, "application/json": {"schema": {}}}},
        (400, 401, 403, 408, 409, 413, 415, 429, 503),
    ),
    "buyTicket": Operation(
        "A ticket stands for your token in `?ticket=`, once and within `expires_in` seconds, so that the token stays out "
        "of URLs. A ticket does not buy another.",
        {
            "201": _answer(
                "The ticket.", application__json=_object(ticket=_TEXT, expires_in={"type": "integer", "minimum": 0})
            )
        },
        errors=(400, 401, 403, 413, 429, 503),
    ),
    "getStatistics": Operation(
        "Counters count since the hub started; `refused` has requests over a limit, by reason.",
        {
            "200": _answer(
                "The numbers.",
                application__json={
                    "allOf": [ref(Statistics)],
                    "properties": {
                        "version": _TEXT,
                        "refused": {"type": "object", "additionalProperties": {"type": "integer"}},
                    },
                    "required": ["version", "refused"],
                },
            )
        },
        errors=(401, 403, 503),
    ),
    "listStreams": Operation(
        "The streams open on this process, oldest first.",
        {"200": _answer("The streams.", application__json=_object(streams=_list(ref(StreamInfo)), more=_MORE))},
        (_LIMIT,),
        errors=(400, 401, 403, 503),
    ),
    "closeStream": Operation(
        "Its client gets a `closing` event with the reason `admin` and may come back.",
        {"204": _answer("It was open and is not any more.")},
        (_in("path", "id", "As GET /streams has it.", required=True),),
        errors=(401, 403, 404, 503),
    ),
    "watch": Operation(
        "The events are Headwater's own: once a second one of the type `sample`, whose data is a `Snapshot`. Begins with "
        "those of the last ten minutes. They are this process's, in a log in its memory, with ids of their own.",
        _READ,
        _READING,
        errors=(400, 401, 403, 406, 429, 503),
    ),
    "surveyStreams": Operation(
        "The first streams of this process in some order, and how many match. An answer may be a second old: it is shared "
        "among all who ask the same.",
        {"200": _answer("The streams.", application__json=ref(StreamSurvey))},
        (
            _order(StreamOrder),
            _in("query", "search", f"Text in the principal, the address or a channel; or `#` and an id. {_CUT}"),
            _in("query", "channel", f"Only streams that read this one. {_CUT}"),
            _ROWS,
        ),
        errors=(400, 401, 403, 503),
    ),
    "lookAtStream": Operation(
        "More of a stream than lists have.",
        {"200": _answer("The stream.", application__json=ref(StreamFacts))},
        (_in("path", "id", "As the lists have it.", required=True),),
        errors=(401, 403, 404, 503),
    ),
    "surveyChannels": Operation(
        "The first channels that this process follows in some order, and if there is room, others that have events. Shared "
        "for a second, like the streams.",
        {"200": _answer("The channels.", application__json=ref(ChannelSurvey))},
        (_order(ChannelOrder), _in("query", "prefix", f"What the names begin with. {_CUT}"), _ROWS),
        errors=(400, 401, 403, 503),
    ),
    "lookAtChannel": Operation(
        "With its newest events. What they say you see only as far as your own grants and permissions go.",
        {"200": _answer("The channel.", application__json=ref(ShownChannel))},
        (_in("path", "channel", "The channel. Slashes may stand as they are.", _CHANNEL, required=True),),
        errors=(400, 401, 403, 503),
    ),
    "explain": Operation(
        "Goes through the decisions that delivery makes, by the same code, and says what each comes to. Changes nothing.",
        {"200": _answer("The verdict.", application__json=ref(Verdict))},
        body={"required": True, "content": {"application/json": {"schema": ref(Question)}}},
        errors=(400, 401, 403, 404, 408, 503),
    ),
    "getMetrics": Operation(
        "Prometheus' text format, or OpenMetrics if the Accept header has it. Numbers and reasons only, no names of "
        "channels or people.",
        {"200": _answer("The metrics.", text__plain=_TEXT)},
        errors=(503,),
    ),
    "isAlive": Operation(
        "For liveness probes: looks at nothing else.",
        {"200": _answer("It is.", application__json=_object(status={"const": "alive"}))},
    ),
    "isReady": Operation(
        "For readiness probes: an event of the hub's own has just gone through the broker and come back. Asked again "
        "within a second, the outcome is the same. Not ready while the hub shuts down.",
        {"200": _answer("They would.", application__json=_object(status={"const": "ready"}))},
        errors=(503,),
    ),
    "getPlayground": Operation(
        "Subscribe, publish, see the raw frames, cut and restore the connection.", _page("A page.", "text/html")
    ),
    "getDashboard": Operation(
        "What the hub does, live; look into a channel or a stream, close one, ask why somebody got an event or did not. It "
        "asks for a token.",
        _page("A page.", "text/html"),
    ),
    "getClient": Operation("Import it in a page: see docs/reference/http.md.", _page("A script.", "text/javascript")),
    "getAsset": Operation(
        "Files that the pages name.",
        _page("The file.", "*/*"),
        (_in("path", "file", "Its name.", required=True),),
        errors=(404,),
    ),
    "getOpenapi": Operation("OpenAPI 3.1.", {"200": _answer("The description.", application__json={"type": "object"})}),
    "getHome": Operation("For people.", {"303": _answer("See /playground.")}),
}
