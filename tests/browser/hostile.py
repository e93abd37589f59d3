"""Texts that strangers may send, and the ways by which they get into each application: its documented API, or its database.

Knows the applications' routes and tables; must not know their pages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import cycle
from typing import Any, Final

import httpx

from headwater.auth import mint
from tests.support.postgres import rows

TEXTS: Final = {
    "script": "<script>hacked = 1</script>",
    "image": "<img src=x onerror='hacked = 1'>",
    "closing": "</title></textarea></template><svg onload=hacked=1>",
    "attribute": '" autofocus onfocus=hacked=1 x="',
    "apostrophe": "' style='position:fixed;inset:0' x='",
    "link": "javascript:hacked=1",
    "spaced link": "java\tscript:hacked=1",
    "data link": "data:text/html,<script>hacked=1</script>",
    "template": "{{constructor.constructor('hacked=1')()}}${hacked=1}",
    "prototype": "__proto__",
    "entity": "&lt;b&gt; &#0; &amp;amp;",
    "right to left": "\u202egnp.exe\u2066\u2067",
    "zero width": "a\u200b\u200d\ufeffb",
    "blank": "\u200b",
    "stacked": "Z" + "\u0301" * 50,
    "lines": "one\ntwo\r\nthree\u2028four",
    "word": "W" * 60,
    "long word": "W" * 2000,
    "NUL": "a\x00b",
    "surrogate": "a\ud800b",
    "100 KB": "A title that does not end. " * 3800,
}
"""By what they are about. Whichever of them would set the page's variable `hacked` has failed to stay text."""

MARKUP: Final = (TEXTS["script"], TEXTS["image"])
"""Those that every page shows, character by character."""


class Gallery:
    """Somebody who may do everything in a running gallery, and means it badly.

    Args:
        url: where it is.
        database: of the projects.
        secret: of its tokens.
    """

    def __init__(self, url: str, database: str, secret: str) -> None:
        self.url = url
        self.database = database
        self.secret = secret
        headers = {"content-type": "application/json"}
        self.http = httpx.AsyncClient(base_url=url, headers=headers, timeout=30.0, trust_env=False)
        self.kept = AsyncExitStack()
        self.become(TEXTS["image"])

    async def post(self, path: str, body: Any, method: str = "POST") -> Any:
        """What a route answers; None if it refuses what is in the body, which it may.

        Raises:
            AssertionError: it failed over it.
        """
        response = await self.http.request(method, path, content=json.dumps(body).encode())
        assert response.is_success or response.status_code in (400, 413, 422), (path, body, response.text)
        return response.json() if response.is_success and response.content else None

    def become(self, name: str, *permissions: str) -> None:
        """From now on say who this is, for an application that does not take everybody."""
        token = mint(self.secret, sub=name, permissions=permissions or PERMISSIONS, subscribe=("**",), ttl=600.0)
        self.http.headers["authorization"] = f"Bearer {token}"

    async def keep_open(self, path: str) -> None:
        """A stream, until this ends."""
        await self.kept.enter_async_context(self.http.stream("GET", path, timeout=None))

    async def status(self, path: str) -> int:
        """With which a GET is answered; its body may have no end."""
        async with self.http.stream("GET", path) as response:
            return response.status_code

    async def kind(self, path: str) -> str:
        """The media type of the answer to a GET, without parameters of the type or parts of the path filled in by `x`."""
        async with self.http.stream("GET", re.sub(r"{\w+}", "x", path)) as response:
            return str(response.headers.get("content-type", "")).partition(";")[0]


PERMISSIONS: Final = (
    *("servers.read", "servers.write", "incidents.read", "incidents.write", "notifications.send", "debates.moderate"),
    *("automations.read", "automations.run", "logs.read", "headwater.admin"),
    *("system.announce", "workflows.read", "workflows.run"),
)

Attack = Callable[[Gallery, str, str], Awaitable[str]]
"""Sends everything, and at last one more text that is harmless. Told what it has returned the last time, or nothing: the
fragment of the page's address at which all of it is seen."""


def hub(channel: str) -> Attack:
    """As data and as types of events of a channel, and as keys within data."""

    async def attack(gallery: Gallery, place: str, last: str) -> str:
        for text in TEXTS.values():
            await gallery.post(
                "/events", {"channel": channel, "type": text[:150], "data": {text[:2000]: [text[:2000]]}}
            )
        for text in (*TEXTS.values(), *MARKUP, last):
            await gallery.post("/events", {"channel": channel, "data": text})
        return ""

    return attack


