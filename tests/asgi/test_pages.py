"""Files for people's browsers: what is served, and under which policy."""

from __future__ import annotations

import re
from urllib.parse import urljoin

import pytest

from headwater.asgi.pages import MEDIA_TYPES, POLICY, Pages
from headwater.asgi.routes import FILES
from headwater.errors import NotFound
from tests.support.site import serving

SCOPE = {"headers": list[tuple[bytes, bytes]]()}


@pytest.mark.parametrize("name", FILES)
async def test_every_file_is_served(name: str) -> None:
    """With its media type, without credentials, to be asked for anew each time."""
    async with serving(dev=False) as site:
        reply = await site.get(f"/assets/{name}")
        assert (reply.status, reply.headers["content-type"]) == (200, MEDIA_TYPES[name.rpartition(".")[2]])
        assert reply.headers["cache-control"] == "no-cache"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.body


async def test_the_pages_have_their_own_paths() -> None:
    """The playground, the client, and a root that leads people to the playground."""
    async with serving() as site:
        assert b"<title>Playground" in (await site.get("/playground")).body
        assert b"export const createClient" in (await site.get("/client.js")).body
        home = await site.get("/")
        assert (home.status, home.headers["location"]) == (303, "playground")


async def test_a_known_file_is_not_sent_again() -> None:
    """Its ETag is answered with 304 and nothing else."""
    async with serving() as site:
        etag = (await site.get("/playground")).headers["etag"]
        again = await site.get("/playground", headers={"if-none-match": f'"other", W/{etag}'})
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)
        assert (await site.get("/playground", headers={"if-none-match": '"other"'})).status == 200


def test_a_file_changes_its_etag_with_its_content() -> None:
    """Two files have two."""
    pages = Pages(["style.css", "client.js"])
    assert pages.response("style.css", SCOPE).headers["etag"] != pages.response("client.js", SCOPE).headers["etag"]


@pytest.mark.parametrize("name", ["", "nothing.js", "../errors.py", "..%2Ferrors.py", "/etc/passwd", "py.typed"])
async def test_nothing_else_is_served(name: str) -> None:
    """Only files from a list, never what a path leads to."""
    async with serving() as site:
        assert (await site.get(f"/assets/{name}")).status == 404
    with pytest.raises(NotFound):
        Pages(["style.css"]).response(name, SCOPE)


async def test_a_page_runs_nothing_but_its_own_files() -> None:
    """The policy allows no inline script or style, and no frame around the page."""
    async with serving() as site:
        headers = (await site.get("/playground")).headers
        assert headers["content-security-policy"] == POLICY
        assert "unsafe" not in POLICY
        assert "default-src 'none'" in POLICY
        assert "frame-ancestors 'none'" in POLICY
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert "content-security-policy" not in (await site.get("/assets/style.css")).headers


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith(".html")])
async def test_pages_keep_to_their_policy(name: str) -> None:
    """No inline script, style or handler, nothing from other hosts, and every file they name is there."""
    async with serving() as site:
        text = (await site.get(f"/assets/{name}")).body.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", text)
        targets = re.findall(r'(?:src|href)="([^"#]+)"', text)
        assert targets
        for target in targets:
            assert not re.match(r"\w+:|//|/", target), "relative, so that the page works wherever it is mounted"
            status = (await site.get(urljoin("/", target))).status
            assert status == (303 if target == "./" else 200), target  # the root leads on
