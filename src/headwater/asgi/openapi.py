"""The OpenAPI 3.1 document, made from the route table, the descriptions and the types that are really sent.

Pure: routes in, JSON out. Must not know handlers.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

import msgspec

from headwater.asgi.descriptions import OPERATIONS, SCHEMAS, Json, Operation, ref
from headwater.asgi.limits import Limits
from headwater.asgi.problems import MEDIA_TYPE, Problem
from headwater.asgi.site import ADMIN, Access, Route

ERRORS: Final = {
    400: "Malformed: the detail says what and where.",
    401: "No valid token.",
    403: "The token does not grant this.",
    404: "Not there.",
    406: "The Accept header names nothing that this path can send.",
    408: "The body did not come in time.",
    409: "The idempotency key was used before for a different event.",
    413: "The URL, the headers, the body, an event or a list is over its limit.",
    415: "This path does not read that Content-Type.",
    429: "A limit of this caller is used up for now.",
    500: "Something went wrong inside the hub.",
    503: "Not possible now: the broker cannot be reached, the hub is full or shuts down.",
}

_OF_EVERY_ROUTE: Final = (413, 500)
_HEADERS: Final = {401: "WWW-Authenticate", 403: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
_TAGS: Final = {
    "events": "Publishing and reading",
    "administration": "Looking into the hub",
    "health": "For load balancers and monitoring",
    "pages": "For people's browsers",
}

_ATTRIBUTE: Final = re.compile(r"^ {4}(\w+(?:, \w+)*): (.+(?:\n {8}.+)*)", re.MULTILINE)


def document(routes: Iterable[Route], limits: Limits, *, cookie_name: str | None = None) -> bytes:
    """The document, as JSON.

    Args:
        limits: those that are in force; their numbers stand in the schemas.
        cookie_name: of the cookie that may hold a token.
    """
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, cookie_name)
    described = {
        "openapi": "3.1.0",
        "info": {
            "title": "Headwater",
            "version": version("headwater"),
            "description": "Live updates over Server-Sent Events, in order, from where you left off. HEAD is answered "
            "wherever GET is; OPTIONS says what is possible. Errors are RFC 9457 problems.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "."}],  # relative to where this document was found, wherever the application is mounted
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": paths,
        "components": {"schemas": _schemas(limits), "securitySchemes": _schemes(cookie_name)},
    }
    return msgspec.json.format(msgspec.json.encode(described), indent=1)


def _operation(route: Route, cookie_name: str | None) -> Json:
    details = OPERATIONS[route.name]
    described: Json = {
        "operationId": route.name,
        "summary": route.summary,
        "description": _text(route, details),
        "tags": [_tag(route)],
        "security": _security(route, cookie_name),
        "responses": {**details.success, **{str(status): _problem(status) for status in _statuses(details)}},
    }
    if details.parameters:
        described["parameters"] = list(details.parameters)
    if details.body is not None:
        described["requestBody"] = details.body
    return described


def _text(route: Route, details: Operation) -> str:
    return details.text + (f" Needs the permission `{ADMIN}`." if route.access is Access.ADMIN else "")


def _tag(route: Route) -> str:
    if route.access is Access.CALLER:
        return "events"
    if route.access is Access.ADMIN:
        return "administration"
    return "health" if route.name in ("getMetrics", "isAlive", "isReady") else "pages"


def _security(route: Route, cookie_name: str | None) -> list[dict[str, list[str]]]:
    if route.access is Access.ANYONE:
        return []
    names = ["bearer", "token", *(["cookie"] if cookie_name else [])]
    return [{name: []} for name in (names if route.name == "buyTicket" else [*names, "ticket"])]


def _statuses(details: Operation) -> list[int]:
    return sorted({*details.errors, *_OF_EVERY_ROUTE})


def _problem(status: int) -> Json:
    described: Json = {"description": ERRORS[status], "content": {MEDIA_TYPE: {"schema": ref(Problem)}}}
    if header := _HEADERS.get(status):
        kind = "integer" if header == "Retry-After" else "string"
        described["headers"] = {header: {"schema": {"type": kind}}}
    return described


def _schemas(limits: Limits) -> dict[str, Any]:
    _, schemas = msgspec.json.schema_components(SCHEMAS, ref_template="#/components/schemas/{name}")
    for schema in schemas.values():
        _describe(schema, schema["description"])
    for name in ("latency_p50_ms", "latency_p99_ms"):
        schemas["Statistics"]["properties"][name]["type"] = ["number", "null"]  # JSON has no infinity
    if limits.max_event_bytes:
        schemas["Incoming"]["properties"]["data"]["description"] += f" {limits.max_event_bytes} bytes at most."
    return schemas


def _describe(schema: Json, docstring: str) -> None:
    """Spread a class's docstring over its schema: the first paragraph, and what it says of each attribute."""
    docstring = inspect.cleandoc(docstring)
    schema["description"] = " ".join(docstring.partition("\n\n")[0].split())
    for names, text in _ATTRIBUTE.findall(docstring):
        for name in names.split(", "):
            described = " ".join(text.split())
            schema["properties"][name]["description"] = described[0].upper() + described[1:]


def _schemes(cookie_name: str | None) -> dict[str, Json]:
    schemes: dict[str, Json] = {
        "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        "token": {
            "type": "apiKey",
            "in": "query",
            "name": "token",
            "description": "A token, where no header can be set.",
        },
        "ticket": {"type": "apiKey", "in": "query", "name": "ticket", "description": "Bought with POST /tickets."},
    }
    if cookie_name:
        schemes["cookie"] = {"type": "apiKey", "in": "cookie", "name": cookie_name}
    return schemes