async def rooms(gallery: Gallery, place: str, last: str) -> str:
    """As names of rooms, and as what agents say in one of them."""
    for text in () if place else (TEXTS["right to left"], TEXTS["attribute"], TEXTS["word"], *MARKUP):
        if room := await gallery.post("/api/v1/rooms", {"title": text, "words": []}):
            place = room["id"]
    for text, level in zip((*TEXTS.values(), last), cycle(("info", "warn", "error", "success"))):
        line = {"agentType": "story", "level": level, "message": text, "metadata": {text: text}}
        await gallery.post(f"/api/v1/rooms/{place}/logs", line)
    return place


async def debates(gallery: Gallery, place: str, last: str) -> str:
    """As topics, speakers, what they say and what they are asked in one debate."""
    if not place:
        made = [await gallery.post("/api/debates", {"topic": text}) for text in (*TEXTS.values(), *MARKUP)]
        place = [debate["id"] for debate in made if debate][-1]
        await gallery.post(f"/api/debates/{place}/phase", {"phase": "opening"})
    for text in (*TEXTS.values(), last):
        await gallery.post(f"/api/debates/{place}/utterances", {"speaker": text, "content": text})
        await gallery.post(f"/api/debates/{place}/interventions", {"speaker": text, "question": text})
    return place


async def operations(gallery: Gallery, place: str, last: str) -> str:
    """As names of servers, titles of incidents, and words to everybody."""
    for text in (*TEXTS.values(), *MARKUP, last):
        if not place:
            await gallery.post("/api/v1/servers", {"name": text, "host": "127.0.0.1", "port": 9})
        await gallery.post("/api/v1/incidents", {"title": text, "severity": "HIGH"})
        await gallery.post("/api/v1/broadcasts", {"message": text})
    return "channel-title"


async def projects(gallery: Gallery, place: str, last: str) -> str:
    """As whatever rows can hold, which is nearly everything."""
    for text in (*TEXTS.values(), last):
        if not re.search("[\x00\ud800]", text):  # no PostgreSQL takes these
            rows(gallery.database, SOURCE, (text,))
            rows(gallery.database, PROPOSAL, (text, text))
    rows(gallery.database, "UPDATE ingestion_sources SET status = 'failed', error = source_name")
    rows(gallery.database, JOB, (TEXTS["long word"], TEXTS["script"]))
    rows(gallery.database, "UPDATE jobs SET progress_updated_at = now(), progress_message = %s", (TEXTS["closing"],))
    return "alice/handbook"


async def notifications(gallery: Gallery, place: str, last: str) -> str:
    """As titles and messages of whatever one can be told, as where it leads, and as the name of a colleague."""
    for number, text in enumerate((*TEXTS.values(), *MARKUP, last)):
        gallery.become(f"eve{number}")  # one alone may not say so much at once
        new = {"title": text, "message": text}
        await gallery.post("/api/v1/notifications", {**new, "to": "ada", "href": text})
        await gallery.post("/api/v1/notifications", {**new, "to": "ada"})
        if not place:
            await gallery.post("/api/v1/announcements", new)
            await gallery.post("/api/v1/maintenance", new)
            await gallery.post("/api/v1/users/me", {"name": text, "about": text}, "PATCH")
    return "ada"


async def dashboard(gallery: Gallery, place: str, last: str) -> str:
    """As names of those who listen, and as types of events on channels with long names."""
    if not place:
        for text in filter(str.isprintable, TEXTS.values()):
            gallery.become(text[:255])
            await gallery.keep_open("/api/v1/events/stream")
    for text in (*TEXTS.values(), *["busy"] * 9):
        for channel in (f"C{'W' * 199}", last):
            event = {"channel": channel, "type": text[:150], "data": text, "permissions": ["x.read"]}
            await gallery.post("/events", event)
    return "main"


SOURCE: Final = "INSERT INTO ingestion_sources (project_id, source_name) VALUES ('handbook', %s) ON CONFLICT DO NOTHING"
PROPOSAL: Final = (
    "INSERT INTO proposed_nodes (project_id, title, summary, confidence) VALUES ('handbook', %s, %s, 0.5)"
    " ON CONFLICT DO NOTHING"
)
JOB: Final = (
    "INSERT INTO jobs (project_id, folder, status, progress_stage, progress_message)"
    " VALUES ('handbook', '/', 'failed', %s, %s)"
)
