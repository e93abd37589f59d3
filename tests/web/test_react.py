"""React components, the bell and the Redux part of the browser's client, in Node; and what the guides say about them."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest

from tests.support.node import JS, NODE_TEST, printed, program
from tests.support.source import ROOT

TESTS = sorted(str(path.relative_to(JS)) for path in (JS / "test/ui").glob("*.test.mjs"))
WITH_REACT = [path for path in TESTS if not re.search("redux|notifications|guides", path)]
SIZES = {
    "react.js": (3, ["react", "./headwater.js"]),
    "bell.js": (4, ["react", "./headwater.js", "./react.js"]),
    "redux.js": (3, ["./headwater.js"]),
}
"""KiB of each, minified and compressed, on top of what is named."""

GUIDES = ("docs/howto/browser.md", "docs/howto/react.md", "docs/howto/redux.md", "js/README.md")
MODULES = {
    "headwater": "types.d.ts",
    "headwater/react": "react.d.ts",
    "headwater/bell": "bell.d.ts",
    "headwater/bell.css": "bell.css",
    "headwater/redux": "redux.d.ts",
    "react": "node_modules/@types/react/index.d.ts",
    "react/jsx-runtime": "node_modules/@types/react/jsx-runtime.d.ts",
    "@reduxjs/toolkit": "node_modules/@reduxjs/toolkit/dist/index.d.ts",
    "@reduxjs/toolkit/query": "node_modules/@reduxjs/toolkit/dist/query/index.d.ts",
}
OPTIONS = {
    "strict": True,
    "noEmit": True,
    "jsx": "react-jsx",
    "target": "es2022",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["es2023", "dom", "dom.iterable"],
    "types": [],
    "skipLibCheck": True,
    "paths": {name: [str(JS / path)] for name, path in MODULES.items()},
}


@pytest.mark.parametrize(
    ("react", "options"), [("19", TESTS), ("18", ["--import", "./test/ui/react18.mjs", *WITH_REACT])]
)
async def test_their_own_tests_pass(react: str, options: list[str]) -> None:
    """Those in js/test/ui, with either React."""
    words = [*NODE_TEST, *options]
    output = await printed(*words, env={"REACT": react})
    assert "# fail 0" in output


async def test_types_are_right() -> None:
    """tsc finds no fault in them, nor in a program that uses them as it may; where it must complain it does."""
    await printed(program("tsc"), "--project", "test/ui")


@pytest.mark.parametrize("file", SIZES)
async def test_they_are_small(file: str) -> None:
    """Minified and compressed, each stays within its budget."""
    kib, given = SIZES[file]
    options = ["--bundle", "--minify", "--target=es2022", "--format=esm", "--log-level=error"]
    code = await printed(program("esbuild"), f"./{file}", *options, *(f"--external:{each}" for each in given))
    assert len(gzip.compress(code.encode(), 9, mtime=0)) <= kib * 1024


def blocks(guide: str) -> list[str]:
    """The examples of a guide that are TypeScript, with or without JSX. Those that are not are run only, by js/test/ui."""
    return re.findall(r"^```tsx?\n(.*?)^```", (ROOT / guide).read_text(), re.DOTALL | re.MULTILINE)


async def test_what_the_guides_show_compiles(tmp_path: Path) -> None:
    """Each example is a whole module, and the compiler finds no fault with it."""
    for guide in GUIDES:
        examples = blocks(guide)
        assert examples, guide
        for n, text in enumerate(examples):
            (tmp_path / f"{Path(guide).stem}{n}.tsx").write_text(text)
    (tmp_path / "css.d.ts").write_text("declare module '*.css'\n")
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS, "include": ["*"]}))
    await printed(program("tsc"), "--project", str(tmp_path))
