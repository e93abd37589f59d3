"""The OpenAPI document: valid, complete, and true."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from headwater.asgi.limits import Limits
from headwater.asgi.openapi import ERRORS, document
from headwater.asgi.routes import ROUTES
from headwater.asgi.site import Access
from headwater.testing.asgi import request
from tests.support.site import bearer, serving


def described(limits: Limits = Limits(), **options: Any) -> dict[str, Any]:  # noqa: B008 (frozen)
    """The document as it is served."""
    made: dict[str, Any] = json.loads(document(ROUTES, limits, **options))
    return made


@pytest.mark.parametrize("cookie_name", [None, "session"])
def test_the_document_is_valid(cookie_name: str | None) -> None:
    """By the standard's own schema, with every reference leading somewhere."""
    OpenAPIV31SpecValidator(described(cookie_name=cookie_name)).validate()


def test_every_route_is_described() -> None:
    """And nothing that is no route; path parameters are those in the path."""
    paths = described()["paths"]
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} == {
        (route.method, route.path) for route in ROUTES
    }
    for path, methods in paths.items():
        for operation in methods.values():
            named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert named == set(re.findall(r"\{(\w+)\}", path))


def test_credentials_are_described_where_they_are_needed() -> None:
    """Open routes say so; a ticket does not buy a ticket; a cookie is an option only where it is configured."""
    for cookie_name, schemes in ((None, {"bearer", "token", "ticket"}), ("c", {"bearer", "token", "ticket", "cookie"})):
        made = described(cookie_name=cookie_name)
        assert set(made["components"]["securitySchemes"]) == schemes
        for route in ROUTES:
            security = made["paths"][route.path][route.method.lower()]["security"]
            wanted = (
                set()
                if route.access is Access.ANYONE
                else schemes - ({"ticket"} if route.name == "buyTicket" else set())
            )
            assert {name for each in security for name in each} == wanted


def test_the_limits_in_force_are_named() -> None:
    """A limit that is off is not."""
    data = "components", "schemas", "Incoming", "properties", "data", "description"
    for limits, words in ((Limits(max_event_bytes=77), True), (Limits(max_event_bytes=0), False)):
        text: Any = described(limits)
        for step in data:
            text = text[step]
        assert ("bytes at most" in text) is words


def test_schemas_say_what_each_field_is() -> None:
    """From the docstrings of the types that are really sent."""
    schemas = described()["components"]["schemas"]
    assert schemas["StreamInfo"]["properties"]["events"]["description"].startswith("Written so far")
    for name in ("Incoming", "PollAnswer", "PolledEvent", "Problem", "Statistics", "StreamInfo", "ListedChannel"):
        assert "\n" not in schemas[name]["description"]
        assert [field for field, schema in schemas[name]["properties"].items() if not schema.get("description")] == []


async def test_the_document_is_served() -> None:
    """To everybody, with server addresses that are right wherever it is mounted."""
    async with serving(dev=False) as site:
        reply = await site.get("/openapi.json")
        assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
        assert reply.json()["servers"] == [{"url": "."}]


TRIED: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "subscribe": [
        ("/events?channel=a", {"headers": {"accept": "application/json"}}),
        ("/events", {}),
        ("/events?channel=b:c", {}),
        ("/events?channel=a", {"headers": {"accept": "text/html"}}),
        ("/events?" + "&".join(f"channel={n}" for n in range(101)), {}),
    ],
    "publish": [
        ("/events", {"json": {"channel": "a"}, "headers": {"idempotency-key": "k"}}),
        ("/events", {"json": {"channel": "a", "data": 1}, "headers": {"idempotency-key": "k"}}),
        ("/events", {"json": {"channel": "b:c"}}),
        ("/events", {"json": 5}),
        ("/events", {"body": b"x"}),
        ("/events", {"json": "x" * (4 << 20)}),
    ],
    "listChannels": [("/channels", {}), ("/channels?limit=0", {})],
    "subscribeOne": [
        ("/channels/a", {"headers": {"accept": "application/json"}}),
        ("/channels/b:c", {}),
        ("/channels/%20", {}),
    ],
    "publishOne": [
        ("/channels/a", {"body": b"x"}),
        ("/channels/b:c", {"body": b"x"}),
        ("/channels/a", {"body": b"\xff"}),
    ],
    "buyTicket": [("/tickets", {})],
    "getStatistics": [("/stats", {})],
    "listStreams": [("/streams", {}), ("/streams?limit=x", {})],
    "closeStream": [("/streams/1", {})],
    "watch": [("/dashboard/events", {"headers": {"accept": "application/json"}}), ("/dashboard/events?since=x", {})],
    "surveyStreams": [("/dashboard/streams", {}), ("/dashboard/streams?order=x", {})],
    "lookAtStream": [("/dashboard/streams/1", {}), ("/dashboard/streams/x", {})],
    "surveyChannels": [("/dashboard/channels", {}), ("/dashboard/channels?limit=0", {})],
    "lookAtChannel": [("/dashboard/channels/a", {}), ("/dashboard/channels/%20", {})],
    "explain": [
        ("/dashboard/explain", {"json": {"channel": "a"}}),
        ("/dashboard/explain", {"json": {"channel": "a", "stream": 1}}),
        ("/dashboard/explain", {"json": 5}),
        ("/dashboard/explain", {"json": "x" * (4 << 20)}),
    ],
    "getDashboard": [("/dashboard", {})],
    "getMetrics": [("/metrics", {})],
    "isAlive": [("/healthz", {})],
    "isReady": [("/readyz", {})],
    "getPlayground": [("/playground", {})],
    "getClient": [("/client.js", {})],
    "getAsset": [("/assets/style.css", {}), ("/assets/nothing", {})],
    "getOpenapi": [("/openapi.json", {})],
    "getHome": [("/", {})],
}
"""Requests to each operation, as good and as bad as they come."""


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: str(route.name))
async def test_answers_are_those_described(route: Any) -> None:
    """Each status and media type that an operation really answers with is in its description, with and without a token; and
    JSON answers have just the fields of their schema."""
    made = described()
    responses = made["paths"][route.path][route.method.lower()]["responses"]
    permissions = ["headwater.admin"] if route.access is Access.ADMIN else []
    known = bearer(subscribe=["*"], publish=["*"], permissions=permissions)
    async with serving(dev=False) as site:
        for target, options in TRIED[route.name]:
            for credentials in (known, {}):
                headers = {**credentials, **options.get("headers", {})}
                reply = await request(site.app, route.method, target, **{**options, "headers": headers})
                assert str(reply.status) in responses, reply
                check_body(made, responses[str(reply.status)], reply)


def check_body(made: dict[str, Any], response: dict[str, Any], reply: Any) -> None:
    """Compare a reply with the description of its response."""
    if not reply.body:
        return
    essence = reply.headers["content-type"].partition(";")[0]
    content = response["content"]
    schema = content.get(essence) or content["*/*"]
    schema = schema["schema"]
    if "$ref" in schema:
        schema = made["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if essence.endswith("json") and "properties" in schema and "allOf" not in schema:
        assert set(schema["required"]) <= set(reply.json()) <= set(schema["properties"])


def test_every_error_that_is_described_has_words() -> None:
    """And every status with words is one that some operation answers with."""
    used = {
        int(status)
        for methods in described()["paths"].values()
        for operation in methods.values()
        for status in operation["responses"]
    }
    assert {status for status in used if status >= 400} == set(ERRORS)
