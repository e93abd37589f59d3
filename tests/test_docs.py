"""The documentation, checked against the code: everything that has a name is documented, and every example is Python."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import pytest

from headwater import errors
from headwater.asgi.limits import Limiter, Limits
from headwater.asgi.metrics import HubCollector
from headwater.asgi.routes import ROUTES
from headwater.brokers import open_broker
from headwater.cli import settings
from headwater.cli.main import main
from headwater.event import RESERVED_TYPES, ResetReason
from headwater.hub import Hub
from headwater.stream import CloseReason
from tests.support.source import ROOT, files, files_in, shown

REFERENCE = ROOT / "docs/reference"
PAGES = [path for path in files() if path.suffix == ".md" and path.is_relative_to(ROOT / "docs")]
PAGES += [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]


def undocumented(names: Iterable[str], page: str = "*.md") -> list[str]:
    """The names that stand in no code span or code block of the reference."""
    text = "\n".join(path.read_text() for path in sorted(REFERENCE.glob(page)))
    code = "\n".join(re.findall(r"```.*?\n(.*?)```", text, re.DOTALL) + re.findall(r"`([^`\n]+)`", text))
    return sorted(name for name in set(names) if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w/-])", code))


def assert_documented(names: Iterable[str], page: str = "*.md") -> None:
    """Fail with every name that the reference does not have; also if there are no names, for then nothing was checked."""
    names = list(names)
    assert names, "found nothing to look for"
    if missing := undocumented(names, page):
        pytest.fail("not in docs/reference: " + ", ".join(missing), pytrace=False)


def tree_below(error: type[errors.HeadwaterError]) -> Iterator[str]:
    """The names of an error class and of all its subclasses."""
    yield error.__name__
    for below in error.__subclasses__():
        yield from tree_below(below)


def test_every_error_is_documented() -> None:
    """With its status, and nowhere but on its own page."""
    assert_documented(tree_below(errors.HeadwaterError), "errors.md")


def test_every_status_is_the_one_in_the_code() -> None:
    """The table of errors gives each class's own HTTP status."""
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \|", (REFERENCE / "errors.md").read_text(), re.MULTILINE)
    assert {(name, int(status)) for name, status in rows} == {(name, getattr(errors, name).status) for name, _ in rows}
    assert rows


def test_every_reserved_event_is_documented() -> None:
    """The types that only the hub sends, and the reasons that `reset` and `closing` give."""
    assert_documented([*RESERVED_TYPES, *ResetReason, *CloseReason], "events.md")


def python_blocks() -> Iterator[tuple[str, str]]:
    """Every Python block of the documentation, with its place."""
    for path in PAGES:
        text = path.read_text()
        for match in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            yield f"{shown(path)}:{text.count(chr(10), 0, match.start()) + 1}", match[1]


def test_every_python_block_compiles() -> None:
    """Examples are Python; `await` may stand at their top, as in a notebook."""
    for place, source in python_blocks():
        compile(source, place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def test_every_import_in_the_docs_works() -> None:
    """What an example imports from Headwater is there."""
    for place, source in python_blocks():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "headwater":
                exec(compile(ast.Module([node], []), place, "exec"), {})


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    """A link to a file of ours finds it, and its anchor is a heading there."""
    wrong = []
    for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", page.read_text()):
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            wrong.append(link)
    if wrong:
        pytest.fail("leads nowhere: " + ", ".join(wrong), pytrace=False)


def anchors(page: Path) -> set[str]:
    """The anchors that the headings of a page make."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_setting_is_documented() -> None:
    """Those of a hub, those of the commands that call one, and any other that the code mentions."""
    names = {settings.PREFIX + name.upper() for name in settings.NAMES} | settings.CLIENT_NAMES
    for path in files_in("src"):
        names |= set(re.findall(r"\bHEADWATER_[A-Z_]*[A-Z]\b", path.read_text()))
    assert_documented(names)


def test_every_route_is_documented() -> None:
    """As method and path: `GET /events`."""
    assert_documented(f"{route.method} {route.path}" for route in ROUTES)


async def test_every_metric_is_documented() -> None:
    """Under the name that Prometheus shows."""
    hub = Hub(open_broker("memory://"))
    await hub.start()
    families = list(HubCollector(hub, Limiter(Limits())).collect())
    await hub.stop()
    assert_documented(family.name + ("_total" if family.type == "counter" else "") for family in families)


def commands_below(command: click.Command, name: str) -> Iterator[str]:
    """A command with its subcommands and the long flags of each."""
    yield name
    for parameter in command.params:
        yield from (flag for flag in parameter.opts if flag.startswith("--"))
    for below, subcommand in getattr(command, "commands", {}).items():
        yield from commands_below(subcommand, f"{name} {below}")


def test_every_command_is_documented() -> None:
    """With all of its flags."""
    assert_documented(commands_below(main, "headwater"))
