"""The npm package as those get it who install it: what is in it, and that its doors open, in Node and for compilers."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.node import JS, printed, program
from tests.support.source import ROOT

pytestmark = pytest.mark.asyncio(loop_scope="module")

PACKAGE = json.loads((JS / "package.json").read_text())
DOORS = {name.removeprefix("."): doors for name, doors in PACKAGE["exports"].items() if isinstance(doors, dict)}
SCRIPTS = [f"headwater{name}" for name in DOORS if not name.endswith(".css")]
FOREIGN = ("react", "react-dom", "scheduler", "@types/react", "@types/react-dom", "csstype")

RENDER = """
import { createElement as h, StrictMode } from 'react'
import { renderToString } from 'react-dom/server'
import { NotificationBell } from 'headwater/bell'
import { SSEProvider, useSSE } from 'headwater/react'

const before = Object.keys(globalThis)
const Status = () => h('p', null, useSSE().status)
const bell = h(NotificationBell, { sound: true, desktop: true })
const page = h(SSEProvider, { endpoint: '/events', share: true }, h(Status), bell)
const html = renderToString(h(StrictMode, null, page))
const doors = await Promise.all(DOORS.map((door) => import(door)))
console.log(JSON.stringify([typeof window, html.startsWith('<p>idle</p>'), doors.map((door) => Object.keys(door)),
  Object.keys(globalThis).filter((name) => !before.includes(name))]))
"""

USE = """
import { createClient, type Client } from 'headwater'
import { NotificationBell } from 'headwater/bell'
import { useEvents } from 'headwater/react'
import { attachSSE } from 'headwater/redux'
import 'headwater/bell.css'

const client: Client<{ n: number }> = createClient<{ n: number }>()
const off: () => void = attachSSE({ dispatch() {} }, client, { n: (data) => ({ type: data.toFixed() }) })
export const useCount: () => number = () => useEvents('n', (count: number) => count + 1, 0)
export const used = [NotificationBell, off]
// @ts-expect-error there is no such event
client.on('m', () => {})
"""


CHECKS = {
    **dict.fromkeys(("strict", "noEmit", "noUncheckedSideEffectImports", "exactOptionalPropertyTypes"), True),
    "skipLibCheck": False,
    "target": "es2022",
    "lib": ["es2022", "dom", "dom.iterable"],
    "types": [],
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An application that has installed the package, and React."""
    folder = tmp_path_factory.mktemp("app")
    await printed("npm", "pack", "--loglevel=error", "--pack-destination", str(folder))
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        archive.extractall(folder, filter="data")
    modules = folder / "node_modules"
    (modules / "@types").mkdir(parents=True)
    (folder / "package").rename(modules / "headwater")
    for name in FOREIGN:
        (modules / name).symlink_to(JS / "node_modules" / name)
    (folder / "package.json").write_text(json.dumps({"type": "module"}))
    return folder


async def test_it_holds_what_is_public_and_nothing_else(app: Path) -> None:
    """The modules with their types, the style sheet, the README and the licence; no tests, no settings of ours."""
    root = app / "node_modules/headwater"
    found = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    sources = {path.name for path in JS.iterdir() if path.suffix in (".js", ".ts", ".css")}
    assert found == sources | {"package.json", "README.md", "LICENSE"}
    assert (root / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


async def test_what_a_registry_wants_to_know() -> None:
    """It is published for everybody, with where it was built; a bundler may drop whatever is not imported, but not style;
    types come first, and older tools find the core, too."""
    assert PACKAGE["publishConfig"] == {"access": "public", "provenance": True}
    assert (PACKAGE["type"], PACKAGE["sideEffects"]) == ("module", ["*.css"])
    assert (PACKAGE["main"], PACKAGE["types"]) == (DOORS[""]["default"], DOORS[""]["types"])
    assert all(list(doors) == ["types", "default"] for doors in DOORS.values())
    assert not PACKAGE.get("dependencies")
    assert not PACKAGE.get("scripts"), "nothing of ours runs where it is installed"


async def test_every_door_opens_on_a_server(app: Path) -> None:
    """p17: in Node, without a window, each can be imported, adds nothing to the global object, and what it shows can be
    rendered to a string."""
    (app / "render.js").write_text(RENDER.replace("DOORS", json.dumps(SCRIPTS)))
    window, is_rendered, doors, added = json.loads(await printed("node", "render.js", cwd=app))
    assert (window, is_rendered, added) == ("undefined", True, [])
    hooks = ["useEvent", "useEvents", "useLatestEvent", "useNotifications", "useSSE", "useStatus"]
    assert dict(zip(SCRIPTS, doors, strict=True)) == {
        "headwater": ["Decoder", "STATES", "createClient", "delayOf"],
        "headwater/react": ["SSEProvider", *hooks],
        "headwater/bell": ["NotificationBell", "useNotificationBell"],
        "headwater/redux": ["attachSSE", "createNotificationsSlice", "createStatusSlice", "sseCacheEntry"],
    }


@pytest.mark.parametrize(("module", "resolution"), [("nodenext", "nodenext"), ("esnext", "bundler")])
async def test_compilers_find_all_types(app: Path, module: str, resolution: str) -> None:
    """Those of Node and of bundlers, with every check there is, also of our own declarations."""
    (app / "use.ts").write_text(USE)
    how = {"module": module, "moduleResolution": resolution}
    (app / "tsconfig.json").write_text(json.dumps({"compilerOptions": {**CHECKS, **how}, "files": ["use.ts"]}))
    await printed(program("tsc"), "--project", ".", cwd=app)
